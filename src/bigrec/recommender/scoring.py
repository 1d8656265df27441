"""Scores of every title for every query: distances to the encoded history, and signals.

Queries are scored in batches, so that memory does not grow with their number.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.errors import ModelError
from bigrec.grounding.beams import BeamDistances, BeamMode, EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.fusion.formulas import min_max
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.tuning import FusionInput
from bigrec.grounding.ranker import Ranker
from bigrec.models.base import Scorer
from bigrec.recommender.training_data import EvalQueries
from bigrec.types import BoolArray, FloatArray, IntArray


class TitleScorer:
    """A scorer for the titles of a catalog, which may hold items that the scorer does not know.

    The one path from a signal's scores to its weights, in serving and in validation.

    Args:
        scorer: Scores the items that it was fitted on.
        catalog: The titles to score.
        item_ids: Ids of the scorer's items; the catalog's own by default. Other items are skipped
            in histories and scored as low as the lowest.
        imputer: Imputes the weights of cold titles, unless the scorer knows cold items itself.
    """

    def __init__(
        self,
        scorer: Scorer,
        catalog: Catalog,
        *,
        item_ids: Sequence[str] | None = None,
        imputer: ColdItemImputer | None = None,
    ) -> None:
        self.scorer = scorer
        self._items_by_title = ItemsByTitle.of(catalog.title_ids, n_titles=catalog.n_titles)
        self._imputer = None if scorer.knows_cold_items else imputer
        # The scorer's number of every item of the catalog, -1 if it does not know the item.
        self._numbers: IntArray | None = None
        if item_ids is not None and list(item_ids) != catalog.item_ids:
            number_of = {item: number for number, item in enumerate(item_ids)}
            self._numbers = np.array(
                [number_of.get(item, -1) for item in catalog.item_ids], dtype=np.int64
            )

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores of the titles, ``[q, t]``, higher is better; cold titles are not imputed.

        Args:
            histories: Item numbers of the catalog, oldest first.
        """
        return self._items_by_title.best(self._item_scores(histories))

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights of the titles for fusion, ``[q, t]`` in [0, 1]; cold titles are imputed.

        Args:
            histories: Item numbers of the catalog, oldest first.
        """
        return self.weights_of(self.scores(histories))

    def weights_of(self, scores: FloatArray, *, imputed: bool = True) -> FloatArray:
        """Weights from the scores that `scores` gave, ``[q, t]`` in [0, 1].

        Args:
            scores: ``[q, t]``.
            imputed: Whether scores of cold titles are imputed.
        """
        if imputed and self._imputer is not None:
            scores = self._imputer.impute(scores)
        return min_max(scores)

    def at_queries(self, positions: slice) -> Self:
        """The scorer for some of the evaluated queries."""
        scorer = self.scorer.at_queries(positions)
        if scorer is self.scorer:
            return self
        scorer_of_some = copy.copy(self)
        scorer_of_some.scorer = scorer
        return scorer_of_some

    def _item_scores(self, histories: Sequence[IntArray]) -> FloatArray:
        if self._numbers is None:
            return self.scorer.scores(histories)
        # -1 is padding to every scorer, so an unknown item is as if it were not there.
        scores = self.scorer.scores([self._numbers[history] for history in histories])
        lowest = scores.min(axis=1, keepdims=True)
        return np.where(self._numbers >= 0, scores[:, self._numbers], lowest)


@dataclass(frozen=True, eq=False)
class CatalogFusion:
    """Signals fused into the distances of one catalog.

    Attributes:
        scorers: The signals for the catalog's titles, in the order of the rules' gammas.
        cold: Whether a title has no training interactions, ``[t]``; None treats none so.
    """

    scorers: Sequence[TitleScorer] = field(repr=False)
    cold: BoolArray | None = field(default=None, repr=False)

    def fuse(
        self, distances: FloatArray, histories: Sequence[IntArray], *, rule: FusionRule
    ) -> FloatArray:
        """Fuse the signals into distances.

        Args:
            distances: Of the rule's beam mode, ``[q, t]``, lower is better.
            histories: Item numbers of the catalog, oldest first.
            rule: Fuses them.

        Returns:
            ``[q, t]``, lower is better.

        Raises:
            ModelError: If a signal's scores are not finite.
        """
        return rule.apply(distances, self.weights(histories), cold=self.cold)

    def weights(self, histories: Sequence[IntArray]) -> list[FloatArray]:
        """Weights of each signal for the titles, ``[q, t]`` in [0, 1].

        Raises:
            ModelError: If a signal's scores are not finite.
        """
        return [_finite_weights(scorer, histories) for scorer in self.scorers]


def _finite_weights(scorer: TitleScorer, histories: Sequence[IntArray]) -> FloatArray:
    scores = scorer.scores(histories)
    if not np.isfinite(scores).all():
        raise ModelError(
            f"the signal {scorer.scorer.name} gives scores that are NaN or infinite: its weights "
            "are too large. Fit it again."
        )
    return scorer.weights_of(scores)


@dataclass(frozen=True, eq=False)
class ScoreBatch:
    """Scores of some queries, ``c`` of them.

    Attributes:
        rows: The queries.
        targets: Title id of each target, ``[c]``.
        seen: Title ids of all that each user had before.
    """

    rows: slice
    targets: IntArray = field(repr=False)
    seen: list[IntArray] = field(repr=False)
    _chunk: BeamDistances = field(repr=False)
    _queries: "ScoredQueries" = field(repr=False)
    _distances: dict[BeamMode, FloatArray] = field(default_factory=dict, repr=False)
    _scores: dict[str, FloatArray] = field(default_factory=dict, repr=False)
    _weights: dict[tuple[str, bool], FloatArray] = field(default_factory=dict, repr=False)

    def distances(self, beams: BeamMode) -> FloatArray:
        """Distances to the encoded queries, ``[c, t]``, lower is better."""
        if beams not in self._distances:
            self._distances[beams] = self._chunk.combine(beams)[0]
        return self._distances[beams]

    def scores(self, name: str) -> FloatArray:
        """Scores of a signal, ``[c, t]``, higher is better."""
        if name not in self._scores:
            self._scores[name] = self._queries.scores(name, self.rows)
        return self._scores[name]

    def fused(self, rule: FusionRule, names: Sequence[str]) -> FloatArray:
        """Distances with signals fused in, ``[c, t]``, lower is better."""
        weights = [self.weights(name) for name in names]
        return rule.apply(self.distances(rule.beams), weights, cold=self._queries.cold)

    def fused_without_model(self, rule: FusionRule, names: Sequence[str]) -> FloatArray:
        """Signals fused into the first of them, as `FusionInput.without_model` does, ``[c, t]``."""
        first, *others = (self.weights(name, imputed=False) for name in names)
        return rule.apply(1 - first, others, cold=self._queries.cold)

    def weights(self, name: str, *, imputed: bool = True) -> FloatArray:
        """Weights of a signal, ``[c, t]`` in [0, 1].

        Args:
            name: The signal.
            imputed: Whether scores of cold titles are imputed, which takes the language model.
        """
        if (name, imputed) not in self._weights:
            scorer = self._queries.signals[name]
            self._weights[name, imputed] = scorer.weights_of(self.scores(name), imputed=imputed)
        return self._weights[name, imputed]


class ScoredQueries:
    """Distances and signals' scores of queries whose targets are known.

    Args:
        ranker: Computes the distances.
        encoded: The queries' vectors.
        catalog: The titles that are ranked.
        queries: Histories and targets, ``q`` of them.
        signals: By name.
        beams: The beam modes of the encoder.
        cold: Whether a title has no training interactions, ``[t]``.
        full_history: Whether signals score the full history, not the model's window alone.
    """

    def __init__(
        self,
        ranker: Ranker,
        encoded: EncodedQueries,
        catalog: Catalog,
        *,
        queries: EvalQueries,
        signals: Mapping[str, TitleScorer],
        beams: Sequence[BeamMode],
        cold: BoolArray,
        full_history: bool = False,
    ) -> None:
        self.ranker = ranker
        self.encoded = encoded
        self.queries = queries
        self.signals = dict(signals)
        self.beams = tuple(beams)
        self.cold = cold
        self.n_titles = catalog.n_titles
        self.targets = catalog.title_ids[queries.targets]
        self.seen = queries.seen_titles(catalog)
        self._histories = queries.full_histories if full_history else queries.histories

    def __len__(self) -> int:
        return len(self.targets)

    def scores(self, name: str, rows: slice) -> FloatArray:
        """Scores of a signal for some of the queries, ``[c, t]``, higher is better."""
        return self.signals[name].at_queries(rows).scores(self._histories[rows])

    def batches(self) -> Iterator[ScoreBatch]:
        """The scores, batch by batch."""
        for chunk in self.ranker.iter_distances(self.encoded, beams="all"):
            rows = chunk.rows
            yield ScoreBatch(rows, self.targets[rows], self.seen[rows], chunk, self)

    def fusion_input(
        self, names: Sequence[str], *, exclude_seen: bool, imputed: bool = True
    ) -> FusionInput:
        """All that a rule fuses, at once: for as many queries as fit in memory.

        Args:
            names: The signals.
            exclude_seen: Whether seen titles are excluded from the ranking.
            imputed: Whether signals' scores of cold titles are imputed.
        """
        every_row = slice(0, len(self))
        return FusionInput(
            distances=self._distances,
            weights=[
                self.signals[name].weights_of(self.scores(name, every_row), imputed=imputed)
                for name in names
            ],
            targets=self.targets,
            exclude=self.seen if exclude_seen else None,
            cold=self.cold,
            cold_signals=[
                place
                for place, name in enumerate(names)
                if self.signals[name].scorer.knows_cold_items
            ],
        )

    @cached_property
    def _distances(self) -> dict[BeamMode, FloatArray]:
        """Of all queries: every rule that is tried needs the same."""
        batches = list(self.batches())
        return {
            mode: np.concatenate([batch.distances(mode) for batch in batches])
            for mode in self.beams
        }


@dataclass(frozen=True, eq=False)
class ItemsByTitle:
    """The items of every title, for scores of items as scores of titles.

    A hit counts for any item of the target's title, so a title ranks where its best item does.

    Attributes:
        n_items: Number of items, ``n``.
        order: Item numbers, title after title, ``[n]``; None where every item is its title.
        starts: Where each title's items begin in it, ``[t]``.
    """

    n_items: int
    order: IntArray | None = field(repr=False)
    starts: IntArray = field(repr=False)

    @classmethod
    def of(cls, title_ids: IntArray, *, n_titles: int) -> Self:
        """Group items.

        Args:
            title_ids: Title id of every item, ``[n]``.
            n_titles: Number of titles, ``t``.

        Raises:
            ValueError: If a title id is out of range or a title has no item.
        """
        every_title = np.arange(n_titles)
        if np.array_equal(title_ids, every_title):
            return cls(n_titles, None, every_title)
        present = np.unique(title_ids)
        if not np.array_equal(present, every_title):
            raise ValueError(
                f"title_ids holds {len(present)} different ids; expected each of 0 to "
                f"{n_titles - 1} at least once."
            )
        order = np.argsort(title_ids, kind="stable")
        return cls(len(title_ids), order, np.searchsorted(title_ids[order], every_title))

    def best(self, scores: FloatArray) -> FloatArray:
        """Give every title the score of its best item.

        Args:
            scores: ``[..., n]``, higher is better.

        Returns:
            ``[..., t]``; the scores themselves where no two items share a title, in the titles'
            order. A NaN among a title's items makes its score NaN.

        Raises:
            ValueError: If there is another number of scores.
        """
        if scores.shape[-1] != self.n_items:
            raise ValueError(
                f"scores has shape {scores.shape} and title_ids has {self.n_items} items; expected "
                "one score for each item in the last dimension."
            )
        if self.order is None:
            return scores
        return np.asarray(np.maximum.reduceat(scores[..., self.order], self.starts, axis=-1))
