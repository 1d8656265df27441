"""Recommender, signals and injections on the same queries, each gamma chosen on validation.

One gamma serves all metrics of a row. The published protocol, a gamma for every metric and K, is
computed beside it and never mixed in.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.evaluation.metrics import KS, hr_at, ndcg_at
from bigrec.evaluation.paired import ComparisonRow, compare_to_reference
from bigrec.evaluation.protocol import MethodResult, SummaryRow, score_ranks, summarise
from bigrec.grounding.beams import BeamMode
from bigrec.grounding.gamma_path import gamma_path_ranks, published_selection, select_gamma
from bigrec.grounding.injection import COLLABORATIVE_GAMMAS, POPULARITY_GAMMAS
from bigrec.measure import METHODS, POPULARITY
from bigrec.recommender import BIGRec
from bigrec.signals.cooccurrence import Cooccurrence
from bigrec.signals.ease import Ease
from bigrec.signals.groups import group_scores
from bigrec.signals.popularity import Popularity
from bigrec.signals.protocol import Signal
from bigrec.signals.weights import minmax
from bigrec.steps import Drawn, Queries
from bigrec.types import BoolArray, FloatArray, GeneratedText, IntArray, Progress

_CHOSEN_BY = partial(ndcg_at, k=10)
_PUBLISHED = {
    f"{name}@{k}": partial(metric, k=k)
    for name, metric in (("hr", hr_at), ("ndcg", ndcg_at))
    for k in KS
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The gammas of one injection under one protocol, all chosen on validation.

    Attributes:
        method: The injection, as tables name it.
        exclude_seen: Whether seen items are left out of the ranking.
        gamma: The one gamma, by NDCG@10.
        published: What the published protocol reports on test, by metric and K; each figure may
            have another gamma, so no single recommender reaches all of them.
    """

    method: str
    exclude_seen: bool
    gamma: float
    published: dict[str, float]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes:
        rows: Metrics of every method, with intervals.
        differences: Every method against the reference, with corrected p-values.
        chosen: The gammas of the injections.
        results: Target rank of every query by method.
    """

    rows: list[SummaryRow]
    differences: list[ComparisonRow]
    chosen: list[Chosen]
    results: list[MethodResult] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON-like values."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "differences": [asdict(row) for row in self.differences],
            "chosen": [asdict(one) for one in self.chosen],
        }


def fit_signals(dataset: Dataset, train_rows: BoolArray, *, counts: IntArray) -> list[Signal]:
    """The signals that need no neural network, learned from the training split."""
    interactions, n_items = dataset.interactions, dataset.catalog.n_items
    return [
        Popularity.fit(counts),
        Cooccurrence.fit(interactions, train=train_rows, n_items=n_items),
        Ease.fit(interactions, train=train_rows, n_items=n_items),
    ]


def compare(
    model: BIGRec,
    drawn: Drawn,
    signals: Sequence[Signal],
    *,
    valid_texts: Sequence[Sequence[GeneratedText]],
    test_texts: Sequence[Sequence[GeneratedText]],
    reference: str = POPULARITY,
    progress: Progress | None = None,
) -> Comparison:
    """Rank every test target by the recommender, by each signal and by each injection.

    Args:
        model: The recommender; its setting says which beams are used.
        drawn: The validation and test examples.
        signals: Learned from the training split.
        valid_texts: What the model wrote for the validation examples.
        test_texts: And for the test examples.
        reference: Method that all others are compared with.
        progress: Called with (rankings done, rankings in all).

    Raises:
        ValueError: If there is no such reference.
    """
    beams = model.settings.recommend.beams
    valid = _Part(model, drawn.valid_queries, valid_texts, beams=beams)
    test = _Part(model, drawn.test, test_texts, beams=beams)
    results: list[MethodResult] = []
    chosen: list[Chosen] = []
    for hide in (False, True):
        zero = np.zeros((len(test.targets), 1))
        plain = test.path(zero, np.zeros(1), hide=hide)[:, 0]
        results.append(MethodResult(METHODS[beams], hide, plain))
        for signal in signals:
            scores = test.scores(signal)
            gone = test.gone if hide else None
            ranks = score_ranks(scores, test.targets, exclude=gone)
            results.append(MethodResult(signal.name, hide, ranks))
            result, gammas = _injected(signal, valid, test, hide=hide, beams=beams)
            results.append(result)
            chosen.append(gammas)
            if progress is not None:
                progress(len(chosen), 2 * len(signals))
    return Comparison(
        rows=summarise(results, seed=0),
        differences=compare_to_reference(results, reference=reference, seed=0),
        chosen=chosen,
        results=results,
    )


class _Part:
    """Queries of one part with their distances, at the level of groups."""

    def __init__(
        self,
        model: BIGRec,
        queries: Queries,
        texts: Sequence[Sequence[GeneratedText]],
        *,
        beams: BeamMode,
    ) -> None:
        self._ranker = model.parts.ranker
        self._catalog = model.catalog
        self._beams = beams
        self._histories = queries.histories
        self._queries = self._ranker.queries(texts, model.parts.embedder)
        self.targets = self._catalog.group[queries.targets]
        self.gone = [np.unique(self._catalog.group[items]) for items in queries.histories]

    def scores(self, signal: Signal) -> FloatArray:
        """A signal's scores of groups, ``[q, g]``."""
        scores = signal.scores(self._histories)
        return group_scores(scores, self._catalog.group, n_groups=self._catalog.n_groups)

    def path(self, weights: FloatArray, gammas: FloatArray, *, hide: bool) -> IntArray:
        """Target ranks at every gamma, ``[q, m]``; a column of weights holds for all groups."""
        found = np.empty((len(self.targets), len(gammas)), dtype=np.int64)
        for chunk in self._ranker.iter_distances(self._queries, beams=self._beams):
            rows = chunk.rows
            distances, _ = chunk.combine(self._beams)
            found[rows] = gamma_path_ranks(
                distances,
                np.broadcast_to(weights[rows], distances.shape),
                self.targets[rows],
                gammas=gammas,
                exclude=self.gone[rows] if hide else None,
            )
        return found


def _injected(
    signal: Signal, valid: _Part, test: _Part, *, hide: bool, beams: BeamMode
) -> tuple[MethodResult, Chosen]:
    grid = POPULARITY_GAMMAS if isinstance(signal, Popularity) else COLLABORATIVE_GAMMAS
    on_valid, on_test = (
        part.path(minmax(part.scores(signal)), grid, hide=hide) for part in (valid, test)
    )
    name = f"{METHODS[beams]} x {signal.name}"
    gamma = select_gamma(on_valid, grid, metric=_CHOSEN_BY)
    each = published_selection(on_valid, grid, metrics=_PUBLISHED)
    published = {
        metric: _PUBLISHED[metric](on_test[:, _column(grid, value)])
        for metric, value in each.items()
    }
    ranks = on_test[:, _column(grid, gamma)]
    return MethodResult(name, hide, ranks), Chosen(name, hide, gamma, published)


def _column(grid: FloatArray, gamma: float) -> int:
    return int(np.flatnonzero(grid == gamma)[0])
