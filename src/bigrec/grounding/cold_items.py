"""What titles that nothing is known about take over from the titles most like them."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bigrec.types import BoolArray, FloatArray, IntArray

_COUNT = 5
# Of the exponential of a cosine: a title as near as 0.1 more counts 2.7 times as much.
_SHARPNESS = 10.0
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Likes:
    """The known titles most like each unknown one, and how much each of them counts.

    Attributes:
        unknown: Group numbers of the unknown titles, ``[m]``.
        nearest: Group numbers of up to five known titles for each, ``[m, k]``.
        shares: What each of these counts, ``[m, k]``; a row sums to 1.
    """

    unknown: IntArray = field(repr=False)
    nearest: IntArray = field(repr=False)
    shares: FloatArray = field(repr=False)

    @classmethod
    def of(cls, places: FloatArray, known: BoolArray) -> Self:
        """Find them by cosine; where no title is known, none is like any.

        Args:
            places: Where each title lies, ``[g, d]``, each of length 1.
            known: Which titles are known, ``[g]``.
        """
        sources, unknown = np.flatnonzero(known), np.flatnonzero(~known)
        k = min(_COUNT, len(sources))
        if k == 0:
            unknown = unknown[:0]
        nearest = np.empty((len(unknown), k), dtype=np.int64)
        shares = np.empty((len(unknown), k))
        of_sources = places[sources].T
        for start in range(0, len(unknown), _ROWS):
            rows = slice(start, start + _ROWS)
            closeness = places[unknown[rows]] @ of_sources
            found = np.argpartition(-closeness, k - 1, axis=1)[:, :k]
            nearest[rows] = sources[found]
            shares[rows] = np.exp(_SHARPNESS * np.take_along_axis(closeness, found, axis=1))
        return cls(unknown, nearest, shares / shares.sum(axis=1, keepdims=True))

    def fill(self, scores: FloatArray) -> FloatArray:
        """Give every unknown title the mean score of the known ones most like it.

        Args:
            scores: ``[q, g]``, higher is better.

        Returns:
            ``[q, g]``; the scores themselves where every title is known.
        """
        if not len(self.unknown):
            return scores
        filled = scores.copy()
        filled[:, self.unknown] = self.mixed(scores)
        return filled

    def mixed(self, values: FloatArray) -> FloatArray:
        """For every unknown title the mean of the known ones most like it, ``[q, m]``.

        Args:
            values: ``[q, g]``.
        """
        found = np.zeros((len(values), len(self.unknown)))
        # One like after another: all at once would take several times the memory.
        for nearest, share in zip(self.nearest.T, self.shares.T, strict=True):
            found += values[:, nearest] * share
        return found
