"""Generated texts to ranked items."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bigrec.grounding.beams import (
    BeamDistances,
    BeamMode,
    Queries,
    check_log_probs,
    check_mode,
)
from bigrec.grounding.index import MAX_BYTES, ItemIndex
from bigrec.grounding.ranks import (
    best_groups,
    check_length,
    check_range,
    excluded_groups,
    target_ranks,
)
from bigrec.grounding.search.l2 import blocks
from bigrec.grounding.search.scan import Ahead, Look, Nearest, Pairs, scan
from bigrec.grounding.search.topk import flat_pairs
from bigrec.types import FloatArray, GeneratedText, IntArray, Progress, TextEmbedder

Fuse = Callable[[slice, FloatArray], FloatArray]
"""From the rows of some queries and their distances ``[c, g]`` to fused distances ``[c, g]``."""


@dataclass(frozen=True, slots=True, eq=False)
class RankedLists:
    """Recommended lists, best first; -1 and NaN where fewer than ``k`` groups remain.

    Attributes:
        items: The best-known item of each listed group, ``[q, k]``.
        groups: Group numbers, ``[q, k]``.
        scores: Higher is better, comparable within one list only, ``[q, k]``.
        distances: L2 distance to the text the item was grounded from, ``[q, k]``. With
            ``beams="all"`` the list is not sorted by it: a nearer item may come from a less
            probable text.
        beams: Number of that text among the query's, ``[q, k]``.
    """

    items: IntArray
    groups: IntArray
    scores: FloatArray
    distances: FloatArray
    beams: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What one way of ranking gave: its lists, and the 0-based rank of every target."""

    beams: BeamMode
    exclude_seen: bool
    lists: RankedLists
    ranks: IntArray


_Found = tuple[RankedLists, IntArray]


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """Targets to rank and lists to make, for each way of leaving groups out."""

    targets: IntArray  # group numbers, [q]
    k: int
    excluded: Sequence[Sequence[IntArray]]  # the groups of each query, for each way


