from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from bigrec.grounding.beams import BeamMode
from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS, fuse_product
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.tuning import FusionInput, RuleFamily, optimize_rule
from bigrec.grounding.ranks import target_ranks
from bigrec.types import FloatArray, IntArray


def mean_reciprocal(ranks: IntArray) -> float:
    return float((1 / (ranks + 1.0)).mean())


def random_input(*, q: int = 30, t: int = 12, signals: int = 1, seed: int = 0) -> FusionInput:
    rng = np.random.default_rng(seed)
    distances: dict[BeamMode, FloatArray] = {
        "top1": rng.random((q, t)),
        "all": rng.random((q, t)),
    }
    return FusionInput(
        distances=distances,
        weights=[rng.random((q, t)) for _ in range(signals)],
        targets=rng.integers(t, size=q),
        exclude=None,
    )


def knowing(queries: FusionInput) -> FloatArray:
    """Weights of a signal that knows every target."""
    weights = np.zeros_like(queries.weights[0])
    weights[np.arange(len(weights)), queries.targets] = 1
    return weights


def figure(queries: FusionInput, rule: FusionRule) -> float:
    fused = rule.apply(queries.distances[rule.beams], queries.weights)
    return mean_reciprocal(queries.ranks(fused))


def optimize(
    queries: FusionInput, family: RuleFamily = "auto", fixed: Mapping[int, float] | None = None
) -> FusionRule:
    return optimize_rule(queries, metric=mean_reciprocal, family=family, fixed=fixed)


def test_the_papers_rule_has_the_best_gamma_of_the_grid_on_the_top_beam() -> None:
    queries = random_input()
    rule = optimize(queries, "paper")
    figures = [
        mean_reciprocal(
            target_ranks(
                fuse_product(queries.distances["top1"], queries.weights, gammas=[gamma]),
                queries.targets,
            )
        )
        for gamma in COLLABORATIVE_GAMMAS
    ]
    assert (rule.method, rule.beams, rule.floor) == ("product", "top1", 0.0)
    assert rule.gammas == (COLLABORATIVE_GAMMAS[int(np.argmax(figures))],)


@pytest.mark.parametrize("signals", [1, 2])
def test_no_family_has_a_better_rule_than_all_of_them_together(signals: int) -> None:
    queries = random_input(signals=signals, seed=1)
    families: list[RuleFamily] = ["paper", "product", "weighted_sum", "rrf"]
    rules = [optimize(queries, family) for family in families]
    assert [rule.method for rule in rules] == ["product", "product", "weighted_sum", "rrf"]
    best = optimize(queries)
    assert len(best.gammas) in {0, signals}
    assert figure(queries, best) == pytest.approx(max(figure(queries, rule) for rule in rules))


def test_a_signal_that_knows_every_target_is_followed() -> None:
    queries = random_input(seed=3)
    known = FusionInput(queries.distances, [knowing(queries)], queries.targets, None)
    # The product cannot move the nearest title, so that some other rule has to be selected.
    rule = optimize(known)
    assert figure(known, rule) == 1
    assert rule.method != "product" or rule.floor > 0


def test_of_two_signals_the_one_that_says_nothing_gets_less_weight() -> None:
    queries = random_input(seed=4)
    both = FusionInput(
        queries.distances, [knowing(queries), queries.weights[0]], queries.targets, None
    )
    rule = optimize(both)
    assert figure(both, rule) == 1
    assert rule.gammas[0] > rule.gammas[1]


def test_several_gammas_are_searched_one_after_another_over_the_grid() -> None:
    queries = random_input(q=40, t=6, signals=2, seed=5)
    rule = optimize(queries, "paper")
    grid = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 99.0)

    def product_figure(gammas: tuple[float, ...]) -> float:
        fused = queries.distances["top1"]
        fused = (fused - fused.min(1, keepdims=True)) / np.ptp(fused, axis=1)[:, None]
        for weights, gamma in zip(queries.weights, gammas, strict=True):
            fused = fused * (1 + weights) ** -gamma
        return mean_reciprocal(target_ranks(fused, queries.targets))

    reached = product_figure(rule.gammas)
    # No step along one of the two gammas improves on it.
    for place, value in product(range(2), grid):
        other = list(rule.gammas)
        other[place] = value
        assert product_figure(tuple(other)) <= reached + 1e-12


