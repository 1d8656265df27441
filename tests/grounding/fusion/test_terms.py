"""Terms of a fused score add up to it, by every formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.grounding.fusion.cold_mixture import ColdMixture
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.terms import score_terms, shares

RULES = [
    FusionRule("product", "top1", (2.0, 0.5), floor=0.25),
    FusionRule("weighted_sum", "top1", (2.0, 0.5)),
    FusionRule("weighted_sum", "top1", (2.0, 0.5), normalization="z_score"),
    FusionRule("rrf", "top1"),
    FusionRule("rrf", "top1", (2.0, 0.5)),
]


@pytest.mark.parametrize("rule", RULES, ids=FusionRule.describe)
@given(seed=st.integers(0, 1000), n_titles=st.integers(2, 6))
def test_terms_add_up_to_the_score_and_shares_to_one(
    rule: FusionRule, seed: int, n_titles: int
) -> None:
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 4, size=(2, n_titles)).astype(np.float64)
    weights = [rng.random((2, n_titles)), rng.random((1, n_titles))]
    terms = score_terms(rule, distances, weights)
    fused = rule.apply(distances, weights)
    expected = -np.log(fused) if rule.method == "product" else -fused
    np.testing.assert_allclose(terms.sum(axis=0), expected, rtol=1e-9, atol=1e-9)
    for title in range(n_titles):
        above, share = shares(terms[:, 0], title)
        assert (above >= 0).all()
        assert share.sum() == pytest.approx(1 if above.any() else 0)
        np.testing.assert_allclose(share * above.sum(), above, atol=1e-9)


def test_without_a_floor_the_product_leaves_the_nearest_title_to_the_distance() -> None:
    rule = FusionRule("product", "top1", (3.0,))
    terms = score_terms(rule, np.array([[0.0, 1.0, 2.0]]), [np.array([[0.5, 1.0, 0.0]])])
    above, share = shares(terms[:, 0], 0)
    assert above[0] == np.inf
    assert share.tolist() == [1.0, 0.0]
    # log 2 for half the largest distance, 3 log 2 for the signal
    above, share = shares(terms[:, 0], 1)
    np.testing.assert_allclose(above, [np.log(2), 3 * np.log(2)])
    np.testing.assert_allclose(share, [0.25, 0.75])


def test_a_title_that_is_last_everywhere_has_no_shares() -> None:
    rule = FusionRule("weighted_sum", "top1", (1.0,))
    terms = score_terms(rule, np.array([[0.0, 1.0]]), [np.array([[1.0, 0.0]])])
    assert shares(terms[:, 0], 1)[1].tolist() == [0.0, 0.0]


def test_a_cold_title_has_what_its_signal_gives_it() -> None:
    rule = FusionRule("weighted_sum", "top1", (2.0,), cold=ColdMixture(0, 0.1, 1.0, 6.0))
    distances, weights = np.array([[0.0, 1.0, 1.0]]), [np.array([[0.25, 0.0, 0.5]])]
    terms = score_terms(rule, distances, weights, cold=np.array([False, False, True]))
    assert terms[:, 0].tolist() == [[0, -1, -1], [0.5, 0, 3]]
    above, share = shares(terms[:, 0], 2)
    assert above.tolist() == [0, 3]
    assert share.tolist() == [0, 1]
