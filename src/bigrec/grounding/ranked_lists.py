"""Recommended lists, and how they are filled from distances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigrec.grounding.beams import BeamDistances
from bigrec.grounding.ranks import check_length, check_range, row_blocks
from bigrec.grounding.search.l2 import pairs_of
from bigrec.grounding.search.scan import TopK
from bigrec.grounding.search.topk import empty_lists, flat_pairs, kth_bound, merge_smallest
from bigrec.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RankedLists:
    """Recommended lists, best first; -1 and NaN where fewer than ``k`` titles remain.

    Attributes:
        items: The most popular item of each listed title, ``[q, k]``.
        title_ids: Title ids, ``[q, k]``.
        scores: Higher is better, comparable within one list only, ``[q, k]``.
        distances: L2 distance to the beam that the item was grounded from, ``[q, k]``. With
            ``beams="all"`` the list is not sorted by it: a nearer item may come from a less
            probable beam.
        beams: Number of that beam among the query's, ``[q, k]``.
    """

    items: IntArray
    title_ids: IntArray
    scores: FloatArray
    distances: FloatArray
    beams: IntArray


class ListBuilder:
    """Fills the lists of ``q`` queries batch by batch.

    Args:
        shown_items: Item number that each title is listed as, ``[t]``.
        n_queries: Number of queries, ``q``.
        k: Length of the lists.

    Attributes:
        lists: The lists, filled in the rows that were added.
    """

    def __init__(self, shown_items: IntArray, n_queries: int, *, k: int) -> None:
        items, title_ids, beams = (np.full((n_queries, k), -1, dtype=np.int64) for _ in range(3))
        scores, distances = (np.full((n_queries, k), np.nan) for _ in range(2))
        self.lists = RankedLists(items, title_ids, scores, distances, beams)
        self._shown_items = shown_items
        self._k = k

    def add_nearest(self, nearest: TopK) -> None:
        """Add the lists of all queries from the nearest points, which are the titles."""
        distances = np.sqrt(nearest.squares)
        self._add(
            slice(None),
            title_ids=nearest.points,
            beams=np.zeros_like(nearest.points),
            distances=distances,
            combined=distances,
        )

    def add_batch(
        self,
        batch: BeamDistances,
        *,
        combined: FloatArray,
        beams: IntArray,
        exclude: Sequence[IntArray],
    ) -> None:
        """Add the lists of a batch of ``c`` queries.

        Args:
            batch: Distances to the beams.
            combined: Combined or fused distances, ``[c, t]``, lower is better.
            beams: Beam that each combined distance comes from, ``[c, t]``.
            exclude: Title ids that are not listed, for each of all queries.
        """
        title_ids = best_titles(combined, k=self._k, exclude=exclude[batch.rows])
        listed_beams = np.take_along_axis(beams, title_ids, axis=1)
        self._add(
            batch.rows,
            title_ids=title_ids,
            beams=listed_beams,
            distances=batch.of_titles(title_ids, listed_beams),
            combined=np.take_along_axis(combined, title_ids, axis=1),
        )

    def add_candidates(
        self,
        rows: slice,
        titles: IntArray,
        *,
        distances: FloatArray,
        ranked: FloatArray,
        mask: BoolArray,
    ) -> None:
        """Add the lists of ``c`` queries from candidates, each by its top beam.

        Args:
            rows: The queries.
            titles: Title ids in ascending order, ``[c, m]``.
            distances: Of the titles, ``[c, m]``.
            ranked: What they are ranked by, ``[c, m]``, lower is better.
            mask: Which of them may be listed, ``[c, m]``.
        """
        # Stable: a tie goes to the smaller title id.
        order = np.argsort(np.where(mask, ranked, np.inf), axis=1, kind="stable")[:, : self._k]
        is_listed = np.take_along_axis(mask, order, axis=1)
        width = ((0, 0), (0, self._k - order.shape[1]))
        self._add(
            rows,
            title_ids=np.pad(
                np.where(is_listed, np.take_along_axis(titles, order, axis=1), -1),
                width,
                constant_values=-1,
            ),
            beams=np.zeros((len(titles), self._k), dtype=np.int64),
            distances=np.pad(np.take_along_axis(distances, order, axis=1), width),
            combined=np.pad(np.take_along_axis(ranked, order, axis=1), width),
        )

    def _add(
        self,
        rows: slice,
        *,
        title_ids: IntArray,
        beams: IntArray,
        distances: FloatArray,
        combined: FloatArray,
    ) -> None:
        is_listed = title_ids >= 0
        self.lists.title_ids[rows] = title_ids
        self.lists.items[rows] = np.where(is_listed, self._shown_items[title_ids], -1)
        self.lists.beams[rows] = np.where(is_listed, beams, -1)
        self.lists.distances[rows] = np.where(is_listed, distances, np.nan)
        # The one conversion from "lower is better" to "higher is better".
        self.lists.scores[rows] = np.where(is_listed, -combined, np.nan)


def most_popular_items(title_ids: IntArray, counts: IntArray, *, titles: Sequence[str]) -> IntArray:
    """The most popular item of each title, ``[t]``; the smallest item number of a tie.

    Args:
        title_ids: Title id of every item, ``[n]``.
        counts: Interactions of every item in the training split, ``[n]``.
        titles: The ``t`` different titles.

    Raises:
        ValueError: If the lengths differ, a title id is out of range or a title has no item.
    """
    if len(title_ids) != len(counts):
        raise ValueError(
            f"title_ids has {len(title_ids)} items and counts has {len(counts)}; expected one "
            "entry for each item of the catalog in both."
        )
    check_range(title_ids, len(titles), name="title_ids")
    # The most popular item comes last within its title, so that it overwrites the others.
    order = np.lexsort((-np.arange(len(title_ids)), counts))
    items = np.full(len(titles), -1, dtype=np.int64)
    items[title_ids[order]] = order
    without_item = np.flatnonzero(items < 0)
    if without_item.size:
        raise ValueError(
            f"No item has the title {titles[without_item[0]]!r} (title id {without_item[0]}); "
            "expected at least one item for every title of the index. Pass the catalog's own "
            "title_ids."
        )
    return items


def best_titles(distances: FloatArray, *, k: int, exclude: Sequence[IntArray]) -> IntArray:
    """The ``k`` nearest titles of every query, nearest first.

    Args:
        distances: ``[q, t]``, lower is better, finite.
        k: Length of the lists, from 1 to ``t``.
        exclude: Title ids that are not listed, for each query.

    Returns:
        Title ids ``[q, k]``; ties go to the smaller id; -1 where fewer than ``k`` titles remain.

    Raises:
        ValueError: If ``k`` is out of range.
    """
    n_titles = distances.shape[1]
    check_length(k, n_titles)
    best = np.empty((len(distances), k), dtype=np.int64)
    for rows in row_blocks(distances):
        remaining = distances[rows]
        row, title_ids = flat_pairs(exclude[rows])
        if row.size:
            remaining = remaining.copy()
            remaining[row, title_ids] = np.inf
        # All up to the bound, so that ties at the end of the list are cut by title id.
        near = remaining <= kth_bound(remaining, k)[:, None]
        near &= remaining < np.inf
        row, title_ids = pairs_of(near)
        _, best[rows] = merge_smallest(
            *empty_lists(len(remaining), k=k),
            row=row,
            value=remaining[row, title_ids],
            number=title_ids,
        )
    return best
