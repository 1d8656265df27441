"""Popularity: the same weight for every history, counted on the training split only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bigrec.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """How often each item was interacted with.

    Attributes:
        counts: ``[n]``, at least 0.
    """

    counts: IntArray = field(repr=False)

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

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights for the injection: ``minmax(count / sum of counts)``, as published.

        Args:
            histories: ``q`` histories; only their number matters.

        Returns:
            ``[q, n]`` in [0, 1], higher is more popular, a read-only view of one row. All 0 when
            all counts are equal: then popularity says nothing.
        """
        # Dividing by the sum first would cancel out in the min-max scaling.
        above = (self.counts - self.counts.min()).astype(np.float64)
        row = above / max(1.0, above.max())
        return np.broadcast_to(row, (len(histories), len(row)))

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores of popularity as a method of its own: the counts.

        Args:
            histories: ``q`` histories; only their number matters.

        Returns:
            ``[q, n]``, higher is better, a read-only view of one row.
        """
        row = self.counts.astype(np.float64)
        return np.broadcast_to(row, (len(histories), len(row)))
