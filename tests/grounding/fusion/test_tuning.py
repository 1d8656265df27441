from itertools import product

import numpy as np
import pytest

from bigrec.grounding.beams import BeamMode
from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS, inject
from bigrec.grounding.fusion.tuning import Fusable, best_rule, published_rule
from bigrec.grounding.ranks import target_ranks
from bigrec.types import FloatArray, IntArray


def mean_reciprocal(ranks: IntArray) -> float:
    return float((1 / (ranks + 1.0)).mean())


def some(*, q: int = 30, g: int = 12, signals: int = 1, seed: int = 0) -> Fusable:
    rng = np.random.default_rng(seed)
    distances: dict[BeamMode, FloatArray] = {
        "first": rng.random((q, g)),
        "all": rng.random((q, g)),
    }
    return Fusable(
        distances=distances,
        weights=[rng.random((q, g)) for _ in range(signals)],
        targets=rng.integers(g, size=q),
        exclude=None,
    )


def test_the_published_rule_has_the_best_gamma_of_the_grid_on_the_first_beam() -> None:
    queries = some()
    rule = published_rule(queries, metric=mean_reciprocal, gammas=COLLABORATIVE_GAMMAS)
    figures = [
        mean_reciprocal(
            target_ranks(
                inject(queries.distances["first"], queries.weights[0], gamma=gamma),
                queries.targets,
            )
        )
        for gamma in COLLABORATIVE_GAMMAS
    ]
    assert (rule.kind, rule.beams, rule.eps) == ("product", "first", 0.0)
    assert rule.gammas == (COLLABORATIVE_GAMMAS[int(np.argmax(figures))],)


@pytest.mark.parametrize("signals", [1, 2])
def test_the_figure_of_the_best_rule_is_what_applying_it_gives(signals: int) -> None:
    queries = some(signals=signals, seed=1)
    rule, figure = best_rule(queries, metric=mean_reciprocal)
    fused = rule.apply(queries.distances[rule.beams], queries.weights)
    assert mean_reciprocal(queries.ranks(fused)) == pytest.approx(figure)
    assert len(rule.gammas) in {0, signals}


def test_the_best_rule_is_at_least_as_good_as_the_published() -> None:
    queries = some(seed=2)
    published = published_rule(queries, metric=mean_reciprocal, gammas=COLLABORATIVE_GAMMAS)
    fused = published.apply(queries.distances["first"], queries.weights)
    best = best_rule(queries, metric=mean_reciprocal)[1]
    assert best >= mean_reciprocal(queries.ranks(fused))


def test_a_signal_that_knows_every_target_is_followed() -> None:
    queries = some(seed=3)
    weights = np.zeros_like(queries.weights[0])
    weights[np.arange(len(weights)), queries.targets] = 1
    knowing = Fusable(queries.distances, [weights], queries.targets, None)
    # The product cannot move the nearest group, so that some other rule has to be chosen.
    rule, figure = best_rule(knowing, metric=mean_reciprocal)
    assert figure == 1
    assert rule.kind != "product" or rule.eps > 0


def test_of_two_signals_the_one_that_says_nothing_gets_no_weight() -> None:
    queries = some(seed=4)
    weights = np.zeros_like(queries.weights[0])
    weights[np.arange(len(weights)), queries.targets] = 1
    noise = queries.weights[0]
    rule, figure = best_rule(
        Fusable(queries.distances, [weights, noise], queries.targets, None),
        metric=mean_reciprocal,
    )
    assert figure == 1
    assert rule.gammas[0] > rule.gammas[1]


def test_several_gammas_are_searched_one_after_another_over_the_grid() -> None:
    queries = some(q=40, g=6, signals=2, seed=5)
    rule = published_rule(queries, metric=mean_reciprocal, gammas=COLLABORATIVE_GAMMAS)
    grid = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 99.0)

    def figure(gammas: tuple[float, ...]) -> float:
        fused = queries.distances["first"]
        fused = (fused - fused.min(1, keepdims=True)) / np.ptp(fused, axis=1)[:, None]
        for weights, gamma in zip(queries.weights, gammas, strict=True):
            fused = fused * (1 + weights) ** -gamma
        return mean_reciprocal(target_ranks(fused, queries.targets))

    reached = figure(rule.gammas)
    # No step along one of the two gammas improves on it.
    for place, value in product(range(2), grid):
        other = list(rule.gammas)
        other[place] = value
        assert figure(tuple(other)) <= reached + 1e-12


def test_without_the_model_the_first_signal_takes_its_place() -> None:
    queries = some(seed=7, signals=2)
    alone = queries.without_model()
    first, second = queries.weights
    # No signal beside the first: it is ranked by its own scores.
    np.testing.assert_array_equal(alone.ranks(alone.distances["first"]), queries.ranks(-first))
    rule, figure = best_rule(alone, metric=mean_reciprocal)
    assert figure >= mean_reciprocal(queries.ranks(-first))
    assert mean_reciprocal(queries.ranks(rule.apply(1 - first, [second]))) == pytest.approx(figure)


def test_excluded_groups_are_never_ahead() -> None:
    queries = some(seed=6)
    gone = [np.array([(target + 1) % 12]) for target in queries.targets]
    hidden = Fusable(queries.distances, queries.weights, queries.targets, gone)
    fused = queries.distances["first"]
    np.testing.assert_array_equal(
        hidden.ranks(fused), target_ranks(fused, queries.targets, exclude=gone)
    )
