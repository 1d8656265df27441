"""Euclidean distances at the speed of a float32 matrix product, and bounds on its error."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bigrec.storage.sharing import shared
from bigrec.types import BoolArray, FloatArray, IntArray

POINTS_PER_BLOCK = 2048
_QUERIES_PER_BLOCK = 512
# Small enough that the allocator reuses the memory instead of returning it to the system.
_NUMBERS_PER_BLOCK = 1 << 15
_CENTER_SAMPLE = 1024

_UNIT = 2.0**-24
# |a - b|^2 = |a|^2 + |b|^2 - 2ab loses digits when the result is small against |a|^2 + |b|^2. A
# result of at most this share of them is computed from the difference itself, in float64.
_CANCELLATION = 0.05
# Products of float32 lose digits to underflow below this; the squares here are far from it.
_SMALLEST = 1e-30
_LARGEST = 1e36


@dataclass(frozen=True, slots=True, eq=False)
class CenteredQueries:
    """Queries relative to the center of the points of an `ExactL2`.

    Attributes:
        vectors: As given, ``[q, d]``.
        centered: Relative to the center of the points, ``[q, d]`` float32.
        squares: Squared lengths of ``centered``, ``[q]`` float64.
    """

    vectors: FloatArray = field(repr=False)
    centered: FloatArray = field(repr=False)
    squares: FloatArray = field(repr=False)

    def __len__(self) -> int:
        return len(self.vectors)


class ExactL2:
    """Distances from any query to a fixed set of points.

    Queries and points are centered first. L2 does not change, but a large component that all
    embeddings share, as those of language models do, no longer costs digits.

    Needs as much memory again as the points in float32: they are kept as given and centered.

    Args:
        points: ``[m, d]``, finite.

    Raises:
        ValueError: If a point is farther than 1e18 from the center.
    """

    def __init__(self, points: FloatArray) -> None:
        n_points, size = points.shape
        self._points = points
        self._center = self._median(points)
        self._centered = np.empty((n_points, size), dtype=np.float32)
        self._squares = np.empty(n_points)
        for block in blocks(n_points, POINTS_PER_BLOCK):
            batch = self.center(points[block])
            self._centered[block], self._squares[block] = batch.centered, batch.squares
        self._centered = shared(self._centered)
        self._set_bounds()

    @staticmethod
    def _median(points: FloatArray) -> FloatArray:
        # Any center is right; unlike the mean, the median stays with most points if some are far.
        step = -(-len(points) // _CENTER_SAMPLE)
        return np.asarray(np.median(points[::step].astype(np.float64), axis=0))

    def _set_bounds(self) -> None:
        error = self.half_error(self._squares)
        self._lower = round_down(self._squares / 2 - error)
        self._upper = round_up(self._squares / 2 + error)

    def __len__(self) -> int:
        return len(self._points)

    def center(self, queries: FloatArray) -> CenteredQueries:
        """Center queries ``[q, d]`` as the points are.

        Raises:
            ValueError: If one is farther than 1e18 from the points' center.
        """
        difference = queries - self._center
        if difference.size and np.abs(difference).max() > np.sqrt(_LARGEST / len(self._center)):
            raise ValueError(
                f"An embedding is {np.abs(difference).max():.3g} from the catalog's center in one "
                "dimension; expected lengths below 1e18. Look for overflow in the embedder."
            )
        centered = difference.astype(np.float32)
        return CenteredQueries(queries, centered, _squared_lengths(centered.astype(np.float64)))

    def scaled(self, vectors: FloatArray) -> FloatArray:
        """Vectors ``[q, d]`` in a space where no point is longer than 1 and the order is the same.

        Raises:
            ValueError: If one is farther than 1e18 from the points' center.
        """
        return self.center(vectors).centered / self._longest

    def scaled_points(self, rows: slice) -> FloatArray:
        """Some of the points as `scaled` gives them, ``[p, d]`` float32."""
        return self._centered_rows(rows) / self._longest

    def _centered_rows(self, rows: slice) -> FloatArray:
        return np.asarray(self._centered[rows])

    @property
    def size(self) -> int:
        """Dimensions of the points, ``d``."""
        return len(self._center)

    @cached_property
    def _longest(self) -> np.float32:
        """Length of the point farthest from the center; 1 if all are in it."""
        return np.float32(np.sqrt(self._squares.max(initial=0)) or 1)

    def half_error(self, squares: FloatArray) -> FloatArray:
        """Contribution of vectors of squared lengths ``squares`` to the error of `bounds`.

        The contributions of the query and of the point add up to a bound on the error of half a
        squared distance. By ``2 |x||y| <= |x|^2 + |y|^2``, with ``u = 2^-24``, the product is off
        by at most ``d u (|x|^2 + |y|^2) / 2`` in whichever order it is summed, and rounding the
        centered vectors, the squares and the sum by less than ``8 u`` in place of ``d u``.
        """
        size = len(self._center)
        # Twice the 8, and 1 % for terms in u^2.
        return np.asarray(1.01 * (size + 16) * (_UNIT * squares / 2 + 2.0**-126))

    def bounds(
        self, queries: CenteredQueries, columns: slice, *, buffer: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Bounds on half the squared distances to some points, less half the queries' squares.

        Args:
            queries: The queries.
            columns: The block of ``w`` points.
            buffer: ``[2, q * w]`` float32 or more, overwritten: it holds the result.

        Returns:
            Lower and upper bounds, ``[q, w]`` float32. The query's own ``half_error`` is not
            included in either.
        """
        shape = (len(queries), columns.stop - columns.start)
        lower, upper = (half[: shape[0] * shape[1]].reshape(shape) for half in buffer)
        product = np.matmul(queries.centered, self._centered_rows(columns).T, out=upper)
        np.subtract(self._lower[columns], product, out=lower)
        return lower, np.subtract(self._upper[columns], product, out=upper)

    def squared(self, queries: FloatArray, row: IntArray, column: IntArray) -> FloatArray:
        """Squared distances of pairs of a query and a point, in float64 from the difference.

        Args:
            queries: ``[q, d]``.
            row: Query of every pair, ``[p]``.
            column: Point of every pair, ``[p]``.

        Returns:
            ``[p]``; equal vectors give equal results, independent of the other pairs.
        """
        squares = np.empty(len(row))
        for block in blocks(len(row), max(1, _NUMBERS_PER_BLOCK // queries.shape[1])):
            difference = queries[row[block]].astype(np.float64)
            difference -= self._points[column[block]]
            np.vecdot(difference, difference, out=squares[block])
        return squares

    def distances(self, queries: FloatArray) -> FloatArray:
        """L2 distance of every query to every point.

        Args:
            queries: ``[q, d]``.

        Returns:
            ``[q, m]`` float32, lower is better; exactly 0 for identical vectors. The relative error
            is about 1e-6, and at most ``d * 6e-7`` if every rounding went the same way.
        """
        distances = np.empty((len(queries), len(self)), dtype=np.float32)
        for rows in blocks(len(queries), _QUERIES_PER_BLOCK):
            batch = self.center(queries[rows])
            for columns in blocks(len(self), POINTS_PER_BLOCK):
                distances[rows, columns] = self._block(batch, columns)
        return distances

    def queries_within(self, max_bytes: int) -> int:
        """Number of queries, at least one, for which `distances` needs ``max_bytes`` of memory."""
        n_points, size = self._points.shape
        block = min(n_points, POINTS_PER_BLOCK)
        result_bytes = 4 * n_points
        # Of a query in a block: centered in float64 and float32, then three matrices and a mask.
        block_bytes = 20 * size + 13 * block
        if max_bytes < _QUERIES_PER_BLOCK * (result_bytes + block_bytes):
            return int(max(1, max_bytes // (result_bytes + block_bytes)))
        return int((max_bytes - _QUERIES_PER_BLOCK * block_bytes) // result_bytes)

    def _block(self, queries: CenteredQueries, columns: slice) -> FloatArray:
        row, column = queries.squares[:, None], self._squares[columns]
        squares = queries.centered @ self._centered_rows(columns).T
        squares *= -2
        squares += row.astype(np.float32) + column.astype(np.float32)
        canceled = (_CANCELLATION * row + _SMALLEST).astype(np.float32) + (
            _CANCELLATION * column
        ).astype(np.float32)
        near = pairs_of(squares <= canceled)
        # Squares that are negative by rounding are among them.
        squares[near] = self.squared(queries.vectors, near[0], near[1] + columns.start)
        return np.sqrt(squares, out=squares)


def blocks(count: int, size: int) -> list[slice]:
    """Consecutive slices of at most ``size`` that cover ``count``."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def pairs_of(mask: BoolArray) -> tuple[IntArray, IntArray]:
    """Rows and columns of the true values, row by row."""
    # Several times as fast as `nonzero` of two dimensions.
    row, column = np.divmod(np.flatnonzero(mask), max(1, mask.shape[1]))
    return row, column


def round_up(values: FloatArray) -> FloatArray:
    """Round to finite float32 values that are not below the given ones."""
    limit = np.finfo(np.float32).max
    # The last step up may reach the limit, but not infinity.
    clipped = np.clip(values, -limit, np.nextafter(limit, np.float32(0))).astype(np.float32)
    return np.asarray(np.nextafter(clipped, np.float32(np.inf)))


def round_down(values: FloatArray) -> FloatArray:
    """Round to finite float32 values that are not above the given ones."""
    return -round_up(-values)


def _squared_lengths(rows: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))
