"""The rule for putting signals into distances that does best on validation queries."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bigrec.grounding.beams import BeamMode
from bigrec.grounding.fusion.formulas import (
    COLLABORATIVE_GAMMAS,
    fuse_reciprocal_rank,
    normalised,
    standardised,
)
from bigrec.grounding.fusion.gamma_path import Metric, gamma_path_ranks, select_gamma
from bigrec.grounding.fusion.rule import Rule
from bigrec.grounding.ranks import ranks_along, target_ranks
from bigrec.types import FloatArray, IntArray

# Floors that are tried beside the published 0.
_FLOORS = (0.01, 0.1, 1.0)
_SUM_GAMMAS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
# With several signals, a grid that a search along one gamma after another can afford.
_PRODUCT_GAMMAS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 99.0)
_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class Fusable:
    """Queries whose targets are known, with everything that a rule puts together.

    Attributes:
        distances: By beam mode, ``[q, g]``, lower is better.
        weights: One array for each signal, ``[q, g]``, in [0, 1].
        targets: Group number of each query's target, ``[q]``.
        exclude: For each query the groups left out of the ranking, or None.
    """

    distances: Mapping[BeamMode, FloatArray] = field(repr=False)
    weights: Sequence[FloatArray] = field(repr=False)
    targets: IntArray = field(repr=False)
    exclude: Sequence[IntArray] | None = field(repr=False)

    def without_model(self) -> "Fusable":
        """The signals alone: what the first gives low scores is far, and the others are put in."""
        first, *others = self.weights
        return Fusable({"first": 1 - first}, others, self.targets, self.exclude)

    def ranks(self, fused: FloatArray) -> IntArray:
        """0-based target ranks in fused distances, ``[q]``."""
        return target_ranks(fused, self.targets, exclude=self.exclude)


def published_rule(queries: Fusable, *, metric: Metric, gammas: FloatArray) -> Rule:
    """The published product on the first beam, its gammas chosen by one metric.

    Args:
        queries: Validation queries.
        metric: From ranks to a figure, higher is better.
        gammas: Grid of a single signal's gamma. Several signals share a coarser one.
    """
    return _product(queries, "first", metric=metric, gammas=gammas, eps=0.0)[0]


def best_rule(
    queries: Fusable, *, metric: Metric, gammas: FloatArray = COLLABORATIVE_GAMMAS
) -> tuple[Rule, float]:
    """The best of all rules: product with and without floor, sums, reciprocal ranks, either beams.

    Args:
        queries: Validation queries.
        metric: From ranks to a figure, higher is better.
        gammas: Grid of a single signal's gamma in the product.

    Returns:
        The rule and its figure; the earlier of rules that tie, the published one first.
    """
    found: list[tuple[Rule, float]] = []
    for beams in queries.distances:
        found += [
            _product(queries, beams, metric=metric, gammas=gammas, eps=eps)
            for eps in (0.0, *_FLOORS)
        ]
        base = normalised(queries.distances[beams])
        found.append(_sum("sum", queries, base, queries.weights, beams=beams, metric=metric))
        slopes = [standardised(weights) for weights in queries.weights]
        found.append(
            _sum(
                "standardised sum", queries, standardised(base), slopes, beams=beams, metric=metric
            )
        )
        fused = fuse_reciprocal_rank(queries.distances[beams], queries.weights)
        found.append((Rule("reciprocal ranks", beams), metric(queries.ranks(fused))))
    return max(found, key=lambda one: one[1])


def _product(
    queries: Fusable, beams: BeamMode, *, metric: Metric, gammas: FloatArray, eps: float
) -> tuple[Rule, float]:
    distances = queries.distances[beams]
    if len(queries.weights) == 1:
        path = gamma_path_ranks(
            distances,
            queries.weights[0],
            queries.targets,
            gammas=gammas,
            eps=eps,
            exclude=queries.exclude,
        )
        gamma = select_gamma(path, gammas, metric=metric)
        return Rule("product", beams, (gamma,), eps), metric(path[:, gammas == gamma][:, 0])
    # In logarithms the product is a sum, and its order is the same.
    with np.errstate(divide="ignore"):
        base = np.log(eps + normalised(distances))
    slopes = [np.log1p(weights) for weights in queries.weights]
    chosen, figure = _ascend(queries, base, slopes, metric=metric, grid=_PRODUCT_GAMMAS)
    return Rule("product", beams, chosen, eps), figure


def _sum(
    kind: Literal["sum", "standardised sum"],
    queries: Fusable,
    base: FloatArray,
    slopes: Sequence[FloatArray],
    *,
    beams: BeamMode,
    metric: Metric,
) -> tuple[Rule, float]:
    chosen, figure = _ascend(queries, base, slopes, metric=metric, grid=_SUM_GAMMAS)
    return Rule(kind, beams, chosen), figure


def _less(base: FloatArray, slopes: Sequence[FloatArray], gammas: Sequence[float]) -> FloatArray:
    found = base.copy()
    for slope, gamma in zip(slopes, gammas, strict=True):
        if gamma:
            found -= gamma * slope
    return found


def _ascend(
    queries: Fusable,
    base: FloatArray,
    slopes: Sequence[FloatArray],
    *,
    metric: Metric,
    grid: Sequence[float],
) -> tuple[tuple[float, ...], float]:
    """Along one gamma after another, from the grid's first value for all of them."""
    chosen = [grid[0]] * len(slopes)
    best = -math.inf
    for _ in range(_ROUNDS if len(slopes) > 1 else 1):
        for place, slope in enumerate(slopes):
            others = [*chosen[:place], 0.0, *chosen[place + 1 :]]
            path = ranks_along(
                _less(base, slopes, others),
                slope,
                queries.targets,
                gammas=grid,
                exclude=queries.exclude,
            )
            for value, ranks in zip(grid, path.T, strict=True):
                reached = metric(ranks)
                if reached > best:
                    chosen[place], best = value, reached
    return tuple(chosen), best
