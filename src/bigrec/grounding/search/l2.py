"""Euclidean distances at the speed of a float32 matrix product, and bounds on its error."""

from dataclasses import dataclass, field

import numpy as np

from bigrec.types import BoolArray, FloatArray, IntArray

POINTS_PER_BLOCK = 2048
_QUERIES_PER_BLOCK = 512
# Small enough that memory of this size is reused, and not given back and asked for again.
_NUMBERS_PER_PIECE = 1 << 15
_CENTRE_SAMPLE = 1024

_UNIT = 2.0**-24
# |a - b|^2 = |a|^2 + |b|^2 - 2ab loses digits when the result is small against |a|^2 + |b|^2. What
# is at most this share of them is computed from the difference itself, in float64.
_CANCELLATION = 0.05
# Products of float32 lose digits to underflow below this; the squares here are far from it.
_SMALLEST = 1e-30
_LARGEST = 1e36


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Queries beside the points of an `ExactL2`.

    Attributes:
        vectors: As given, ``[q, d]``.
        moved: Around the centre of the points, ``[q, d]`` float32.
        squares: Squared lengths of ``moved``, ``[q]`` float64.
    """

    vectors: FloatArray = field(repr=False)
    moved: FloatArray = field(repr=False)
    squares: FloatArray = field(repr=False)

    def __len__(self) -> int:
        return len(self.vectors)


class ExactL2:
    """Distances from any query to a fixed set of points.

    Both sides are moved by the points' centre first. L2 does not change, but a large component
    that all embeddings share, as those of language models do, no longer eats the digits.

    Needs as much memory again as the points in float32: they are kept as given and moved.

    Args:
        points: ``[g, d]``, finite.

    Raises:
        ValueError: If a point is farther than 1e18 from the centre.
    """

    def __init__(self, points: FloatArray) -> None:
        count, size = points.shape
        self._points = points
        # Any centre is right; unlike the mean, the median stays with the most when some are far.
        step = -(-count // _CENTRE_SAMPLE)
        self._centre = np.median(points[::step].astype(np.float64), axis=0)
        self._moved = np.empty((count, size), dtype=np.float32)
        self._squares = np.empty(count)
        for block in blocks(count, POINTS_PER_BLOCK):
            placed = self.place(points[block])
            self._moved[block], self._squares[block] = placed.moved, placed.squares
        error = self.half_error(self._squares)
        self._lower = round_down(self._squares / 2 - error)
        self._upper = round_up(self._squares / 2 + error)

    def __len__(self) -> int:
        return len(self._points)

    def place(self, queries: FloatArray) -> Placed:
        """Move queries ``[q, d]`` to where the points are.

        Raises:
            ValueError: If one is farther than 1e18 from the points' centre.
        """
        difference = queries - self._centre
        if difference.size and np.abs(difference).max() > np.sqrt(_LARGEST / len(self._centre)):
            raise ValueError(
                f"An embedding is {np.abs(difference).max():.3g} from the catalog's middle in one "
                "dimension; expected lengths below 1e18. Look for overflow in the embedder."
            )
        moved = difference.astype(np.float32)
        return Placed(queries, moved, _squared_lengths(moved.astype(np.float64)))

    def half_error(self, squares: FloatArray) -> FloatArray:
        """A share of the error of half a squared distance.

        The share of the query and that of the point add up to a bound on how far `bounds` is off.
        By ``2 |x||y| <= |x|^2 + |y|^2``, with ``u = 2^-24``, the product is off by at most
        ``d u (|x|^2 + |y|^2) / 2`` in whatever order it is summed, and rounding the moved vectors,
        the squares and the sum by less than ``8 u`` in place of ``d u``.
        """
        size = len(self._centre)
        # Twice the 8, and 1 % for terms in u^2.
        return np.asarray(1.01 * (size + 16) * (_UNIT * squares / 2 + 2.0**-126))

    def bounds(
        self, placed: Placed, points: slice, *, room: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Half the squared distances to some points, less half the squares of the queries.

        Args:
            placed: The queries.
            points: Some of the points, ``w`` of them.
            room: ``[2, q * w]`` float32 or more, overwritten: the result lies there.

        Returns:
            ``[q, w]`` float32 twice: at most and at least the true value, but for the query's own
            ``half_error``, which is left out on both sides.
        """
        shape = (len(placed), points.stop - points.start)
        lower, upper = (one[: shape[0] * shape[1]].reshape(shape) for one in room)
        product = np.matmul(placed.moved, self._moved[points].T, out=upper)
        np.subtract(self._lower[points], product, out=lower)
        return lower, np.subtract(self._upper[points], product, out=upper)

    def squared(self, queries: FloatArray, row: IntArray, column: IntArray) -> FloatArray:
        """Squared distances of pairs of a query and a point, in float64 from the difference.

        Args:
            queries: ``[q, d]``.
            row: Of the query of every pair, ``[p]``.
            column: Of the point of every pair, ``[p]``.

        Returns:
            ``[p]``; the same for the same vectors whatever other pairs there are.
        """
        found = np.empty(len(row))
        for piece in blocks(len(row), max(1, _NUMBERS_PER_PIECE // queries.shape[1])):
            difference = queries[row[piece]].astype(np.float64)
            difference -= self._points[column[piece]]
            np.vecdot(difference, difference, out=found[piece])
        return found

    def distances(self, queries: FloatArray) -> FloatArray:
        """L2 distance of every query to every point.

        Args:
            queries: ``[q, d]``.

        Returns:
            ``[q, g]`` float32, lower is nearer; exactly 0 for identical vectors. The relative error
            is about 1e-6, and at most ``d * 6e-7`` if every rounding went the same way.
        """
        found = np.empty((len(queries), len(self)), dtype=np.float32)
        for rows in blocks(len(queries), _QUERIES_PER_BLOCK):
            placed = self.place(queries[rows])
            for columns in blocks(len(self), POINTS_PER_BLOCK):
                found[rows, columns] = self._block(placed, columns)
        return found

    def queries_within(self, max_bytes: int) -> int:
        """How many queries a call of `distances` may take, at least one, to need ``max_bytes``."""
        count, size = self._points.shape
        block = min(count, POINTS_PER_BLOCK)
        each = 4 * count
        # Of a block of queries: placed in float64 and float32, then three matrices and a mask.
        in_block = 20 * size + 13 * block
        if max_bytes < _QUERIES_PER_BLOCK * (each + in_block):
            return int(max(1, max_bytes // (each + in_block)))
        return int((max_bytes - _QUERIES_PER_BLOCK * in_block) // each)

    def _block(self, placed: Placed, columns: slice) -> FloatArray:
        row, column = placed.squares[:, None], self._squares[columns]
        found = placed.moved @ self._moved[columns].T
        found *= -2
        found += row.astype(np.float32) + column.astype(np.float32)
        close = (_CANCELLATION * row + _SMALLEST).astype(np.float32) + (
            _CANCELLATION * column
        ).astype(np.float32)
        near = pairs_of(found <= close)
        # What is negative by rounding is among the close.
        found[near] = self.squared(placed.vectors, near[0], near[1] + columns.start)
        return np.sqrt(found, out=found)


def blocks(count: int, size: int) -> list[slice]:
    """Consecutive slices of at most ``size`` that cover ``count``."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def pairs_of(chosen: BoolArray) -> tuple[IntArray, IntArray]:
    """Rows and columns of what is chosen, row by row."""
    # Several times as fast as `nonzero` of two dimensions.
    row, column = np.divmod(np.flatnonzero(chosen), max(1, chosen.shape[1]))
    return row, column


def round_up(values: FloatArray) -> FloatArray:
    """The values in float32, not below what they were, and finite."""
    limit = np.finfo(np.float32).max
    # The last step up may reach the limit, but not infinity.
    kept = np.clip(values, -limit, np.nextafter(limit, np.float32(0))).astype(np.float32)
    return np.asarray(np.nextafter(kept, np.float32(np.inf)))


def round_down(values: FloatArray) -> FloatArray:
    """The values in float32, not above what they were, and finite."""
    return -round_up(-values)


def _squared_lengths(rows: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))
