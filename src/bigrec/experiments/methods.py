"""The methods of a comparison: everything that orders the catalog for a query."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from bigrec.evaluation.metrics import KS, chosen_by, metric_value
from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.reports.data import GammaPath
from bigrec.grounding.beams import BeamMode
from bigrec.grounding.fusion.gamma_path import gamma_path_ranks, published_selection
from bigrec.grounding.fusion.rule import Rule
from bigrec.grounding.fusion.tuning import best_rule, published_rule
from bigrec.grounding.ranks import best_groups, target_ranks
from bigrec.recommender.fusion import gammas_of
from bigrec.recommender.scoring import Evidence, Piece
from bigrec.types import FloatArray, IntArray, Progress

LIST_LENGTH = 20
"""Length of the lists that are kept of every method."""

_PUBLISHED = {
    name: partial(metric_value, metric=name)
    for name in (f"{metric}@{k}" for metric in ("hr", "ndcg") for k in KS)
}


@dataclass(frozen=True)
class Method:
    """One way of ordering the catalog.

    Attributes:
        name: As tables show it.
        signals: The signals that it uses.
        rule: How they are put together; None for a signal alone.
        beams: Beam mode of a method without signals.
        with_model: Whether the rule puts signals into the language model's distances, or together
            without them.
    """

    name: str
    signals: tuple[str, ...] = ()
    rule: Rule | None = None
    beams: BeamMode | None = None
    with_model: bool = True

    def distances(self, piece: Piece) -> FloatArray:
        """What the method orders by, ``[c, g]``, lower is better."""
        if self.rule is not None:
            fuse = piece.fused if self.with_model else piece.fused_without_model
            return fuse(self.rule, self.signals)
        if self.beams is not None:
            return piece.distances(self.beams)
        return -piece.scores(self.signals[0])

    def describe(self, *, beams: bool) -> str:
        """How signals are put together, as tables show it; empty where nothing is.

        Args:
            beams: Name the beam mode, where the language model takes part.
        """
        return "" if self.rule is None else self.rule.describe(beams=beams and self.with_model)


@dataclass(frozen=True, eq=False)
class Ranked:
    """What a method gave under one protocol.

    Attributes:
        result: Target rank of every query.
        lists: The first groups of every query, ``[q, 20]``, -1 where fewer are left.
    """

    result: MethodResult
    lists: IntArray = field(repr=False)


@dataclass(frozen=True)
class Injection:
    """One signal, or several, put into the distances; chosen on validation.

    Attributes:
        label: The signals as tables name them.
        published: The published product on the first beam.
        best: The rule that does best.
        without_model: The rule that does best without the language model; None for one signal.
        path: Validation target ranks at every gamma of the published product, ``[q, m]``; None
            for several signals.
    """

    label: str
    signals: tuple[str, ...]
    published: Rule
    best: Rule
    without_model: Rule | None
    path: IntArray | None = field(repr=False)

    def with_model(self) -> list[Method]:
        """The methods of this injection: ``x`` for the published rule, ``+`` for the best."""
        return [
            Method(f"BIGRec x {self.label}", self.signals, self.published),
            Method(f"BIGRec + {self.label}", self.signals, self.best),
        ]

    def methods(self) -> list[Method]:
        """These, and what several signals come to without the language model."""
        if self.without_model is None:
            return self.with_model()
        alone = Method(self.label, self.signals, self.without_model, with_model=False)
        return [alone, *self.with_model()]


def plain_methods(evidence: Evidence) -> list[Method]:
    """The recommender by itself, and every signal by itself."""
    alone = [Method(name, beams=beams) for beams, name in evidence.names.items()]
    return [*alone, *(Method(name, (name,)) for name in evidence.signals)]


def choose_injection(
    evidence: Evidence, signals: tuple[str, ...], *, exclude_seen: bool
) -> Injection:
    """Choose both rules on validation queries."""
    queries = evidence.fusable(signals, exclude_seen=exclude_seen)
    grid = gammas_of(evidence.signals[signals[0]])
    path = None
    if len(signals) == 1:
        path = gamma_path_ranks(
            queries.distances["first"],
            queries.weights[0],
            queries.targets,
            gammas=grid,
            exclude=queries.exclude,
        )
    return Injection(
        label=" & ".join(signals),
        signals=signals,
        published=published_rule(queries, metric=chosen_by, gammas=grid),
        best=best_rule(queries, metric=chosen_by, gammas=grid)[0],
        without_model=_rule_without_model(evidence, signals, exclude_seen=exclude_seen),
        path=path,
    )


def _rule_without_model(
    evidence: Evidence, signals: tuple[str, ...], *, exclude_seen: bool
) -> Rule | None:
    if len(signals) == 1:
        return None
    queries = evidence.fusable(signals, exclude_seen=exclude_seen, with_model=False)
    return best_rule(queries.without_model(), metric=chosen_by)[0]


def rank_all(
    methods: Sequence[Method],
    evidence: Evidence,
    *,
    exclude_seen: bool,
    progress: Progress | None = None,
) -> list[Ranked]:
    """Rank every target and list the best groups, by every method in one pass."""
    q = len(evidence)
    ranks = [np.empty(q, dtype=np.int64) for _ in methods]
    lists: list[list[IntArray]] = [[] for _ in methods]
    for piece, gone in _pieces(evidence, exclude_seen=exclude_seen, progress=progress):
        for place, method in enumerate(methods):
            distances = method.distances(piece)
            ranks[place][piece.rows] = target_ranks(distances, piece.targets, exclude=gone)
            k = min(LIST_LENGTH, distances.shape[1])
            lists[place].append(best_groups(distances, k=k, exclude=gone))
    return [
        Ranked(MethodResult(method.name, exclude_seen, own), np.concatenate(found))
        for method, own, found in zip(methods, ranks, lists, strict=True)
    ]


def rank_targets(
    methods: Sequence[Method],
    evidence: Evidence,
    *,
    exclude_seen: bool,
    progress: Progress | None = None,
) -> list[MethodResult]:
    """As `rank_all`, without the lists."""
    results = [
        MethodResult(method.name, exclude_seen, np.empty(len(evidence), dtype=np.int64))
        for method in methods
    ]
    for piece, gone in _pieces(evidence, exclude_seen=exclude_seen, progress=progress):
        for method, result in zip(methods, results, strict=True):
            result.ranks[piece.rows] = target_ranks(
                method.distances(piece), piece.targets, exclude=gone
            )
    return results


def _pieces(
    evidence: Evidence, *, exclude_seen: bool, progress: Progress | None
) -> Iterator[tuple[Piece, list[IntArray]]]:
    """Each piece of the evidence with the groups that are left out of its rankings."""
    for piece in evidence.pieces():
        yield piece, piece.seen if exclude_seen else [np.zeros(0, dtype=np.int64)] * len(piece.seen)
        if progress is not None:
            progress(piece.rows.stop, len(evidence))


def gamma_paths(
    injections: Sequence[Injection], test: Evidence, *, exclude_seen: bool
) -> dict[str, tuple[GammaPath, Mapping[str, float]]]:
    """The published products of single signals at every gamma, in one pass over test.

    Returns:
        By method its path, and what the published protocol reports on test, by metric.
    """
    single = [(one, one.path) for one in injections if one.path is not None]
    grids = [gammas_of(test.signals[one.signals[0]]) for one, _ in single]
    found = [np.empty((len(test), len(grid)), dtype=np.int64) for grid in grids]
    for piece in test.pieces():
        for (injection, _), grid, ranks in zip(single, grids, found, strict=True):
            ranks[piece.rows] = gamma_path_ranks(
                piece.distances("first"),
                piece.weights(injection.signals[0]),
                piece.targets,
                gammas=grid,
                exclude=piece.seen if exclude_seen else None,
            )
    traced: dict[str, tuple[GammaPath, Mapping[str, float]]] = {}
    for (injection, on_valid), grid, ranks in zip(single, grids, found, strict=True):
        path = _path(injection, on_valid, ranks, gammas=grid, exclude_seen=exclude_seen)
        traced[path.method] = path, _published_figures(on_valid, ranks, gammas=grid)
    return traced


def _path(
    injection: Injection,
    on_valid: IntArray,
    on_test: IntArray,
    *,
    gammas: FloatArray,
    exclude_seen: bool,
) -> GammaPath:
    return GammaPath(
        injection.with_model()[0].name,
        exclude_seen,
        gammas=tuple(gammas.tolist()),
        valid=tuple(chosen_by(ranks) for ranks in on_valid.T),
        test=tuple(chosen_by(ranks) for ranks in on_test.T),
        chosen=injection.published.gammas[0],
    )


def _published_figures(
    on_valid: IntArray, on_test: IntArray, *, gammas: FloatArray
) -> dict[str, float]:
    each = published_selection(on_valid, gammas, metrics=_PUBLISHED)
    return {
        metric: _PUBLISHED[metric](on_test[:, gammas == gamma][:, 0])
        for metric, gamma in each.items()
    }
