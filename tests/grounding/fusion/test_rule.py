import numpy as np
import pytest

from bigrec.errors import BundleError
from bigrec.grounding.fusion.formulas import fuse_product, fuse_rrf, fuse_weighted_sum
from bigrec.grounding.fusion.rule import FusionRule

DISTANCES = np.array([[2.0, 3.0, 4.0, 6.0]])
WEIGHTS = [np.array([[0.0, 0.5, 1.0, 1.0]]), np.array([[1.0, 0.0, 0.5, 0.0]])]


def test_the_product_at_floor_0_is_the_papers() -> None:
    rule = FusionRule("product", "top1", (2.0, 1.0))
    expected = fuse_product(DISTANCES, WEIGHTS, gammas=(2.0, 1.0))
    np.testing.assert_array_equal(rule.apply(DISTANCES, WEIGHTS), expected)


def test_the_product_with_a_floor_raises_every_distance_first() -> None:
    rule = FusionRule("product", "all", (1.0, 0.0), floor=0.5)
    # normalized 0, 1/4, 1/2, 1; divided by 1, 3/2, 2, 2
    np.testing.assert_allclose(rule.apply(DISTANCES, WEIGHTS), [[0.5, 0.5, 0.5, 0.75]])


def test_sums_and_reciprocal_ranks_are_the_fusions_of_that_name() -> None:
    for normalization in ("min_max", "z_score"):
        rule = FusionRule("weighted_sum", "all", (1.0, 0.5), normalization=normalization)
        np.testing.assert_array_equal(
            rule.apply(DISTANCES, WEIGHTS),
            fuse_weighted_sum(DISTANCES, WEIGHTS, gammas=(1.0, 0.5), normalization=normalization),
        )
    np.testing.assert_array_equal(
        FusionRule("rrf", "all").apply(DISTANCES, WEIGHTS), fuse_rrf(DISTANCES, WEIGHTS)
    )


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (FusionRule("product", "top1", (2.0,)), "top beam, product, gamma 2"),
        (
            FusionRule("product", "all", (2.0, 0.5), 0.1),
            "all beams, product, floor 0.1, gamma 2, 0.5",
        ),
        (FusionRule("weighted_sum", "all", (5.0,)), "all beams, weighted sum (min-max), gamma 5"),
        (
            FusionRule("weighted_sum", "top1", (5.0,), normalization="z_score"),
            "top beam, weighted sum (z-score), gamma 5",
        ),
        (FusionRule("rrf", "top1"), "top beam, rrf"),
    ],
)
def test_a_rule_describes_itself_and_comes_back_from_json(rule: FusionRule, text: str) -> None:
    assert rule.describe() == text
    assert FusionRule.from_json(rule.to_json()) == rule


def test_an_unknown_method_or_normalization_is_named() -> None:
    with pytest.raises(ValueError, match="method is 'vote': expected one of product, weighted_sum"):
        FusionRule("vote", "top1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="normalization is 'l1': expected one of min_max, z_score"):
        FusionRule("weighted_sum", "top1", normalization="l1")  # type: ignore[arg-type]


def test_a_damaged_rule_is_refused() -> None:
    damaged = {**FusionRule("product", "all", (1.0,)).to_json(), "gammas": ["a"]}
    with pytest.raises(BundleError, match="stored fusion rule is damaged"):
        FusionRule.from_json(damaged)
