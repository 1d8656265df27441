"""Ranks and lists by exact distances, without computing most exact distances.

A float32 product bounds every distance. Where the bounds do not decide whether a point is ahead of
a target or in a list, the distance is computed again in float64. Ranks and lists are those that
float64 distances of all pairs give, ties included.
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
# Both bounds, once more where queries share a vector, two masks and their indices.
_BYTES_PER_NUMBER = 24
# Arrays at the same offset of a memory page slow each other down.
_PADDING = 16
# Candidates held for all queries together before they are resolved early.
_MAX_CANDIDATES = 1 << 18
_QUERIES_PER_MERGE = 512


@dataclass(frozen=True, slots=True, eq=False)
class QueryPointPairs:
    """Queries and points, and the distances between any two of them.

    Attributes:
        l2: The points.
        vectors: Different vectors of the queries, ``[u, d]``.
        vector_rows: Row of ``vectors`` of every query, ``[q]``.
    """

    l2: ExactL2 = field(repr=False)
    vectors: FloatArray = field(repr=False)
    vector_rows: IntArray = field(repr=False)

    def squared(self, queries: IntArray, points: IntArray) -> FloatArray:
        """Squared distance of each query ``[p]`` to its point ``[p]``."""
        return self.l2.squared(self.vectors, self.vector_rows[queries], points)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Bounds on the distances between ``c`` queries and ``w`` consecutive points.

    The bounded number is half the squared distance less ``half``. The bounds hold up to ``error``.

    Attributes:
        rows: Numbers of the queries, ``[c]``.
        columns: The points.
        lower: Lower bounds, ``[c, w]``.
        upper: Upper bounds, ``[c, w]``.
        half: Half the queries' squared lengths, ``[c]``.
        error: Margin by which to widen the bounds, ``[c]``.
        pairs: All queries and points.
    """

    rows: IntArray
    columns: slice
    lower: FloatArray = field(repr=False)
    upper: FloatArray = field(repr=False)
    half: FloatArray = field(repr=False)
    error: FloatArray = field(repr=False)
    pairs: QueryPointPairs = field(repr=False)

    def exclude(self, row: IntArray, points: IntArray) -> None:
        """Set pairs infinitely far apart; pairs with points of other blocks are ignored."""
        in_block = (points >= self.columns.start) & (points < self.columns.stop)
        pair = row[in_block], points[in_block] - self.columns.start
        self.lower[pair] = self.upper[pair] = np.inf


class Collector(Protocol):
    """Collects a result from one block after another, points in ascending order."""

    def update(self, block: Block) -> None:
        """Take the next points of a batch of queries into account."""
        ...

    def finish(self, pairs: QueryPointPairs) -> None:
        """Resolve candidates that are still open after the last block."""
        ...


class RankCounter:
    """Counts the points that are no farther from each query than its target.

    Args:
        target_squares: Squared distance of each query to its target, ``[q]``.

    Attributes:
        counts: ``[q]``; the target is counted too, unless it is excluded.
    """

    def __init__(self, target_squares: FloatArray) -> None:
        self.counts = np.zeros(len(target_squares), dtype=np.int64)
        self._target_squares = target_squares

    def update(self, block: Block) -> None:
        """Count the next points of a batch of queries."""
        target_squares = self._target_squares[block.rows]
        threshold = target_squares / 2 - block.half
        certain = block.upper <= round_down(threshold - block.error)[:, None]
        possible = block.lower <= round_up(threshold + block.error)[:, None]
        row, column = pairs_of(certain ^ possible)
        squares = block.pairs.squared(block.rows[row], column + block.columns.start)
        ahead = row[squares <= target_squares[row]]
        self.counts[block.rows] += count_rows(certain) + np.bincount(
            ahead, minlength=len(threshold)
        )

    def finish(self, pairs: QueryPointPairs) -> None:
        """Do nothing: every block is counted at once."""


