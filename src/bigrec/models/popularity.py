"""Popularity: the same weight for every history, counted on the training split only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from bigrec.data.interactions import Interactions
from bigrec.data.times import time_unit
from bigrec.errors import DataError
from bigrec.models.base import load_signal, save_signal, training_rows
from bigrec.models.scaling import minmax
from bigrec.types import BoolArray, FloatArray, IntArray

_KIND = "popularity"


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """How often each item was interacted with, of late or ever.

    Attributes:
        counts: ``[n]``, at least 0. With a half-life, an interaction of that age counts 1/2.
        half_life_days: None where all interactions count alike.
    """

    counts: IntArray | FloatArray = field(repr=False)
    half_life_days: float | None = None

    @classmethod
    def fit(cls, counts: IntArray) -> Self:
        """Take the counts of the training split.

        Args:
            counts: Interactions of each item, ``[n]``. Counting validation or test interactions
                would leak what is to be predicted.

        Raises:
            ValueError: If there is no item or a count is negative.
        """
        if counts.ndim != 1 or counts.size == 0:
            raise ValueError(
                f"counts has shape {counts.shape}; expected [n], one count for each item."
            )
        if counts.min() < 0:
            raise ValueError(f"counts holds {counts.min()}; expected counts of at least 0.")
        return cls(counts.copy())

    @classmethod
    def fit_recent(
        cls, interactions: Interactions, *, train: BoolArray, n_items: int, half_life_days: float
    ) -> Self:
        """Count what is recent more: an interaction counts ``2^(-age / half-life)``.

        Ages are measured from the last training interaction. The paper counts all alike.

        Args:
            interactions: All interactions; timestamps are needed.
            train: Which of them to count, ``[m]``.
            n_items: Items of the catalog.
            half_life_days: Age at which an interaction counts half, above 0.

        Raises:
            DataError: If there are no timestamps or no row is left.
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
        """What the signal is called in tables."""
        if self.half_life_days is None:
            return "popularity"
        return f"popularity, half-life {self.half_life_days:g} days"

    @property
    def n_items(self) -> int:
        """Items that are scored, ``n``."""
        return len(self.counts)

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights for the injection: ``minmax(count / sum of counts)``, as published.

        Args:
            histories: ``q`` histories; only their number matters.

        Returns:
            ``[q, n]`` in [0, 1], higher is more popular, a read-only view of one row. All 0 when
            all counts are equal: then popularity says nothing.
        """
        # Dividing by the sum first would cancel out in the min-max scaling.
        row = minmax(self.counts.astype(np.float64)[None])
        return np.broadcast_to(row, (len(histories), self.n_items))

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores of popularity as a method of its own: the counts.

        Args:
            histories: ``q`` histories; only their number matters.

        Returns:
            ``[q, n]``, higher is better, a read-only view of one row.
        """
        row = self.counts.astype(np.float64)
        return np.broadcast_to(row, (len(histories), self.n_items))

    def save(self, folder: Path) -> None:
        """Write the signal to a folder of its own, whole or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        settings = {"half_life_days": self.half_life_days}
        save_signal(folder, _KIND, settings=settings, arrays={"counts": self.counts})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = load_signal(
            folder, _KIND, settings=["half_life_days"], arrays=["counts"]
        )
        return cls(arrays["counts"], settings["half_life_days"])
