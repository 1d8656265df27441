import numpy as np
import pytest

from bigrec.errors import BundleError
from bigrec.grounding.fusion.formulas import fuse_additive, fuse_reciprocal_rank, inject_all
from bigrec.grounding.fusion.rule import Rule

DISTANCES = np.array([[2.0, 3.0, 4.0, 6.0]])
WEIGHTS = [np.array([[0.0, 0.5, 1.0, 1.0]]), np.array([[1.0, 0.0, 0.5, 0.0]])]


def test_the_product_at_floor_0_is_the_published_injection() -> None:
    rule = Rule("product", "first", (2.0, 1.0))
    expected = inject_all(DISTANCES, WEIGHTS, gammas=(2.0, 1.0))
    np.testing.assert_array_equal(rule.apply(DISTANCES, WEIGHTS), expected)


def test_the_product_with_a_floor_raises_every_distance_first() -> None:
    rule = Rule("product", "all", (1.0, 0.0), eps=0.5)
    # normalised 0, 1/4, 1/2, 1; divided by 1, 3/2, 2, 2
    np.testing.assert_allclose(rule.apply(DISTANCES, WEIGHTS), [[0.5, 0.5, 0.5, 0.75]])


def test_the_sum_and_the_reciprocal_ranks_are_the_fusions_of_that_name() -> None:
    np.testing.assert_array_equal(
        Rule("sum", "all", (1.0, 0.5)).apply(DISTANCES, WEIGHTS),
        fuse_additive(DISTANCES, WEIGHTS, gammas=(1.0, 0.5)),
    )
    np.testing.assert_array_equal(
        Rule("reciprocal ranks", "all").apply(DISTANCES, WEIGHTS),
        fuse_reciprocal_rank(DISTANCES, WEIGHTS),
    )


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("product", "first", (2.0,)), "first beam, product, gamma 2"),
        (Rule("product", "all", (2.0, 0.5), 0.1), "all beams, product, floor 0.1, gamma 2, 0.5"),
        (Rule("sum", "all", (5.0,)), "all beams, sum, gamma 5"),
        (Rule("reciprocal ranks", "first"), "first beam, reciprocal ranks"),
    ],
)
def test_a_rule_tells_what_it_is_and_comes_back_from_json(rule: Rule, text: str) -> None:
    assert rule.describe() == text
    assert Rule.from_json(rule.to_json()) == rule


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="kind is 'vote': expected one of product, sum"):
        Rule("vote", "first")  # type: ignore[arg-type]


def test_a_damaged_rule_is_told() -> None:
    with pytest.raises(BundleError, match="stored rule for signals is damaged"):
        Rule.from_json({"kind": "sum", "beams": "all", "gammas": ["a"], "eps": 0})