class TopK:
    """Keeps the ``k`` nearest points of each query.

    Candidates are held with their bounds and resolved at the end, when the bounds rule most of
    them out without an exact distance.

    Args:
        q: Number of queries.
        k: Length of the lists.

    Attributes:
        squares: Squared distances, ascending, ``[q, k]``; infinite where fewer points remain.
        points: Numbers of the points, ties in ascending order, ``[q, k]``; -1 where none remains.
    """

    def __init__(self, q: int, *, k: int) -> None:
        self.squares, self.points = empty_lists(q, k=k)
        self._smallest_uppers = np.full((q, k), np.inf, dtype=np.float32)
        self._limits = np.empty(q, dtype=np.float32)
        self._candidates: list[tuple[IntArray, IntArray, FloatArray]] = []

    def update(self, block: Block) -> None:
        """Hold the candidates among the next points of a batch of queries."""
        rows, k = block.rows, self.squares.shape[1]
        uppers = np.concatenate([self._smallest_uppers[rows], part_minima(block.upper, k)], axis=1)
        self._smallest_uppers[rows] = smallest = np.partition(uppers, k - 1, axis=1)[:, :k]
        self._limits[rows] = limits = round_up(
            np.minimum(
                smallest[:, -1] + 2 * block.error,
                self.squares[rows, -1] / 2 - block.half + block.error,
            )
        )
        row, column = pairs_of(block.lower <= limits[:, None])
        self._candidates.append((rows[row], column + block.columns.start, block.lower[row, column]))
        if sum(len(queries) for queries, _, _ in self._candidates) > _MAX_CANDIDATES:
            self.finish(block.pairs)

    def finish(self, pairs: QueryPointPairs) -> None:
        """Merge the candidates that are still within the limits into the lists."""
        if not self._candidates:
            return
        query, points, lower = (
            np.concatenate(arrays) for arrays in zip(*self._candidates, strict=True)
        )
        self._candidates = []
        near = np.flatnonzero(lower <= self._limits[query])
        # Stable, so that the points of a query stay in ascending order.
        near = near[np.argsort(query[near], kind="stable")]
        query, points = query[near], points[near]
        used, row = np.unique(query, return_inverse=True)
        for rows in blocks(len(used), _QUERIES_PER_MERGE):
            batch = slice(*np.searchsorted(row, [rows.start, rows.stop]))
            self.squares[used[rows]], self.points[used[rows]] = merge_smallest(
                self.squares[used[rows]],
                self.points[used[rows]],
                row=row[batch] - rows.start,
                value=pairs.squared(query[batch], points[batch]),
                number=points[batch],
            )


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """Collectors that exclude the same points.

    Attributes:
        exclude: Excluded points of each query.
        collectors: Collectors of the results.
    """

    exclude: Sequence[IntArray]
    collectors: Sequence[Collector]


def scan(pairs: QueryPointPairs, passes: Sequence[Pass], *, max_bytes: int) -> None:
    """Pass all points to collectors, block by block.

    Every block of points is read once for as many queries as ``max_bytes`` holds, and multiplied
    once for all passes and for all queries of the same vector.

    Args:
        pairs: Queries and points.
        passes: Points that a pass excludes are excluded from the later ones too.
        max_bytes: Working memory, at least that of one query.
    """
    # Queries of the same vector next to each other.
    order = np.argsort(pairs.vector_rows, kind="stable")
    queries_held = max_bytes // 2 // (16 * pairs.vectors.shape[1])
    numbers = min(_NUMBERS_PER_BLOCK, max_bytes // 2 // _BYTES_PER_NUMBER)
    n_points = len(pairs.l2)
    width = min(n_points, max(POINTS_PER_BLOCK, numbers // max(1, len(order))))
    height = max(1, numbers // width)
    buffer = np.empty((2, height * width + _PADDING), dtype=np.float32)
    for held in blocks(len(order), max(1, queries_held)):
        queries = order[held]
        batches = [
            _QueryBatch(pairs, queries[rows], passes=passes)
            for rows in blocks(len(queries), height)
        ]
        for columns in blocks(n_points, width):
            for batch in batches:
                batch.scan(columns, buffer=buffer)
    for pass_ in passes:
        for collector in pass_.collectors:
            collector.finish(pairs)


class _QueryBatch:
    """A batch of queries, with all that does not depend on the block of points prepared."""

    def __init__(self, pairs: QueryPointPairs, rows: IntArray, *, passes: Sequence[Pass]) -> None:
        used, self._vector_rows = np.unique(pairs.vector_rows[rows], return_inverse=True)
        self._pairs = pairs
        self._rows = rows
        self._queries = pairs.l2.center(pairs.vectors[used])
        squares = self._queries.squares[self._vector_rows]
        self._half, self._error = squares / 2, pairs.l2.half_error(squares)
        self._passes = [
            (pass_.collectors, flat_pairs([pass_.exclude[query] for query in rows]))
            for pass_ in passes
        ]

    def scan(self, columns: slice, *, buffer: FloatArray) -> None:
        """Pass a block of points to every collector; see ``ExactL2.bounds`` for the buffer."""
        lower, upper = self._pairs.l2.bounds(self._queries, columns, buffer=buffer)
        if len(lower) < len(self._rows):
            lower, upper = lower[self._vector_rows], upper[self._vector_rows]
        block = Block(
            rows=self._rows,
            columns=columns,
            lower=lower,
            upper=upper,
            half=self._half,
            error=self._error,
            pairs=self._pairs,
        )
        for collectors, (row, points) in self._passes:
            block.exclude(row, points)
            for collector in collectors:
                collector.update(block)