class Ranker:
    """Ranks the whole catalog, one place per group of same-titled items.

    Args:
        index: Embeddings of the groups' titles.
        group: Group number of every item, ``[n]``.
        counts: How often each item occurs in the training split, ``[n]``. Of same-titled items
            the most frequent one is shown, the smallest item number if several are.
        max_bytes: Working memory of a pass; the number of queries does not matter.

    Raises:
        ValueError: If lengths or group numbers do not fit the index.
    """

    index: ItemIndex

    def __init__(
        self, index: ItemIndex, group: IntArray, *, counts: IntArray, max_bytes: int = MAX_BYTES
    ) -> None:
        n_groups = len(index.titles)
        if len(group) != len(counts):
            raise ValueError(
                f"group has {len(group)} items and counts has {len(counts)}; expected one entry "
                "for each item of the catalog in both."
            )
        check_range(group, n_groups, name="group")
        # Best-known item last within its group, so that it is the one that stays.
        order = np.lexsort((-np.arange(len(group)), counts))
        self._shown = np.full(n_groups, -1, dtype=np.int64)
        self._shown[group[order]] = order
        empty = np.flatnonzero(self._shown < 0)
        if empty.size:
            raise ValueError(
                f"No item has the title {index.titles[empty[0]]!r} (group {empty[0]}); expected "
                "at least one item in every group of the index. Pass the catalog's own groups."
            )
        self.index = index
        self._group = group
        self._max_bytes = max_bytes

    def queries(
        self,
        texts: Sequence[Sequence[GeneratedText]],
        embedder: TextEmbedder,
        *,
        progress: Progress | None = None,
    ) -> Queries:
        """Embed what the language model wrote.

        Args:
            texts: Each query's generated texts, most probable first; their number may differ.
            embedder: The one that built the index.
            progress: Called with texts embedded and texts to embed.

        Raises:
            ValueError: If a query has no generated text.
            StaleIndexError: If another embedder built the index.
            ModelError: If an embedding cannot be used.
        """
        for query, beams in enumerate(texts):
            if not beams:
                raise ValueError(f"Query {query} has no generated text; expected at least one.")
        flat = [beam for beams in texts for beam in beams]
        rows = {text: row for row, text in enumerate(dict.fromkeys(beam.text for beam in flat))}
        return Queries(
            vectors=self.index.embed_queries(list(rows), embedder, progress=progress),
            vector_of=np.array([rows[beam.text] for beam in flat], dtype=np.int64),
            log_probs=np.array([beam.log_prob for beam in flat], dtype=np.float64),
            offsets=np.cumsum([0, *(len(beams) for beams in texts)]),
        )

    def rank(
        self,
        queries: Queries,
        *,
        k: int,
        beams: BeamMode,
        exclude: Sequence[IntArray] | None = None,
        fuse: Fuse | None = None,
    ) -> RankedLists:
        """Recommend ``k`` items for every query.

        Args:
            queries: From ``queries``.
            k: Length of the lists, from 1 to ``g``.
            beams: ``first`` ranks by the most probable text (published), ``all`` by every text.
            exclude: For each query the items that must not be listed; whatever else has the same
                title goes with them. -1 is padding and means nothing.
            fuse: Puts signals into the distances of some of the queries; none by default.

        Raises:
            ValueError: If ``k``, ``beams`` or ``exclude`` is out of range.
        """
        excluded = excluded_groups(exclude, self._group, count=len(queries))
        check_length(k, len(self._shown))
        if fuse is None and queries.has_one_text(beams):
            nearest = Nearest(len(queries), k=k)
            scan(self._first_texts(queries), [Look(excluded, [nearest])], max_bytes=self._max_bytes)
            return self._lists_of(nearest)
        lists = self._empty_lists(len(queries), k=k)
        for chunk in self.iter_distances(queries, beams=beams):
            combined, origin = chunk.combine(beams)
            if fuse is not None:
                combined = fuse(chunk.rows, combined)
            self._fill_chunk(lists, chunk, combined=combined, origin=origin, exclude=excluded)
        return lists

    def target_ranks(
        self,
        queries: Queries,
        targets: IntArray,
        *,
        beams: BeamMode,
        exclude: Sequence[IntArray] | None = None,
        fuse: Fuse | None = None,
    ) -> IntArray:
        """0-based rank of every query's target among all groups; see ``ranks.target_ranks``.

        Args:
            queries: From ``queries``.
            targets: Item number of each target, ``[q]``. Any item of its title is a hit.
            beams: As in ``rank``.
            exclude: As in ``rank``. Excluded groups are never ahead of the target; a target that
                is excluded itself gets rank ``g``.
            fuse: As in ``rank``.

        Returns:
            ``[q]``.

        Raises:
            ValueError: If ``targets``, ``beams`` or ``exclude`` is out of range.
        """
        excluded = excluded_groups(exclude, self._group, count=len(queries))
        groups = self._target_groups(targets, queries)
        if fuse is None and queries.has_one_text(beams):
            pairs = self._first_texts(queries)
            ahead = _ahead(pairs, groups)
            scan(pairs, [Look(excluded, [ahead])], max_bytes=self._max_bytes)
            return self._ranks_of(ahead, groups, exclude=excluded)
        ranks = np.empty(len(queries), dtype=np.int64)
        for chunk in self.iter_distances(queries, beams=beams):
            rows = chunk.rows
            combined = chunk.combine(beams)[0]
            if fuse is not None:
                combined = fuse(rows, combined)
            ranks[rows] = target_ranks(combined, groups[rows], exclude=excluded[rows])
        return ranks

    def evaluate(
        self,
        queries: Queries,
        targets: IntArray,
        *,
        k: int,
        exclude: Sequence[IntArray] | None = None,
        modes: Sequence[BeamMode] = ("first", "all"),
    ) -> list[Evaluation]:
        """Lists and target ranks for every mode, with seen items kept and, if given, excluded.

        Points are multiplied once for all of them, or twice where the modes need different texts.

        Args:
            queries: From ``queries``.
            targets: Item number of each target, ``[q]``.
            k: Length of the lists, from 1 to ``g``.
            exclude: For each query the items already seen; without it nothing is excluded.
            modes: Which beam modes.

        Raises:
            ValueError: If ``targets``, ``k``, ``modes`` or ``exclude`` is out of range.
        """
        settings = [None] if exclude is None else [None, exclude]
        excluded = [
            excluded_groups(setting, self._group, count=len(queries)) for setting in settings
        ]
        wanted = _Wanted(self._target_groups(targets, queries), k, excluded)
        check_length(k, len(self._shown))
        has_one_text = {mode: queries.has_one_text(mode) for mode in modes}
        found = {
            one: self._scanned(queries, wanted) if one else self._measured(queries, wanted)
            for one in set(has_one_text.values())
        }
        return [
            Evaluation(mode, seen > 0, *of_look)
            for mode in modes
            for seen, of_look in enumerate(found[has_one_text[mode]])
        ]

    def iter_distances(self, queries: Queries, *, beams: BeamMode) -> Iterator[BeamDistances]:
        """Distances of all queries, a chunk that fits in the working memory at a time.

        Args:
            queries: From ``queries``.
            beams: With ``first`` the other beams are left out and cost nothing.
        """
        check_mode(beams)
        counts = np.diff(queries.offsets) if beams == "all" else np.ones(len(queries), dtype=int)
        # Per query and group: float32 for each beam, then combined distances and their beams with
        # as much again for their making. The other half is for computing the distances.
        each = len(self.index.titles) * (4 * int(counts.max(initial=1)) + 32)
        for rows in blocks(len(queries), max(1, self._max_bytes // 2 // each)):
            yield self._chunk(queries, rows, counts=counts[rows])

    def _first_texts(self, queries: Queries) -> Pairs:
        places = queries.offsets[:-1]
        check_log_probs(queries.log_probs[places])
        used, vector_of = np.unique(queries.vector_of[places], return_inverse=True)
        return Pairs(*self.index.scannable(queries.vectors[used]), vector_of)

    def _scanned(self, queries: Queries, wanted: _Wanted) -> list[_Found]:
        pairs, targets = self._first_texts(queries), wanted.targets
        finders = [
            (Nearest(len(queries), k=wanted.k), _ahead(pairs, targets)) for _ in wanted.excluded
        ]
        looks = [Look(gone, pair) for gone, pair in zip(wanted.excluded, finders, strict=True)]
        scan(pairs, looks, max_bytes=self._max_bytes)
        return [
            (self._lists_of(nearest), self._ranks_of(ahead, targets, exclude=gone))
            for gone, (nearest, ahead) in zip(wanted.excluded, finders, strict=True)
        ]

    def _measured(self, queries: Queries, wanted: _Wanted) -> list[_Found]:
        q = len(queries)
        found: list[_Found] = [
            (self._empty_lists(q, k=wanted.k), np.empty(q, dtype=np.int64)) for _ in wanted.excluded
        ]
        for chunk in self.iter_distances(queries, beams="all"):
            rows, (combined, origin) = chunk.rows, chunk.combine("all")
            for gone, (lists, ranks) in zip(wanted.excluded, found, strict=True):
                self._fill_chunk(lists, chunk, combined=combined, origin=origin, exclude=gone)
                ranks[rows] = target_ranks(combined, wanted.targets[rows], exclude=gone[rows])
        return found

    def _ranks_of(self, ahead: Ahead, groups: IntArray, *, exclude: Sequence[IntArray]) -> IntArray:
        # The target is as near as itself.
        ranks = ahead.counts - 1
        row, gone = flat_pairs(exclude)
        ranks[row[gone == groups[row]]] = len(self._shown)
        return ranks

    def _chunk(self, queries: Queries, rows: slice, *, counts: IntArray) -> BeamDistances:
        beams = np.concatenate(
            [
                np.arange(first, first + count)
                for first, count in zip(queries.offsets[rows], counts, strict=True)
            ]
        )
        used, text_of = np.unique(queries.vector_of[beams], return_inverse=True)
        pieces = self.index.iter_distances(queries.vectors[used], max_bytes=self._max_bytes // 2)
        found = np.empty((len(used), len(self.index.titles)), dtype=np.float32)
        for piece, distances in pieces:
            found[piece] = distances
        return BeamDistances(
            rows=rows,
            _distances=found,
            _text_of=text_of,
            _log_probs=queries.log_probs[beams],
            _offsets=np.cumsum([0, *counts]),
        )

    def _lists_of(self, nearest: Nearest) -> RankedLists:
        q, k = nearest.groups.shape
        lists, distances = self._empty_lists(q, k=k), np.sqrt(nearest.squares)
        self._fill(
            lists,
            slice(None),
            groups=nearest.groups,
            beams=np.zeros_like(nearest.groups),
            distances=distances,
            combined=distances,
        )
        return lists

    def _fill_chunk(
        self,
        lists: RankedLists,
        chunk: BeamDistances,
        *,
        combined: FloatArray,
        origin: IntArray,
        exclude: Sequence[IntArray],
    ) -> None:
        groups = best_groups(combined, k=lists.groups.shape[1], exclude=exclude[chunk.rows])
        beams = np.take_along_axis(origin, groups, axis=1)
        self._fill(
            lists,
            chunk.rows,
            groups=groups,
            beams=beams,
            distances=chunk.of_groups(groups, beams),
            combined=np.take_along_axis(combined, groups, axis=1),
        )

    def _fill(
        self,
        lists: RankedLists,
        rows: slice,
        *,
        groups: IntArray,
        beams: IntArray,
        distances: FloatArray,
        combined: FloatArray,
    ) -> None:
        listed = groups >= 0
        lists.groups[rows] = groups
        lists.items[rows] = np.where(listed, self._shown[groups], -1)
        lists.beams[rows] = np.where(listed, beams, -1)
        lists.distances[rows] = np.where(listed, distances, np.nan)
        # The one conversion from "low is good" to "high is good".
        lists.scores[rows] = np.where(listed, -combined, np.nan)

    def _empty_lists(self, q: int, *, k: int) -> RankedLists:
        items, groups, beams = (np.full((q, k), -1, dtype=np.int64) for _ in range(3))
        scores, distances = (np.full((q, k), np.nan) for _ in range(2))
        return RankedLists(items, groups, scores, distances, beams)

    def _target_groups(self, targets: IntArray, queries: Queries) -> IntArray:
        if len(targets) != len(queries):
            raise ValueError(
                f"targets has {len(targets)} entries for {len(queries)} queries; expected one "
                "item number for each query."
            )
        check_range(targets, len(self._group), name="targets")
        return self._group[targets]


def _ahead(pairs: Pairs, groups: IntArray) -> Ahead:
    return Ahead(pairs.squared(np.arange(len(groups)), groups))
