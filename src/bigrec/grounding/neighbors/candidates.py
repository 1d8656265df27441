"""Lists from candidates: found by a graph and by signals, then ranked by exact distances."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.ranked_lists import ListBuilder, RankedLists
from bigrec.grounding.ranker import Ranker
from bigrec.grounding.ranks import excluded_titles
from bigrec.grounding.search.l2 import blocks
from bigrec.grounding.search.topk import flat_pairs
from bigrec.types import BoolArray, FloatArray, IntArray

Weights = Callable[[slice], Sequence[FloatArray]]
"""From rows of the queries to each signal's weights ``[c, t]``."""

_QUERIES_PER_BATCH = 64
# Titles from all over the catalog, so that distances are normalized by nearly the whole range.
_RANGE_SAMPLE = 256


class Neighbors(Protocol):
    """Finds points that are probably the nearest."""

    def save(self, path: Path) -> None:
        """Write what a later search maps."""
        ...

    def candidates(self, queries: FloatArray, *, count: int) -> IntArray:
        """Numbers of points, ``[q, count]`` or all, nearest first; -1 where fewer were found.

        Args:
            queries: ``[q, d]``, as `ExactL2.scaled` gives them.
            count: Number of points, at least 1.
        """
        ...


class CandidateRanker:
    """Ranks the candidates of neighbors and signals as a `Ranker` ranks the whole catalog.

    Args:
        ranker: Ranks the whole catalog.
        neighbors: Over the points of the ranker's index.
        n_candidates: Candidates of the neighbors, and of every signal; at least twice the length
            of the list are taken.
    """

    def __init__(self, ranker: Ranker, neighbors: Neighbors, *, n_candidates: int) -> None:
        self.ranker = ranker
        self.neighbors = neighbors
        self._n_candidates = n_candidates
        self._n_titles = len(ranker.index.titles)

    @staticmethod
    def ranks_by(rule: FusionRule | None) -> bool:
        """Whether a rule can rank candidates alone.

        Ranks, z-scores and the mixture for cold titles depend on the scores of all titles.
        """
        if rule is None:
            return True
        return rule.cold is None and (
            rule.method == "product"
            or (rule.method == "weighted_sum" and rule.normalization == "min_max")
        )

    def rank(
        self,
        queries: EncodedQueries,
        *,
        k: int,
        exclude: Sequence[IntArray],
        rule: FusionRule | None = None,
        weights: Weights = lambda _: (),
    ) -> RankedLists | None:
        """Recommend ``k`` items by each query's top beam.

        Args:
            queries: Encoded queries.
            k: Length of the lists, from 1 to ``t``.
            exclude: Item numbers that are not listed, for each query, with their titles.
            rule: Fuses signals, one that `ranks_by` allows.
            weights: Of the rule's signals.

        Returns:
            None if so many candidates of a query are excluded that its list is not full.
        """
        excluded = excluded_titles(exclude, self.ranker.title_ids, n_queries=len(queries))
        builder = ListBuilder(self.ranker.shown_items, len(queries), k=k)
        l2, points = self.ranker.index.scannable(
            queries.vectors[queries.vector_rows[queries.offsets[:-1]]]
        )
        for rows in blocks(len(queries), _QUERIES_PER_BATCH):
            of_signals = weights(rows)
            near = self.neighbors.candidates(
                l2.scaled(points[rows]), count=self._count(k, excluded[rows])
            )
            titles, is_new = self._united(near, of_signals, k=k)
            row = np.broadcast_to(np.arange(len(titles))[:, None], titles.shape)
            distances = np.sqrt(l2.squared(points[rows], row.ravel(), titles.ravel()))
            distances = distances.reshape(titles.shape)
            ranked = distances
            if rule is not None:
                chosen = [np.take_along_axis(weight, titles, axis=1) for weight in of_signals]
                ranked = rule.apply(distances, chosen)
            is_listed = is_new & ~_are_excluded(titles, excluded[rows], n_titles=self._n_titles)
            left = np.array([self._n_titles - len(ids) for ids in excluded[rows]])
            if (is_listed.sum(axis=1) < np.minimum(k, left)).any():
                return None
            builder.add_candidates(rows, titles, distances=distances, ranked=ranked, mask=is_listed)
        return builder.lists

    def _count(self, k: int, excluded: Sequence[IntArray] = ()) -> int:
        """Candidates of one source for a batch: as many more as a usual history excludes."""
        longest = max(map(len, excluded), default=0)
        count = max(self._n_candidates, 2 * k) + min(longest, self._n_candidates)
        return min(count, self._n_titles)

    def _united(
        self, near: IntArray, weights: Sequence[FloatArray], *, k: int
    ) -> tuple[IntArray, BoolArray]:
        """Candidates in ascending order, ``[c, m]``, and which of them occur the first time."""
        parts = [np.where(near >= 0, near, near[:, :1].clip(0))]
        count = self._count(k)
        parts += [np.argpartition(weight, -count, axis=1)[:, -count:] for weight in weights]
        if weights:
            sample = np.linspace(0, self._n_titles - 1, _RANGE_SAMPLE).astype(np.int64)
            parts.append(np.broadcast_to(sample, (len(near), len(sample))))
        titles = np.sort(np.concatenate(parts, axis=1), axis=1)
        is_new = np.ones(titles.shape, dtype=np.bool_)
        is_new[:, 1:] = titles[:, 1:] != titles[:, :-1]
        return titles, is_new


def _are_excluded(titles: IntArray, excluded: Sequence[IntArray], *, n_titles: int) -> BoolArray:
    row, title_ids = flat_pairs(excluded)
    pairs = titles + n_titles * np.arange(len(titles))[:, None]
    return np.isin(pairs, title_ids + n_titles * row)
