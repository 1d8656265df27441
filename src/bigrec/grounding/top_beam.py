"""Exact ranking by one vector per query, without computing most of the distances."""

from collections.abc import Sequence

import numpy as np

from bigrec.grounding.beams import EncodedQueries, check_log_probs
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.search.scan import Pass, QueryPointPairs, RankCounter, TopK, scan
from bigrec.grounding.search.topk import flat_pairs
from bigrec.types import UNRANKED, IntArray


class TopBeamSearch:
    """Ranks all titles by their distances to the top beam of every query.

    Args:
        index: Embeddings of the titles.
        queries: The queries.
        max_bytes: Working memory of a scan.

    Raises:
        ValueError: If a log-probability or a vector of a top beam is not finite.
    """

    def __init__(self, index: ItemIndex, queries: EncodedQueries, *, max_bytes: int) -> None:
        top_beams = queries.offsets[:-1]
        check_log_probs(queries.log_probs[top_beams])
        used, vector_rows = np.unique(queries.vector_rows[top_beams], return_inverse=True)
        self._pairs = QueryPointPairs(*index.scannable(queries.vectors[used]), vector_rows)
        self._max_bytes = max_bytes

    def nearest(self, *, k: int, exclude: Sequence[IntArray]) -> TopK:
        """The ``k`` nearest titles of every query.

        Args:
            k: Length of the lists.
            exclude: Title ids that are not listed, for each query.
        """
        nearest = TopK(len(exclude), k=k)
        self._scan([Pass(exclude, [nearest])])
        return nearest

    def target_ranks(self, targets: IntArray, *, exclude: Sequence[IntArray]) -> IntArray:
        """Rank of each query's target, ``[q]``; see ``ranks.target_ranks``.

        Args:
            targets: Title id of each target, ``[q]``.
            exclude: Title ids that are never ahead of the target, for each query.
        """
        counter = self._counter(targets)
        self._scan([Pass(exclude, [counter])])
        return self._ranks(counter, targets, exclude=exclude)

    def evaluate(
        self, targets: IntArray, *, k: int, exclusions: Sequence[Sequence[IntArray]]
    ) -> list[tuple[TopK, IntArray]]:
        """`nearest` and `target_ranks` for several sets of exclusions in one scan.

        Args:
            targets: Title id of each target, ``[q]``.
            k: Length of the lists.
            exclusions: Sets of exclusions, each of which contains the one before it.
        """
        collectors = [(TopK(len(targets), k=k), self._counter(targets)) for _ in exclusions]
        self._scan([Pass(*pair) for pair in zip(exclusions, collectors, strict=True)])
        return [
            (nearest, self._ranks(counter, targets, exclude=exclude))
            for exclude, (nearest, counter) in zip(exclusions, collectors, strict=True)
        ]

    def _scan(self, passes: Sequence[Pass]) -> None:
        scan(self._pairs, passes, max_bytes=self._max_bytes)

    def _counter(self, targets: IntArray) -> RankCounter:
        return RankCounter(self._pairs.squared(np.arange(len(targets)), targets))

    def _ranks(
        self, counter: RankCounter, targets: IntArray, *, exclude: Sequence[IntArray]
    ) -> IntArray:
        # The target is as near as itself.
        ranks = counter.counts - 1
        row, title_ids = flat_pairs(exclude)
        ranks[row[title_ids == targets[row]]] = UNRANKED
        return ranks
