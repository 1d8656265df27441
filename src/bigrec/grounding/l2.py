"""Exact Euclidean distances at the speed of a matrix product."""

import numpy as np

from bigrec.types import FloatArray

# |a - b|^2 = |a|^2 + |b|^2 - 2ab loses digits when the result is small against the norms. In
# float64 the loss stays below 1e-6 of the distance down to this share; what is smaller is
# computed from the difference itself.
_CANCELLATION = 1e-7
_POINTS_PER_BLOCK = 1024
_NUMBERS_PER_BLOCK = 1 << 21


class ExactL2:
    """Distances from any query to a fixed set of points.

    Both sides are moved by the points' mean first. L2 does not change, but a large component that
    all embeddings share, as those of language models do, no longer eats the digits.
    """

    def __init__(self, points: FloatArray) -> None:
        self._points = points
        self._centre = points.mean(axis=0, dtype=np.float64)
        self._squares = np.empty(len(points))
        for block in _blocks(len(points)):
            self._squares[block] = _squared_lengths(points[block] - self._centre)

    def distances(self, queries: FloatArray) -> FloatArray:
        """L2 distance of every query to every point.

        Args:
            queries: ``[q, d]``.

        Returns:
            ``[q, g]`` float32, lower is nearer; exactly 0 for identical vectors.
        """
        moved = queries - self._centre
        squares = _squared_lengths(moved)[:, None]
        found = np.empty((len(queries), len(self._points)), dtype=np.float32)
        for block in _blocks(len(self._points)):
            product = moved @ (self._points[block] - self._centre).T
            norms = squares + self._squares[block]
            product *= -2
            product += norms
            close = np.nonzero(product < _CANCELLATION * norms)
            found[:, block] = np.sqrt(np.maximum(product, 0, out=product), out=product)
            self._recompute(found, queries, rows=close[0], columns=close[1] + block.start)
        return found

    def queries_within(self, max_bytes: int) -> int:
        """How many queries a call may take, at least one, to need at most ``max_bytes``."""
        count, size = self._points.shape
        block = min(count, _POINTS_PER_BLOCK)
        fixed = 2 * 8 * block * size
        each = 4 * count + 8 * size + 4 * 8 * block
        return int(max(1, (max_bytes - fixed) // each))

    def _recompute(
        self, found: FloatArray, queries: FloatArray, *, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        pairs = max(1, _NUMBERS_PER_BLOCK // queries.shape[1])
        for start in range(0, len(rows), pairs):
            row, column = rows[start : start + pairs], columns[start : start + pairs]
            difference = queries[row].astype(np.float64) - self._points[column]
            found[row, column] = np.sqrt(_squared_lengths(difference))


def _blocks(count: int) -> list[slice]:
    starts = range(0, count, _POINTS_PER_BLOCK)
    return [slice(start, min(start + _POINTS_PER_BLOCK, count)) for start in starts]


def _squared_lengths(rows: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))
