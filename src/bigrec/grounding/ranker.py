"""From generated texts or vectors to ranked items."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bigrec.grounding.beams import BeamDistances, BeamMode, EncodedQueries, check_beam_mode
from bigrec.grounding.index import MAX_BYTES, ItemIndex
from bigrec.grounding.ranked_lists import ListBuilder, RankedLists, most_popular_items
from bigrec.grounding.ranks import check_length, check_range, excluded_titles, target_ranks
from bigrec.grounding.search.l2 import blocks
from bigrec.grounding.top_beam import TopBeamSearch
from bigrec.types import FloatArray, GeneratedText, IntArray, ProgressCallback, TextEmbedder

Fuse = Callable[[slice, FloatArray], FloatArray]
"""From the rows of a batch of queries and their distances ``[c, t]`` to fused distances."""

_ListsAndRanks = tuple[RankedLists, IntArray]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Lists and target ranks of one beam mode, with seen items included or excluded.

    Attributes:
        beams: The beam mode.
        exclude_seen: Whether seen items are excluded.
        lists: Recommended lists.
        ranks: 0-based rank of every target, ``[q]``.
    """

    beams: BeamMode
    exclude_seen: bool
    lists: RankedLists
    ranks: IntArray


class Ranker:
    """Ranks the whole catalog, with one rank for each title.

    Args:
        index: Embeddings of the titles.
        title_ids: Title id of every item, ``[n]``.
        counts: Interactions of every item in the training split, ``[n]``. A title is listed as its
            most popular item, the smallest item number of a tie.
        max_bytes: Working memory of a pass; it does not grow with the number of queries.

    Attributes:
        index: As given.
        title_ids: As given.
        shown_items: Item number that each title is listed as, ``[t]``.

    Raises:
        ValueError: If lengths or title ids do not fit the index.
    """

    index: ItemIndex

    def __init__(
        self, index: ItemIndex, title_ids: IntArray, *, counts: IntArray, max_bytes: int = MAX_BYTES
    ) -> None:
        self.index = index
        self.shown_items = most_popular_items(title_ids, counts, titles=index.titles)
        self.title_ids = title_ids
        self._max_bytes = max_bytes

    def encode(
        self,
        texts: Sequence[Sequence[GeneratedText]],
        embedder: TextEmbedder,
        *,
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """Embed generated texts.

        Args:
            texts: Generated texts of every query, most probable first; their number may differ.
            embedder: The embedder that built the index.
            progress: Called with (texts embedded, texts to embed).

        Raises:
            ValueError: If a query has no generated text.
            StaleIndexError: If another embedder built the index.
            ModelError: If an embedding cannot be used.
        """
        for query, beams in enumerate(texts):
            if not beams:
                raise ValueError(f"Query {query} has no generated text; expected at least one.")
        all_beams = [beam for beams in texts for beam in beams]
        rows = {
            text: row for row, text in enumerate(dict.fromkeys(beam.text for beam in all_beams))
        }
        return EncodedQueries(
            vectors=self.index.embed_queries(list(rows), embedder, progress=progress),
            vector_rows=np.array([rows[beam.text] for beam in all_beams], dtype=np.int64),
            log_probs=np.array([beam.log_prob for beam in all_beams], dtype=np.float64),
            offsets=np.cumsum([0, *(len(beams) for beams in texts)]),
            texts=texts,
        )

    def rank(
        self,
        queries: EncodedQueries,
        *,
        k: int,
        beams: BeamMode,
        exclude: Sequence[IntArray] | None = None,
        fuse: Fuse | None = None,
    ) -> RankedLists:
        """Recommend ``k`` items for every query.

        Args:
            queries: Encoded queries.
            k: Length of the lists, from 1 to ``t``.
            beams: ``top1`` ranks by the most probable beam (paper), ``all`` by every beam.
            exclude: Item numbers that are not listed, for each query; all items of the same title
                are excluded with them. -1 is padding.
            fuse: Fuses signals into the distances of a batch of queries; none by default.

        Raises:
            ValueError: If ``k``, ``beams`` or ``exclude`` is out of range.
        """
        excluded = excluded_titles(exclude, self.title_ids, n_queries=len(queries))
        builder = self._list_builder(queries, k=k)
        if fuse is None and queries.has_single_vectors(beams):
            builder.add_nearest(self._top_beam_search(queries).nearest(k=k, exclude=excluded))
            return builder.lists
        for batch in self.iter_distances(queries, beams=beams):
            combined, origin = batch.combine(beams)
            if fuse is not None:
                combined = fuse(batch.rows, combined)
            builder.add_batch(batch, combined=combined, beams=origin, exclude=excluded)
        return builder.lists

    def target_ranks(
        self,
        queries: EncodedQueries,
        targets: IntArray,
        *,
        beams: BeamMode,
        exclude: Sequence[IntArray] | None = None,
        fuse: Fuse | None = None,
    ) -> IntArray:
        """0-based rank of every query's target among all titles; see ``ranks.target_ranks``.

        Args:
            queries: Encoded queries.
            targets: Item number of each target, ``[q]``. Any item of its title is a hit.
            beams: As in ``rank``.
            exclude: As in ``rank``. Excluded titles are never ahead of the target; a target that
                is excluded itself gets `UNRANKED`.
            fuse: As in ``rank``.

        Returns:
            ``[q]``.

        Raises:
            ValueError: If ``targets``, ``beams`` or ``exclude`` is out of range.
        """
        excluded = excluded_titles(exclude, self.title_ids, n_queries=len(queries))
        target_ids = self._target_titles(targets, queries)
        if fuse is None and queries.has_single_vectors(beams):
            return self._top_beam_search(queries).target_ranks(target_ids, exclude=excluded)
        ranks = np.empty(len(queries), dtype=np.int64)
        for batch in self.iter_distances(queries, beams=beams):
            rows = batch.rows
            combined, _ = batch.combine(beams)
            if fuse is not None:
                combined = fuse(rows, combined)
            ranks[rows] = target_ranks(combined, target_ids[rows], exclude=excluded[rows])
        return ranks

    def evaluate(
        self,
        queries: EncodedQueries,
        targets: IntArray,
        *,
        k: int,
        exclude: Sequence[IntArray] | None = None,
        modes: Sequence[BeamMode] = ("top1", "all"),
    ) -> list[Evaluation]:
        """Lists and target ranks for every mode, with seen items included and, if given, excluded.

        Distances are computed once for all of them, or twice if the modes use different vectors.

        Args:
            queries: Encoded queries.
            targets: Item number of each target, ``[q]``.
            k: Length of the lists, from 1 to ``t``.
            exclude: Item numbers that are already seen, for each query; None excludes nothing.
            modes: Beam modes.

        Raises:
            ValueError: If ``targets``, ``k``, ``modes`` or ``exclude`` is out of range.
        """
        exclusions = [
            excluded_titles(items, self.title_ids, n_queries=len(queries))
            for items in ([None] if exclude is None else [None, exclude])
        ]
        target_ids = self._target_titles(targets, queries)
        check_length(k, len(self.index.titles))
        single = {mode: queries.has_single_vectors(mode) for mode in modes}
        results = {}
        for is_single in set(single.values()):
            evaluate = self._evaluate_top_beam if is_single else self._evaluate_all_beams
            results[is_single] = evaluate(queries, target_ids, k=k, exclusions=exclusions)
        return [
            Evaluation(mode, position > 0, lists, ranks)
            for mode in modes
            for position, (lists, ranks) in enumerate(results[single[mode]])
        ]

    def iter_distances(
        self, queries: EncodedQueries, *, beams: BeamMode
    ) -> Iterator[BeamDistances]:
        """Distances of all queries, in batches that fit in the working memory.

        Args:
            queries: Encoded queries.
            beams: With ``top1`` only the top beam's distances are computed.

        Raises:
            ValueError: If ``beams`` is unknown.
        """
        check_beam_mode(beams)
        n_beams = np.diff(queries.offsets).max(initial=1) if beams == "all" else 1
        # Per query and title: float32 for each beam, then combined distances and their beams with
        # as much again for their making. The other half is for computing the distances.
        bytes_per_query = len(self.index.titles) * (4 * int(n_beams) + 32)
        half = self._max_bytes // 2
        for rows in blocks(len(queries), max(1, half // bytes_per_query)):
            yield BeamDistances.compute(self.index, queries, rows, beams=beams, max_bytes=half)

    def _evaluate_top_beam(
        self,
        queries: EncodedQueries,
        target_ids: IntArray,
        *,
        k: int,
        exclusions: Sequence[Sequence[IntArray]],
    ) -> list[_ListsAndRanks]:
        results = []
        search = self._top_beam_search(queries)
        for nearest, ranks in search.evaluate(target_ids, k=k, exclusions=exclusions):
            builder = self._list_builder(queries, k=k)
            builder.add_nearest(nearest)
            results.append((builder.lists, ranks))
        return results

    def _evaluate_all_beams(
        self,
        queries: EncodedQueries,
        target_ids: IntArray,
        *,
        k: int,
        exclusions: Sequence[Sequence[IntArray]],
    ) -> list[_ListsAndRanks]:
        builders = [self._list_builder(queries, k=k) for _ in exclusions]
        ranks = np.empty((len(exclusions), len(queries)), dtype=np.int64)
        for batch in self.iter_distances(queries, beams="all"):
            rows, (combined, origin) = batch.rows, batch.combine("all")
            for builder, excluded, their_ranks in zip(builders, exclusions, ranks, strict=True):
                builder.add_batch(batch, combined=combined, beams=origin, exclude=excluded)
                their_ranks[rows] = target_ranks(combined, target_ids[rows], exclude=excluded[rows])
        return [(builder.lists, row) for builder, row in zip(builders, ranks, strict=True)]

    def _top_beam_search(self, queries: EncodedQueries) -> TopBeamSearch:
        return TopBeamSearch(self.index, queries, max_bytes=self._max_bytes)

    def _list_builder(self, queries: EncodedQueries, *, k: int) -> ListBuilder:
        check_length(k, len(self.index.titles))
        return ListBuilder(self.shown_items, len(queries), k=k)

    def _target_titles(self, targets: IntArray, queries: EncodedQueries) -> IntArray:
        if len(targets) != len(queries):
            raise ValueError(
                f"targets has {len(targets)} entries for {len(queries)} queries; expected one "
                "item number for each query."
            )
        check_range(targets, len(self.title_ids), name="targets")
        return self.title_ids[targets]
