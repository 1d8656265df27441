"""Ranks and lists of exact distances, without the exact distances of most pairs.

A float32 product bounds every distance. Where the bounds leave open whether a point is ahead of a
target or in a list, the distance is computed again in float64, so that what comes out is what
float64 distances of all pairs would give, ties included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bigrec.grounding.l2 import (
    POINTS_PER_BLOCK,
    ExactL2,
    blocks,
    pairs_of,
    round_down,
    round_up,
)
from bigrec.grounding.selection import (
    count_rows,
    empty_lists,
    flat_pairs,
    kth_bound,
    merge_smallest,
)
from bigrec.types import BoolArray, FloatArray, IntArray

# A block of pairs is small enough for the processor's cache and large enough for the product.
_PAIRS_PER_BLOCK = 1 << 20
# Both bounds, two masks and what is made of them on the way.
_BYTES_PER_PAIR = 24


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Bounds on the distances between some queries and some points.

    Attributes:
        rows: Numbers of the queries, ``[c]``.
        columns: The points.
        lower: At most half the squared distance less ``half``, but for ``error``, ``[c, w]``.
        upper: At least the same, ``[c, w]``.
        half: Half the queries' squared lengths, ``[c]``.
        error: What to widen the bounds by, ``[c]``.
    """

    rows: IntArray
    columns: slice
    lower: FloatArray = field(repr=False)
    upper: FloatArray = field(repr=False)
    half: FloatArray = field(repr=False)
    error: FloatArray = field(repr=False)
    _l2: ExactL2 = field(repr=False)
    _vectors: FloatArray = field(repr=False)

    def exact(self, chosen: BoolArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Row, number of the point and squared distance of each pair that is chosen, row by row."""
        row, column = pairs_of(chosen)
        column += self.columns.start
        return row, column, self._l2.squared(self._vectors, row, column)

    def leave_out(self, row: IntArray, points: IntArray) -> None:
        """Put pairs out of every reach; those with points of other blocks mean nothing here."""
        here = (points >= self.columns.start) & (points < self.columns.stop)
        pair = row[here], points[here] - self.columns.start
        self.lower[pair] = self.upper[pair] = np.inf


class Finder(Protocol):
    """Takes what it looks for from one block after another, points in ascending order."""

    def take(self, block: Block) -> None:
        """Look at the next points of some queries."""
        ...


class Ahead:
    """Counts the points that are no farther from each query than its target.

    Attributes:
        counts: ``[q]``; the target counts too, unless it is left out.
    """

    def __init__(self, of_targets: FloatArray) -> None:
        self.counts = np.zeros(len(of_targets), dtype=np.int64)
        self._of_targets = of_targets  # squared distances, [q]

    def take(self, block: Block) -> None:
        """Count the next points of some queries."""
        of_target = self._of_targets[block.rows]
        middle = of_target / 2 - block.half
        certain = block.upper <= round_down(middle - block.error)[:, None]
        possible = block.lower <= round_up(middle + block.error)[:, None]
        row, _, squares = block.exact(certain ^ possible)
        closer = row[squares <= of_target[row]]
        self.counts[block.rows] += count_rows(certain) + np.bincount(closer, minlength=len(middle))


class Nearest:
    """Keeps the ``k`` nearest points of each query.

    Attributes:
        squares: Squared distances, ascending, ``[q, k]``; infinite where fewer points remain.
        groups: Numbers of the points, ties in ascending order, ``[q, k]``; -1 where none is left.
    """

    def __init__(self, q: int, *, k: int) -> None:
        self.squares, self.groups = empty_lists(q, k=k)

    def take(self, block: Block) -> None:
        """Keep the nearest of the next points of some queries."""
        rows = block.rows
        squares, groups = self.squares[rows], self.groups[rows]
        reach = np.minimum(
            kth_bound(block.upper, squares.shape[1]) + 2 * block.error,
            squares[:, -1] / 2 - block.half + block.error,
        )
        row, group, found = block.exact(block.lower <= round_up(reach)[:, None])
        self.squares[rows], self.groups[rows] = merge_smallest(
            squares, groups, row=row, value=found, number=group
        )


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Finders that leave out the same points.

    Attributes:
        exclude: For each query the points left out.
        finders: What to find.
    """

    exclude: Sequence[IntArray]
    finders: Sequence[Finder]


def scan(
    l2: ExactL2, vectors: FloatArray, vector_of: IntArray, *, looks: Sequence[Look], max_bytes: int
) -> None:
    """Show all points to finders, block by block.

    Every block of points is read once for as many queries as ``max_bytes`` holds, and multiplied
    once for all looks and for all queries of the same vector.

    Args:
        l2: The points.
        vectors: ``[u, d]``.
        vector_of: Row of ``vectors`` of every query, ``[q]``.
        looks: A look sees nothing that a look before it left out.
        max_bytes: Working memory, at least what one query takes.
    """
    # Queries of the same vector next to each other.
    order = np.argsort(vector_of, kind="stable")
    held = max_bytes // 2 // (16 * vectors.shape[1])
    pairs = min(_PAIRS_PER_BLOCK, max_bytes // 2 // _BYTES_PER_PAIR)
    width = min(len(l2), max(POINTS_PER_BLOCK, pairs // max(1, len(order))))
    for piece in blocks(len(order), max(1, held)):
        parts = [
            _Part(l2, vectors, vector_of, rows=order[piece][rows], looks=looks)
            for rows in blocks(len(order[piece]), max(1, pairs // width))
        ]
        for columns in blocks(len(l2), width):
            for part in parts:
                part.show(columns)


class _Part:
    """A few queries, with what is the same for all blocks of points made ready."""

    def __init__(
        self,
        l2: ExactL2,
        vectors: FloatArray,
        vector_of: IntArray,
        *,
        rows: IntArray,
        looks: Sequence[Look],
    ) -> None:
        used, self._vector_of = np.unique(vector_of[rows], return_inverse=True)
        self._l2 = l2
        self._rows = rows
        self._placed = l2.place(vectors[used])
        squares = self._placed.squares[self._vector_of]
        self._half, self._error = squares / 2, l2.half_error(squares)
        self._vectors = vectors[vector_of[rows]]
        self._looks = [
            (look.finders, flat_pairs([look.exclude[query] for query in rows])) for look in looks
        ]

    def show(self, columns: slice) -> None:
        """Show a block of points to every finder."""
        lower, upper = self._l2.bounds(self._placed, columns)
        if len(lower) < len(self._rows):
            lower, upper = lower[self._vector_of], upper[self._vector_of]
        block = Block(
            rows=self._rows,
            columns=columns,
            lower=lower,
            upper=upper,
            half=self._half,
            error=self._error,
            _l2=self._l2,
            _vectors=self._vectors,
        )
        for finders, (row, points) in self._looks:
            block.leave_out(row, points)
            for finder in finders:
                finder.take(block)
