"""Validation windows: queries whose figures are means over windows, and what closed forms score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.evaluation.clusters import number_users
from bigrec.evaluation.metrics import SELECTION_METRIC, query_values, selection_metric
from bigrec.evaluation.selection import within_one_standard_error
from bigrec.grounding.fusion.tuning import FusionInput
from bigrec.grounding.ranks import target_ranks
from bigrec.recommender.scoring import TitleScorer
from bigrec.recommender.training_data import EvalQueries
from bigrec.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class WindowQueries:
    """The queries of validation windows, one window after another, ``q`` in all.

    Attributes:
        windows: Queries of each window, oldest first.
    """

    windows: Sequence[EvalQueries]

    @cached_property
    def numbers(self) -> IntArray:
        """Number of each query's window, ``[q]``."""
        return np.repeat(np.arange(len(self.windows)), [len(queries) for queries in self.windows])

    @cached_property
    def users(self) -> IntArray:
        """Number of each query's user, ``[q]``, the same in all windows."""
        return number_users([user for queries in self.windows for user in queries.user_ids])

    def figures(self, ranks: IntArray) -> list[float]:
        """NDCG@10 in each window.

        Args:
            ranks: 0-based target ranks, ``[q]``.
        """
        return [
            selection_metric(ranks[self.numbers == number]) for number in range(len(self.windows))
        ]

    def metric(self, ranks: IntArray) -> float:
        """Mean over windows of NDCG@10."""
        return float(np.mean(self.figures(ranks)))

    def mean_of(self, ranks: Sequence[IntArray]) -> float:
        """`metric` of the target ranks of each window."""
        return self.metric(np.concatenate(ranks))

    def tolerates(self, best: IntArray, ranks: IntArray) -> bool:
        """Whether ranks are within one standard error of the best; a `Tolerates`."""
        within = within_one_standard_error(
            query_values(ranks, SELECTION_METRIC)[:, None],
            query_values(best, SELECTION_METRIC),
            windows=self.numbers,
            users=self.users,
        )
        return bool(within[0])


@dataclass(frozen=True, eq=False)
class ScoredWindows(WindowQueries):
    """Validation windows with the scores of closed-form models, each fitted before its window.

    Attributes:
        catalog: The titles that are ranked.
        scorers: Of each window the models by label.
        full_history: Whether they score the full history.
    """

    catalog: Catalog = field(repr=False)
    scorers: Sequence[Mapping[str, TitleScorer]] = field(repr=False)
    full_history: bool

    def covers(self, labels: Sequence[str]) -> bool:
        """Whether all of these models are scored."""
        return set(labels) <= set(self.scorers[0])

    def fusion_input(self, labels: Sequence[str], *, exclude_seen: bool) -> FusionInput:
        """The weights of some models, without the language model, for all queries."""
        return FusionInput.stack(
            [
                FusionInput(
                    {},
                    [
                        scorers[label].weights_of(self._scores(scorers[label], queries))
                        for label in labels
                    ],
                    self.catalog.title_ids[queries.targets],
                    queries.seen_titles(self.catalog) if exclude_seen else None,
                )
                for queries, scorers in zip(self.windows, self.scorers, strict=True)
            ]
        )

    def ranks(self, label: str, *, exclude_seen: bool) -> IntArray:
        """0-based target ranks of a model by itself, ``[q]``."""
        return np.concatenate(
            [
                target_ranks(
                    -self._scores(scorers[label], queries),
                    self.catalog.title_ids[queries.targets],
                    exclude=queries.seen_titles(self.catalog) if exclude_seen else None,
                )
                for queries, scorers in zip(self.windows, self.scorers, strict=True)
            ]
        )

    def _scores(self, scorer: TitleScorer, queries: EvalQueries) -> FloatArray:
        return scorer.scores(queries.full_histories if self.full_history else queries.histories)
