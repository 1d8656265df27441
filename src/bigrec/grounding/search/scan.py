"""Ranks and lists of exact distances, without the exact distances of most pairs.

A float32 product bounds every distance. Where the bounds leave open whether a point is ahead of a
target or in a list, the distance is computed again in float64, so that what comes out is what
float64 distances of all pairs would give, ties included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bigrec.grounding.search.l2 import (
    POINTS_PER_BLOCK,
    ExactL2,
    blocks,
    pairs_of,
    round_down,
    round_up,
)
from bigrec.grounding.search.topk import (
    count_rows,
    empty_lists,
    flat_pairs,
    merge_smallest,
    part_minima,
)
from bigrec.types import FloatArray, IntArray

# A block of distances is small enough for the processor's cache and large enough for the product.
_NUMBERS_PER_BLOCK = 1 << 20
# Both bounds, once more where queries share a vector, two masks and what is made of them.
_BYTES_PER_NUMBER = 24
# Arrays at the same place of a memory page slow each other down.
_APART = 16
# So many candidates are held, of all queries together, before they are settled on the way.
_MOST_HELD = 1 << 18
_SETTLED_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Queries and points, and the distances between any two of them.

    Attributes:
        l2: The points.
        vectors: ``[u, d]``.
        vector_of: Row of ``vectors`` of every query, ``[q]``.
    """

    l2: ExactL2 = field(repr=False)
    vectors: FloatArray = field(repr=False)
    vector_of: IntArray = field(repr=False)

    def squared(self, queries: IntArray, points: IntArray) -> FloatArray:
        """Squared distance of each query ``[p]`` to its point ``[p]``."""
        return self.l2.squared(self.vectors, self.vector_of[queries], points)


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
        pairs: Whose they are.
    """

    rows: IntArray
    columns: slice
    lower: FloatArray = field(repr=False)
    upper: FloatArray = field(repr=False)
    half: FloatArray = field(repr=False)
    error: FloatArray = field(repr=False)
    pairs: Pairs = field(repr=False)

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

    def finish(self, pairs: Pairs) -> None:
        """Settle what is still open once all points were shown."""
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
        row, column = pairs_of(certain ^ possible)
        squares = block.pairs.squared(block.rows[row], column + block.columns.start)
        closer = row[squares <= of_target[row]]
        self.counts[block.rows] += count_rows(certain) + np.bincount(closer, minlength=len(middle))

    def finish(self, pairs: Pairs) -> None:
        """Nothing is open: every block is counted at once."""


class Nearest:
    """Keeps the ``k`` nearest points of each query.

    Points that may be among them are held with their bounds and settled at the end, when most
    turn out to be too far without another look.

    Attributes:
        squares: Squared distances, ascending, ``[q, k]``; infinite where fewer points remain.
        groups: Numbers of the points, ties in ascending order, ``[q, k]``; -1 where none is left.
    """

    def __init__(self, q: int, *, k: int) -> None:
        self.squares, self.groups = empty_lists(q, k=k)
        self._uppers = np.full((q, k), np.inf, dtype=np.float32)
        self._reach = np.empty(q, dtype=np.float32)
        self._held: list[tuple[IntArray, IntArray, FloatArray]] = []

    def take(self, block: Block) -> None:
        """Hold what may be among the nearest of the next points of some queries."""
        rows, k = block.rows, self.squares.shape[1]
        known = np.concatenate([self._uppers[rows], part_minima(block.upper, k)], axis=1)
        self._uppers[rows] = smallest = np.partition(known, k - 1, axis=1)[:, :k]
        self._reach[rows] = reach = round_up(
            np.minimum(
                smallest[:, -1] + 2 * block.error,
                self.squares[rows, -1] / 2 - block.half + block.error,
            )
        )
        row, column = pairs_of(block.lower <= reach[:, None])
        self._held.append((rows[row], column + block.columns.start, block.lower[row, column]))
        if sum(len(queries) for queries, _, _ in self._held) > _MOST_HELD:
            self.finish(block.pairs)

    def finish(self, pairs: Pairs) -> None:
        """Put what is held and still within reach into the lists."""
        if not self._held:
            return
        query, group, lower = (np.concatenate(parts) for parts in zip(*self._held, strict=True))
        self._held = []
        near = np.flatnonzero(lower <= self._reach[query])
        # Stable, so that the points of a query stay in ascending order.
        near = near[np.argsort(query[near], kind="stable")]
        query, group = query[near], group[near]
        used, row = np.unique(query, return_inverse=True)
        for rows in blocks(len(used), _SETTLED_AT_ONCE):
            some = slice(*np.searchsorted(row, [rows.start, rows.stop]))
            self.squares[used[rows]], self.groups[used[rows]] = merge_smallest(
                self.squares[used[rows]],
                self.groups[used[rows]],
                row=row[some] - rows.start,
                value=pairs.squared(query[some], group[some]),
                number=group[some],
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


def scan(pairs: Pairs, looks: Sequence[Look], *, max_bytes: int) -> None:
    """Show all points to finders, block by block.

    Every block of points is read once for as many queries as ``max_bytes`` holds, and multiplied
    once for all looks and for all queries of the same vector.

    Args:
        pairs: Queries and points.
        looks: A look sees nothing that a look before it left out.
        max_bytes: Working memory, at least what one query takes.
    """
    # Queries of the same vector next to each other.
    order = np.argsort(pairs.vector_of, kind="stable")
    held = max_bytes // 2 // (16 * pairs.vectors.shape[1])
    numbers = min(_NUMBERS_PER_BLOCK, max_bytes // 2 // _BYTES_PER_NUMBER)
    n_points = len(pairs.l2)
    width = min(n_points, max(POINTS_PER_BLOCK, numbers // max(1, len(order))))
    count = max(1, numbers // width)
    room = np.empty((2, count * width + _APART), dtype=np.float32)
    for piece in blocks(len(order), max(1, held)):
        some = order[piece]
        parts = [_Part(pairs, some[rows], looks=looks) for rows in blocks(len(some), count)]
        for columns in blocks(n_points, width):
            for part in parts:
                part.show(columns, room=room)
    for look in looks:
        for finder in look.finders:
            finder.finish(pairs)


class _Part:
    """A few queries, with what is the same for all blocks of points made ready."""

    def __init__(self, pairs: Pairs, rows: IntArray, *, looks: Sequence[Look]) -> None:
        used, self._vector_of = np.unique(pairs.vector_of[rows], return_inverse=True)
        self._pairs = pairs
        self._rows = rows
        self._placed = pairs.l2.place(pairs.vectors[used])
        squares = self._placed.squares[self._vector_of]
        self._half, self._error = squares / 2, pairs.l2.half_error(squares)
        self._looks = [
            (look.finders, flat_pairs([look.exclude[query] for query in rows])) for look in looks
        ]

    def show(self, columns: slice, *, room: FloatArray) -> None:
        """Show a block of points to every finder; see ``ExactL2.bounds`` for the room."""
        lower, upper = self._pairs.l2.bounds(self._placed, columns, room=room)
        if len(lower) < len(self._rows):
            lower, upper = lower[self._vector_of], upper[self._vector_of]
        block = Block(
            rows=self._rows,
            columns=columns,
            lower=lower,
            upper=upper,
            half=self._half,
            error=self._error,
            pairs=self._pairs,
        )
        for finders, (row, points) in self._looks:
            block.leave_out(row, points)
            for finder in finders:
                finder.take(block)
