"""The fusion rule that does best on validation queries."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from bigrec.grounding.beams import BeamMode
from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS, fuse_rrf, min_max, z_score
from bigrec.grounding.fusion.gamma_path import Metric, gamma_path_ranks, select_gamma
from bigrec.grounding.fusion.rule import FusionRule, ScoreNormalization
from bigrec.grounding.ranks import ranks_along, target_ranks
from bigrec.types import BoolArray, FloatArray, IntArray

RuleFamily = Literal["auto", "paper", "product", "weighted_sum", "rrf"]
"""Rules to select from: ``auto`` is all of them, ``paper`` the product on the top beam."""

# Floors that are tried beside the paper's 0.
_FLOORS = (0.0, 0.01, 0.1, 1.0)
_SUM_GAMMAS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
# With several signals, a grid that coordinate ascent can afford.
_PRODUCT_GAMMAS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 99.0)
_ROUNDS = 2

Tolerates = Callable[[IntArray, IntArray], bool]
"""From the best candidate's target ranks and another's: whether the other is good enough."""

_Judged = tuple[FusionRule, float]


@dataclass(frozen=True, eq=False)
class FusionInput:
    """Queries whose targets are known, with everything that a rule fuses.

    Attributes:
        distances: By beam mode, ``[q, t]``, lower is better.
        weights: One array for each signal, ``[q, t]``, in [0, 1].
        targets: Title id of each query's target, ``[q]``.
        exclude: For each query the titles excluded from the ranking, or None.
        cold: Whether a title has no training interactions, ``[t]``; None ranks all alike.
        cold_signals: Positions of the signals that know cold titles.
    """

    distances: Mapping[BeamMode, FloatArray] = field(repr=False)
    weights: Sequence[FloatArray] = field(repr=False)
    targets: IntArray = field(repr=False)
    exclude: Sequence[IntArray] | None = field(repr=False)
    cold: BoolArray | None = field(default=None, repr=False)
    cold_signals: Sequence[int] = ()

    def without_model(self) -> "FusionInput":
        """The signals alone: the first one's weights, negated, take the place of distances."""
        first, *others = self.weights
        return replace(
            self,
            distances={"top1": 1 - first},
            weights=others,
            cold_signals=[place - 1 for place in self.cold_signals if place],
        )

    @classmethod
    def stack(cls, parts: "Sequence[FusionInput]") -> "FusionInput":
        """The queries of several inputs, which have the same beam modes and signals.

        Args:
            parts: At least one; all with excluded titles or all without. Cold titles differ
                between them and are ranked as all others are.
        """
        first = parts[0]
        excluded = [part.exclude for part in parts if part.exclude is not None]
        return cls(
            {
                mode: np.concatenate([part.distances[mode] for part in parts])
                for mode in first.distances
            },
            [
                np.concatenate(weights)
                for weights in zip(*(part.weights for part in parts), strict=True)
            ],
            np.concatenate([part.targets for part in parts]),
            [titles for part in excluded for titles in part] if excluded else None,
        )

    def rule_ranks(self, rule: FusionRule) -> IntArray:
        """0-based target ranks by a rule, ``[q]``."""
        fused = rule.apply(self.distances[rule.beams], self.weights, cold=self.cold)
        return self.ranks(fused)

    def ranks(self, fused: FloatArray) -> IntArray:
        """0-based target ranks in fused distances, ``[q]``."""
        return target_ranks(fused, self.targets, exclude=self.exclude)


