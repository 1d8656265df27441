"""Recommender, signals and injections on the same queries, each gamma chosen on validation.

One gamma serves all metrics of a row. The published protocol, a gamma for every metric and K, is
computed beside it and never mixed in.
"""

from collections.abc import Callable, Iterator, Sequence
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
from bigrec.grounding.injection import (
    COLLABORATIVE_GAMMAS,
    POPULARITY_GAMMAS,
    fuse_additive,
    fuse_reciprocal_rank,
    inject,
)
from bigrec.grounding.ranks import target_ranks
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

Fusion = Callable[[FloatArray, FloatArray], FloatArray]
"""From distances and weights ``[q, g]`` to fused distances, lower is better."""

_FLOORS = (0.01, 0.1, 1.0)
_SUM_GAMMAS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_CHOSEN_BY = partial(ndcg_at, k=10)
_PUBLISHED = {
    f"{name}@{k}": partial(metric, k=k)
    for name, metric in (("hr", hr_at), ("ndcg", ndcg_at))
    for k in KS
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """How one signal is put in under one protocol, chosen on validation.

    Attributes:
        method: The injection or fusion, as tables name it.
        exclude_seen: Whether seen items are left out of the ranking.
        rule: How distances and signal are put together, with the one gamma, by NDCG@10.
        published: For the published product: what the published protocol reports on test, by
            metric and K; each figure may have another gamma, so no single recommender reaches all
            of them.
    """

    method: str
    exclude_seen: bool
    rule: str
    published: dict[str, float] | None = None


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
    """Rank every test target by the recommender, by each signal and by both together.

    Together once by the published product, and once by whichever fusion past the paper does best
    on validation: the product with a floor, the weighted sum, or reciprocal ranks.

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
            for put_in in (_injected, _fused):
                result, how = put_in(signal, valid, test, hide=hide, beams=beams)
                results.append(result)
                chosen.append(how)
                if progress is not None:
                    progress(len(chosen), 4 * len(signals))
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

    def path(
        self, weights: FloatArray, gammas: FloatArray, *, hide: bool, eps: float = 0.0
    ) -> IntArray:
        """Target ranks at every gamma, ``[q, m]``; a column of weights holds for all groups."""
        found = np.empty((len(self.targets), len(gammas)), dtype=np.int64)
        for rows, distances in self._distances():
            found[rows] = gamma_path_ranks(
                distances,
                np.broadcast_to(weights[rows], distances.shape),
                self.targets[rows],
                gammas=gammas,
                eps=eps,
                exclude=self.gone[rows] if hide else None,
            )
        return found

    def fused(self, weights: FloatArray, fusion: Fusion, *, hide: bool) -> IntArray:
        """Target ranks after a fusion, ``[q]``."""
        found = np.empty(len(self.targets), dtype=np.int64)
        for rows, distances in self._distances():
            found[rows] = target_ranks(
                fusion(distances, weights[rows]),
                self.targets[rows],
                exclude=self.gone[rows] if hide else None,
            )
        return found

    def _distances(self) -> Iterator[tuple[slice, FloatArray]]:
        for chunk in self._ranker.iter_distances(self._queries, beams=self._beams):
            yield chunk.rows, chunk.combine(self._beams)[0]


def _injected(
    signal: Signal, valid: _Part, test: _Part, *, hide: bool, beams: BeamMode
) -> tuple[MethodResult, Chosen]:
    """The published product."""
    grid = _gammas(signal)
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
    return MethodResult(name, hide, ranks), Chosen(name, hide, f"gamma {gamma:g}", published)


def _fused(
    signal: Signal, valid: _Part, test: _Part, *, hide: bool, beams: BeamMode
) -> tuple[MethodResult, Chosen]:
    """The fusion that does best on validation; unlike the product, each can change rank 1."""
    weights = minmax(valid.scores(signal))
    rules: dict[str, Fusion] = {
        f"sum, gamma {gamma:g}": partial(_sum, gamma=gamma) for gamma in _SUM_GAMMAS
    }
    rules["reciprocal ranks"] = _reciprocal_ranks
    grid = _gammas(signal)
    for eps in _FLOORS:
        path = valid.path(weights, grid, hide=hide, eps=eps)
        gamma = select_gamma(path, grid, metric=_CHOSEN_BY)
        rules[f"floor {eps:g}, gamma {gamma:g}"] = partial(inject, gamma=gamma, eps=eps)
    figures = {
        rule: _CHOSEN_BY(valid.fused(weights, fusion, hide=hide)) for rule, fusion in rules.items()
    }
    rule = max(figures, key=figures.__getitem__)
    ranks = test.fused(minmax(test.scores(signal)), rules[rule], hide=hide)
    name = f"{METHODS[beams]} + {signal.name}"
    return MethodResult(name, hide, ranks), Chosen(name, hide, rule)


def _sum(distances: FloatArray, weights: FloatArray, *, gamma: float) -> FloatArray:
    return fuse_additive(distances, [weights], gammas=[gamma])


def _reciprocal_ranks(distances: FloatArray, weights: FloatArray) -> FloatArray:
    return fuse_reciprocal_rank(distances, [weights])


def _gammas(signal: Signal) -> FloatArray:
    return POPULARITY_GAMMAS if isinstance(signal, Popularity) else COLLABORATIVE_GAMMAS


def _column(grid: FloatArray, gamma: float) -> int:
    return int(np.flatnonzero(grid == gamma)[0])
