"""Impute scores of cold items from their nearest neighbors."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bigrec.types import BoolArray, FloatArray, IntArray

_N_NEIGHBORS = 5
# Factor of the cosine in the softmax: a neighbor nearer by 0.1 weighs 2.7 times as much.
_SHARPNESS = 10.0
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class ColdItemImputer:
    """Nearest known titles of each cold title, with their weights.

    Attributes:
        cold: Title ids of the cold titles, ``[m]``.
        neighbors: Title ids of up to five known titles for each, ``[m, k]``.
        weights: Weight of each neighbor, ``[m, k]``; a row sums to 1.
    """

    cold: IntArray = field(repr=False)
    neighbors: IntArray = field(repr=False)
    weights: FloatArray = field(repr=False)

    @classmethod
    def fit(cls, vectors: FloatArray, known: BoolArray) -> Self:
        """Find the nearest neighbors by cosine.

        Args:
            vectors: Vector of each title, ``[t, d]``, of unit length.
            known: Whether a title has scores, ``[t]``. Without a known title nothing is imputed.
        """
        sources, cold = np.flatnonzero(known), np.flatnonzero(~known)
        k = min(_N_NEIGHBORS, len(sources))
        if k == 0:
            cold = cold[:0]
        neighbors = np.empty((len(cold), k), dtype=np.int64)
        weights = np.empty((len(cold), k))
        source_vectors = vectors[sources].T
        for start in range(0, len(cold), _ROWS):
            rows = slice(start, start + _ROWS)
            cosines = vectors[cold[rows]] @ source_vectors
            nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
            neighbors[rows] = sources[nearest]
            weights[rows] = np.exp(_SHARPNESS * np.take_along_axis(cosines, nearest, axis=1))
        return cls(cold, neighbors, weights / weights.sum(axis=1, keepdims=True))

    def impute(self, scores: FloatArray) -> FloatArray:
        """Replace the scores of cold titles by the weighted mean of their neighbors' scores.

        Args:
            scores: ``[q, t]``, higher is better.

        Returns:
            ``[q, t]``; ``scores`` itself if there is no cold title.
        """
        if not len(self.cold):
            return scores
        imputed = scores.copy()
        imputed[:, self.cold] = self.neighbor_means(scores)
        return imputed

    def neighbor_means(self, values: FloatArray) -> FloatArray:
        """Weighted mean of the neighbors' values for every cold title, ``[q, m]`` float64.

        Args:
            values: ``[q, t]``.
        """
        means = np.zeros((len(values), len(self.cold)))
        # One neighbor after another: all at once would take several times the memory.
        for neighbors, weights in zip(self.neighbors.T, self.weights.T, strict=True):
            means += values[:, neighbors] * weights
        return means