@dataclass(frozen=True, eq=False)
class _Search:
    """What is the same for all families of one selection."""

    queries: FusionInput
    metric: Metric
    gammas: FloatArray
    fixed: Mapping[int, float]

    def products(self, beams: BeamMode, floors: Sequence[float]) -> Iterator[_Judged]:
        """The best gammas of the product, for each floor."""
        for floor in floors:
            if len(self.queries.weights) == 1:
                yield self._single_product(beams, floor)
            else:
                # In logarithms the product is a sum, and its order is the same.
                with np.errstate(divide="ignore"):
                    base = np.log(floor + min_max(self._distances(beams)))
                slopes = [np.log1p(weights) for weights in self.queries.weights]
                gammas, reached = self._ascend(base, slopes, grid=_PRODUCT_GAMMAS)
                yield FusionRule("product", beams, gammas, floor=floor), reached

    def weighted_sums(self, beams: BeamMode) -> Iterator[_Judged]:
        """The best gammas of the weighted sum, for each normalization."""
        base, slopes = min_max(self._distances(beams)), self.queries.weights
        yield self._weighted_sum(beams, "min_max", base, slopes)
        yield self._weighted_sum(beams, "z_score", z_score(base), [z_score(w) for w in slopes])

    def rrf(self, beams: BeamMode) -> Iterator[_Judged]:
        """Reciprocal rank fusion, which has no gammas."""
        fused = fuse_rrf(self.queries.distances[beams], self.queries.weights)
        yield FusionRule("rrf", beams), self.metric(self.queries.ranks(fused))

    def _distances(self, beams: BeamMode) -> FloatArray:
        return self.queries.distances[beams].astype(np.float64)

    def _single_product(self, beams: BeamMode, floor: float) -> _Judged:
        gammas = np.array([self.fixed[0]]) if self.fixed else self.gammas
        path = gamma_path_ranks(
            self.queries.distances[beams],
            self.queries.weights[0],
            self.queries.targets,
            gammas=gammas,
            floor=floor,
            exclude=self.queries.exclude,
        )
        gamma = select_gamma(path, gammas, metric=self.metric)
        reached = self.metric(path[:, gammas == gamma][:, 0])
        return FusionRule("product", beams, (gamma,), floor=floor), reached

    def _weighted_sum(
        self,
        beams: BeamMode,
        normalization: ScoreNormalization,
        base: FloatArray,
        slopes: Sequence[FloatArray],
    ) -> _Judged:
        gammas, reached = self._ascend(base, slopes, grid=_SUM_GAMMAS)
        return FusionRule("weighted_sum", beams, gammas, normalization=normalization), reached

    def _ascend(
        self, base: FloatArray, slopes: Sequence[FloatArray], *, grid: Sequence[float]
    ) -> tuple[tuple[float, ...], float]:
        """Coordinate ascent along one gamma after another, from the grid's first value."""
        selected = [self.fixed.get(place, grid[0]) for place in range(len(slopes))]
        free = [place for place in range(len(slopes)) if place not in self.fixed]
        best = -math.inf
        for _ in range(_ROUNDS if len(free) > 1 else 1):
            # With every gamma fixed the loop judges the one rule that is left.
            for place in free or [0]:
                values = grid if free else (selected[0],)
                others = [*selected[:place], 0.0, *selected[place + 1 :]]
                path = ranks_along(
                    _subtract(base, slopes, others),
                    slopes[place],
                    self.queries.targets,
                    gammas=values,
                    exclude=self.queries.exclude,
                )
                for value, ranks in zip(values, path.T, strict=True):
                    reached = self.metric(ranks)
                    if reached > best:
                        selected[place], best = value, reached
        return tuple(selected), best


def optimize_rule(
    queries: FusionInput,
    *,
    metric: Metric,
    family: RuleFamily = "auto",
    gammas: FloatArray = COLLABORATIVE_GAMMAS,
    fixed: Mapping[int, float] | None = None,
    tolerates: Tolerates | None = None,
) -> FusionRule:
    """Select the rule that does best on validation queries, or a simpler one.

    Args:
        queries: Validation queries.
        metric: From ranks to a figure, higher is better.
        family: Rules to select from.
        gammas: Grid of a single signal's gamma in the product. Several signals share a coarser one.
        fixed: Gammas set by hand, by the signal's position; the others are searched for.
        tolerates: Whether a rule with fewer signals is good enough beside the best; by default,
            none is.

    Returns:
        The rule; the earlier of rules that tie, the paper's first. Where fewer signals are good
        enough, the gammas of the others are 0.

    Raises:
        ValueError: If a gamma is fixed for a signal that is not there or for ``rrf``.
    """
    fixed = fixed or {}
    wrong = [place for place in fixed if not 0 <= place < len(queries.weights)]
    if wrong or (fixed and family in {"auto", "rrf"}):
        raise ValueError(
            f"fixed is {dict(fixed)} for {len(queries.weights)} signals and family {family!r}; "
            "expected positions of signals, and family 'paper', 'product' or 'weighted_sum'."
        )
    search = _Search(queries, metric, gammas, fixed)
    judged: list[_Judged] = []
    modes: Sequence[BeamMode] = ["top1"] if family == "paper" else list(queries.distances)
    for beams in modes:
        if family in {"auto", "product"}:
            judged += search.products(beams, _FLOORS)
        if family == "paper":
            judged += search.products(beams, (0.0,))
        if family in {"auto", "weighted_sum"}:
            judged += search.weighted_sums(beams)
        if family in {"auto", "rrf"}:
            judged += search.rrf(beams)
    best = max(judged, key=lambda rule_and_figure: rule_and_figure[1])[0]
    return best if tolerates is None else _simplified(best, queries, metric, fixed, tolerates)


def _simplified(
    best: FusionRule,
    queries: FusionInput,
    metric: Metric,
    fixed: Mapping[int, float],
    tolerates: Tolerates,
) -> FusionRule:
    """The rule without one signal after another, as long as the rest is good enough."""
    best_ranks = queries.rule_ranks(best)
    rule = best
    while True:
        gammas = rule.gammas
        simpler = [
            replace(rule, gammas=(*gammas[:place], 0.0, *gammas[place + 1 :]))
            for place, gamma in enumerate(gammas)
            if gamma and place not in fixed
        ]
        ranks = [(candidate, queries.rule_ranks(candidate)) for candidate in simpler]
        kept = [(candidate, metric(of)) for candidate, of in ranks if tolerates(best_ranks, of)]
        if not kept:
            return rule
        rule = max(kept, key=lambda rule_and_figure: rule_and_figure[1])[0]


def _subtract(
    base: FloatArray, slopes: Sequence[FloatArray], gammas: Sequence[float]
) -> FloatArray:
    fused = base.copy()
    for slope, gamma in zip(slopes, gammas, strict=True):
        if gamma:
            fused -= gamma * slope
    return fused
