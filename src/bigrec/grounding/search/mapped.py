"""Exact search over points that stay in their file: read block by block, in bounded memory."""

from pathlib import Path

import numpy as np

from bigrec.errors import BundleError
from bigrec.grounding.search.l2 import (
    POINTS_PER_BLOCK,
    CenteredQueries,
    ExactL2,
    blocks,
)
from bigrec.grounding.search.scan import Pass, QueryPointPairs, TopK, scan
from bigrec.types import FloatArray, IntArray

MAX_BYTES = 64 * 1024**2
"""Default working memory of a search."""

_KINDS = (np.dtype(np.float32), np.dtype(np.float16))
_NOTHING = np.zeros(0, dtype=np.int64)


class MappedL2(ExactL2):
    """Distances from any query to the points of a file, which is mapped and never copied.

    In memory are 16 bytes of every point and a block of points; the system keeps as much of the
    file as it has memory for. Float16 points are taken as they are: distances to them are exact.

    Args:
        path: An array ``[m, d]`` of float32 or float16 in NumPy's format (``.npy``), finite.

    Raises:
        BundleError: If the file is missing, damaged or of another type or shape.
        ValueError: If a point is farther than 1e18 from the center, or not finite.
    """

    def __init__(self, path: Path) -> None:
        self._points = _mapped(path)
        # In float32, so that differences of float32 and float16 points to it are rounded once.
        self._center = self._median(self._points).astype(np.float32).astype(np.float64)
        self._center32 = self._center.astype(np.float32)
        self._squares = np.empty(len(self._points))
        for rows in blocks(len(self._points), POINTS_PER_BLOCK):
            self._squares[rows] = self.center(self._points[rows].astype(np.float32)).squares
        if not np.isfinite(self._squares).all():
            raise ValueError(f"{path} holds NaN or infinity; expected finite numbers.")
        self._set_bounds()

    def bounds(
        self, queries: CenteredQueries, columns: slice, *, buffer: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Bounds on half the squared distances to some points; see `ExactL2.bounds`."""
        shape = (len(queries), columns.stop - columns.start)
        lower, product = (half[: shape[0] * shape[1]].reshape(shape) for half in buffer)
        for part in blocks(shape[1], POINTS_PER_BLOCK):
            rows = slice(columns.start + part.start, columns.start + part.stop)
            product[:, part] = queries.centered @ self._centered_rows(rows).T
        np.subtract(self._lower[columns], product, out=lower)
        return lower, np.subtract(self._upper[columns], product, out=product)

    def _centered_rows(self, rows: slice) -> FloatArray:
        return np.subtract(self._points[rows], self._center32, dtype=np.float32)


def nearest(
    points: ExactL2, queries: FloatArray, *, k: int, max_bytes: int = MAX_BYTES
) -> tuple[FloatArray, IntArray]:
    """The nearest points of each query, by float64 distances of all points.

    Args:
        points: The points.
        queries: ``[q, d]``, finite.
        k: Length of the lists, from 1 to ``m``.
        max_bytes: Working memory, at least that of one query.

    Returns:
        Distances, ascending, ``[q, k]``, and numbers of the points, ties in ascending order,
        ``[q, k]``.

    Raises:
        ValueError: If ``k`` is out of range.
    """
    if not 1 <= k <= len(points):
        raise ValueError(f"k is {k}; expected a number from 1 to {len(points)}.")
    top = TopK(len(queries), k=k)
    pairs = QueryPointPairs(points, queries, np.arange(len(queries)))
    scan(pairs, [Pass([_NOTHING] * len(queries), [top])], max_bytes=max_bytes)
    return np.sqrt(top.squares), top.points


def _mapped(path: Path) -> FloatArray:
    try:
        points: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(
            f"{path} could not be mapped: {error}. Write it again with numpy.save."
        ) from None
    if points.ndim != 2 or points.dtype not in _KINDS or not points.size:
        raise BundleError(
            f"{path} holds {points.dtype} of shape {points.shape}: expected float32 or float16 "
            "with one row for each point. Write it again with numpy.save."
        )
    return points
