"""Popularity: the same scores for every history, counted on the training split only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from bigrec.data.interactions import Interactions
from bigrec.data.times import time_unit
from bigrec.errors import DataError
from bigrec.grounding.fusion.formulas import POPULARITY_GAMMAS
from bigrec.models.base import (
    HistoryScorer,
    StoredSettings,
    check_model_arrays,
    history_rows,
    read_model_folder,
    training_rows,
    write_model_folder,
)
from bigrec.storage.arrays import Expected
from bigrec.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Popularity(HistoryScorer):
    """Scores an item by its number of training interactions, optionally weighted by recency.

    Attributes:
        counts: ``[n]``, at least 0. With a half-life, an interaction of that age counts 1/2.
        half_life_days: None if all interactions count alike.
    """

    kind: ClassVar[str] = "popularity"
    gamma_grid: ClassVar[FloatArray] = POPULARITY_GAMMAS

    counts: IntArray | FloatArray = field(repr=False)
    half_life_days: float | None = None

    @classmethod
    def fit(cls, counts: IntArray) -> Self:
        """Use the counts of the training split.

        Args:
            counts: Training interactions of each item, ``[n]``. Validation or test interactions
                would leak the targets.

        Raises:
            ValueError: If there is no item or a count is negative.
        """
        if counts.ndim != 1 or counts.size == 0:
            raise ValueError(
                f"counts has shape {counts.shape}; expected [n], one count for each item."
            )
        if not (counts.min() >= 0 and np.isfinite(counts).all()):
            raise ValueError(f"counts holds {counts.min()}; expected finite counts of at least 0.")
        return cls(counts.copy())

    @classmethod
    def fit_recent(
        cls, interactions: Interactions, *, train: BoolArray, n_items: int, half_life_days: float
    ) -> Self:
        """Weight interactions by recency: each counts ``2^(-age / half-life)``.

        Ages are measured from the last training interaction. The paper counts all alike.

        Args:
            interactions: All interactions, with timestamps.
            train: Mask of the training interactions, ``[m]``.
            n_items: Items of the catalog.
            half_life_days: Age at which an interaction counts half, above 0.

        Raises:
            DataError: If there are no timestamps or no training interactions.
            ValueError: If an argument is out of range.
        """
        if not (half_life_days > 0 and np.isfinite(half_life_days)):
            raise ValueError(f"half_life_days is {half_life_days}; expected a number above 0.")
        if interactions.times is None:
            raise DataError(
                "popularity with a half-life needs timestamps, and these interactions have only "
                "an order. Use popularity without a half-life, or data with timestamps."
            )
        _, items = training_rows(interactions, train, n_items=n_items)
        times = interactions.times[train]
        last = int(times.max())
        ticks_a_day = np.timedelta64(1, "D").astype(f"m8[{time_unit(last)}]").astype(np.int64)
        shares = np.exp2((times - last) / (ticks_a_day * half_life_days))
        return cls(np.bincount(items, weights=shares, minlength=n_items), float(half_life_days))

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        if self.half_life_days is None:
            return "popularity"
        return f"popularity, half-life {self.half_life_days:g} days"

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return len(self.counts)

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """The counts, for every history.

        Args:
            histories: Item numbers of each query; -1 is padding. Only their number matters.

        Returns:
            ``[q, n]`` float64, higher is better, a read-only view of one row.

        Raises:
            ValueError: If an item number is out of range.
        """
        starts, _, _ = history_rows(histories, n_items=self.n_items)
        row = self.counts.astype(np.float64)
        return np.broadcast_to(row, (len(starts) - 1, self.n_items))

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        settings = {"half_life_days": self.half_life_days}
        write_model_folder(folder, self.kind, settings=settings, arrays={"counts": self.counts})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        counts = Expected(("n",), dtypes=("int64", "float64"), least=0)
        check_model_arrays(folder, arrays, {"counts": counts})
        return cls(arrays["counts"], settings.half_life_days)


class _Stored(StoredSettings):
    half_life_days: Annotated[float, Field(gt=0)] | None