@pytest.mark.parametrize("family", ["paper", "product", "weighted_sum"])
def test_a_fixed_gamma_stays_and_the_others_are_searched_for(family: RuleFamily) -> None:
    queries = random_input(signals=2, seed=8)
    both = FusionInput(
        queries.distances, [queries.weights[0], knowing(queries)], queries.targets, None
    )
    rule = optimize(both, family, {0: 0.37})
    assert rule.gammas[0] == 0.37
    assert rule.gammas[1] > 0
    assert optimize(both, family, {0: 0.37, 1: 1.5}).gammas == (0.37, 1.5)
    assert optimize(random_input(seed=8), family, {0: 0.37}).gammas == (0.37,)


@pytest.mark.parametrize(
    ("family", "fixed"), [("auto", {0: 1.0}), ("rrf", {0: 1.0}), ("product", {1: 1.0})]
)
def test_a_gamma_that_means_nothing_is_refused(family: RuleFamily, fixed: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="expected positions of signals, and family 'paper'"):
        optimize(random_input(), family, fixed)


def test_without_the_model_the_first_signal_takes_its_place() -> None:
    queries = random_input(seed=7, signals=2)
    alone = queries.without_model()
    first, second = queries.weights
    # No signal beside the first: it is ranked by its own scores.
    np.testing.assert_array_equal(alone.ranks(alone.distances["top1"]), queries.ranks(-first))
    rule = optimize(alone)
    assert figure(alone, rule) >= mean_reciprocal(queries.ranks(-first))
    assert figure(alone, rule) == mean_reciprocal(queries.ranks(rule.apply(1 - first, [second])))


def test_excluded_titles_are_never_ahead() -> None:
    queries = random_input(seed=6)
    excluded = [np.array([(target + 1) % 12]) for target in queries.targets]
    hidden = FusionInput(queries.distances, queries.weights, queries.targets, excluded)
    fused = queries.distances["top1"]
    np.testing.assert_array_equal(
        hidden.ranks(fused), target_ranks(fused, queries.targets, exclude=excluded)
    )


def test_stacked_queries_are_those_of_all_parts() -> None:
    first, second = random_input(q=3, signals=2), random_input(q=4, signals=2, seed=1)
    stacked = FusionInput.stack([first, second])
    assert stacked.exclude is None
    rule = FusionRule("product", "all", (1.0, 0.5), floor=0.1)
    np.testing.assert_array_equal(
        stacked.rule_ranks(rule),
        np.concatenate([part.rule_ranks(rule) for part in (first, second)]),
    )
    without = [np.array([0, 1])] * 3, [np.array([2])] * 4
    parts = [
        replace(part, exclude=titles) for part, titles in zip((first, second), without, strict=True)
    ]
    excluded = FusionInput.stack(parts)
    np.testing.assert_array_equal(
        excluded.rule_ranks(rule), np.concatenate([part.rule_ranks(rule) for part in parts])
    )


def test_a_signal_that_adds_nothing_that_counts_is_dropped() -> None:
    queries = random_input(signals=3)
    queries = replace(queries, weights=[queries.weights[0], knowing(queries), queries.weights[2]])

    def simplified(share: float, fixed: Mapping[int, float] | None = None) -> FusionRule:
        return optimize_rule(
            queries,
            metric=mean_reciprocal,
            family="product",
            fixed=fixed,
            tolerates=lambda best, ranks: mean_reciprocal(ranks) >= share * mean_reciprocal(best),
        )

    best = optimize(queries, "product")
    # Only what costs nothing at all goes.
    assert figure(queries, simplified(1.0)) == figure(queries, best)
    rule = simplified(0.9)
    assert rule.gammas[1] > 0
    assert [bool(gamma) for gamma in rule.gammas] == [False, True, False]
    assert figure(queries, rule) >= 0.9 * figure(queries, best)
    # With everything good enough, the distances alone are left, but for what is fixed by hand.
    assert simplified(0.0).gammas == (0.0, 0.0, 0.0)
    assert simplified(0.0, {2: 5.0}).gammas == (0.0, 0.0, 5.0)
