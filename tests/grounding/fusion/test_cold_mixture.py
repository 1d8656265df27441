from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.errors import BundleError
from bigrec.grounding.fusion.cold_mixture import ColdMixture
from bigrec.grounding.fusion.cold_selection import mix_cold_titles, select_mixture
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.tuning import FusionInput
from bigrec.grounding.ranks import target_ranks
from bigrec.types import FloatArray, IntArray

COLD = np.array([False, False, True, True])
MIXTURE = ColdMixture(0, 0.25, 1.0, 2.0)


def reciprocal(ranks: IntArray) -> float:
    return float(np.mean(1 / (ranks + 1.0)))


def test_known_and_cold_titles_share_the_probability() -> None:
    fused = np.array([[0.0, 2.0, 5.0, 9.0]])
    weights = np.array([[0.9, 0.9, 0.5, 1.0]])
    probabilities = np.exp(-MIXTURE.apply(fused, weights, COLD))[0]
    # Distances 0 and 2 are 1 and -1 in deviations; weights 0.5 and 1 are 1 and 2 by the factor.
    known = np.exp([1, -1]) / np.exp([1, -1]).sum()
    cold = np.exp([1, 2]) / np.exp([1, 2]).sum()
    np.testing.assert_allclose(probabilities, [*(0.75 * known), *(0.25 * cold)])


def test_without_titles_of_either_kind_the_distances_stay() -> None:
    fused = np.array([[0.3, 0.1]])
    for cold in (np.array([True, True]), np.array([False, False])):
        assert MIXTURE.apply(fused, np.ones((1, 2)), cold) is fused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1, 0.5, 1.0, 1.0), "signal is -1"),
        ((0, 0.0, 1.0, 1.0), "share is 0.0"),
        ((0, 1.0, 1.0, 1.0), "share is 1.0"),
        ((0, 0.5, 0.0, 1.0), "known_sharpness is 0.0"),
        ((0, 0.5, 1.0, float("inf")), "cold_sharpness is inf"),
    ],
)
def test_values_out_of_range_are_refused(
    values: tuple[int, float, float, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ColdMixture(*values)


def random_queries(seed: int, *, exclude: bool, n_queries: int = 30) -> FusionInput:
    rng = np.random.default_rng(seed)
    n_titles = 12
    targets = rng.integers(n_titles, size=n_queries)
    targets[0] = 0
    cold = rng.random(n_titles) < 0.4
    cold[:2] = [True, False]
    return FusionInput(
        {"top1": rng.random((n_queries, n_titles))},
        [rng.random((n_queries, n_titles)) for _ in range(2)],
        targets,
        [rng.choice(n_titles, size=3, replace=False) for _ in targets] if exclude else None,
        cold,
        (1,),
    )


@given(seed=st.integers(0, 10_000), exclude=st.booleans())
def test_the_selected_mixture_reaches_what_selection_saw(seed: int, exclude: bool) -> None:
    queries = random_queries(seed, exclude=exclude)
    cold = queries.cold
    assert cold is not None
    seen: list[float] = []

    def metric(ranks: IntArray) -> float:
        seen.append(reciprocal(ranks))
        return seen[-1]

    fused = queries.distances["top1"]
    mixture = select_mixture(queries, fused, cold=cold, signals=[1], metric=metric)
    assert mixture is not None
    mixed = mixture.apply(fused, queries.weights[1], cold)
    ranks = target_ranks(mixed, queries.targets, exclude=queries.exclude)
    assert reciprocal(ranks) == pytest.approx(max(seen))


def test_without_a_cold_target_nothing_is_selected() -> None:
    queries = random_queries(0, exclude=False)
    known = np.array([True, *[False] * 11])
    cold = np.roll(known, int(np.setdiff1d(np.arange(12), queries.targets[1:])[0]))
    queries = FusionInput(
        {"top1": queries.distances["top1"][1:]},
        [weights[1:] for weights in queries.weights],
        queries.targets[1:],
        None,
        cold,
        (1,),
    )
    fused = queries.distances["top1"]
    found = select_mixture(queries, fused, cold=cold, signals=[1], metric=reciprocal)
    assert found is None


@dataclass(frozen=True)
class _Told:
    """Queries whose cold targets one signal knows; counts have them last."""

    n: int = 40

    def queries(self) -> FusionInput:
        rng = np.random.default_rng(0)
        n_titles = 20
        cold = np.arange(n_titles) >= 15
        targets = np.where(np.arange(self.n) % 4 == 0, 15 + np.arange(self.n) % 5, 0)
        distances = np.where(cold, 1.0, rng.random((self.n, n_titles)))
        distances[targets == 0, 0] = 0
        knowing: FloatArray = rng.random((self.n, n_titles)) / 2
        knowing[np.arange(self.n), targets] = 1
        return FusionInput({"top1": distances}, [knowing], targets, None, cold, (0,))


def test_cold_targets_that_a_signal_knows_are_found() -> None:
    queries = _Told().queries()
    rule = FusionRule("weighted_sum", "top1", (0.0,))
    mixed = mix_cold_titles(rule, queries, metric=reciprocal, tolerates=lambda *_: False)
    assert mixed.cold is not None
    plain, ranks = queries.rule_ranks(rule), queries.rule_ranks(mixed)
    is_cold = queries.targets >= 15
    assert plain[is_cold].min() >= 14
    assert ranks[is_cold].max() <= 5
    assert reciprocal(ranks) > reciprocal(plain)


def test_a_rule_that_is_good_enough_stays_as_it_is() -> None:
    queries = _Told().queries()
    rule = FusionRule("weighted_sum", "top1", (0.0,))
    assert mix_cold_titles(rule, queries, metric=reciprocal, tolerates=lambda *_: True) == rule
    assert mix_cold_titles(rule, queries, metric=lambda _: 0, tolerates=lambda *_: False) == rule


def test_a_rule_with_a_mixture_is_stored_whole() -> None:
    rule = FusionRule("rrf", "top1", cold=MIXTURE)
    assert FusionRule.from_json(rule.to_json()) == rule
    assert rule.describe(beams=False) == "rrf, cold titles 25%"
    rule.check_signals(1)
    with pytest.raises(ValueError, match="cold titles by signal 0"):
        rule.check_signals(0)


@pytest.mark.parametrize(
    "damage", [{"share": 1.5}, {"signal": -1}, {"known_sharpness": 0.0}, {"more": 1}]
)
def test_a_damaged_mixture_is_refused(damage: dict[str, float]) -> None:
    stored = FusionRule("rrf", "top1", cold=MIXTURE).to_json()
    with pytest.raises(BundleError, match="cold"):
        FusionRule.from_json({**stored, "cold": {**stored["cold"], **damage}})
