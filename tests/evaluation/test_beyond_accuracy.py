import numpy as np
import pytest

from bigrec.evaluation.beyond_accuracy import (
    AgreementHits,
    agreement_hits,
    catalog_coverage,
    gini,
    novelty,
    overlap,
)
from bigrec.types import IntArray

LISTS = np.array([[0, 1, 2], [0, 3, -1]])


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 8), (2, 3 / 8), (3, 4 / 8)])
def test_coverage_is_the_share_of_the_catalog_in_any_list(k: int, expected: float) -> None:
    assert catalog_coverage(LISTS, n_items=8, k=k) == expected


def test_no_recommended_item_covers_nothing() -> None:
    assert catalog_coverage(np.full((2, 3), -1), n_items=8, k=3) == 0


def test_gini_is_0_where_every_item_is_recommended_equally_often() -> None:
    assert gini(np.array([[0, 1], [2, 3]]), n_items=4, k=2) == 0


def test_gini_is_almost_1_where_one_item_has_every_place() -> None:
    # 1 - 1/4
    assert gini(np.array([[2], [2], [2]]), n_items=4, k=1) == pytest.approx(3 / 4)


def test_gini_counts_items_that_are_never_recommended() -> None:
    # frequencies 0, 1, 1, 1, 2: (-4 * 0 - 2 + 0 + 2 + 4 * 2) / (5 * 5)
    assert gini(LISTS, n_items=5, k=3) == pytest.approx(8 / 25)


def test_gini_is_half_the_relative_mean_absolute_difference() -> None:
    rng = np.random.default_rng(0)
    lists = np.stack([rng.choice(12, 4, replace=False) for _ in range(9)])
    x = np.bincount(lists.ravel(), minlength=12)
    expected = np.abs(x[:, None] - x).mean() / (2 * x.mean())
    assert gini(lists, n_items=12, k=4) == pytest.approx(expected)


def test_novelty_is_the_mean_of_minus_log2_of_the_smoothed_probability() -> None:
    # smoothed counts 8, 4, 2, 1 and 1 of 16: 1, 2, 3, 4 and 4 bits; the lists hold 0, 1, 2, 0, 3
    assert novelty(LISTS, np.array([7, 3, 1, 0, 0]), k=3) == pytest.approx((1 + 2 + 3 + 1 + 4) / 5)


def test_novelty_of_a_uniform_catalog_is_log2_of_its_size() -> None:
    assert novelty(LISTS, np.full(8, 5), k=2) == pytest.approx(3)


def test_novelty_is_over_the_first_k_only() -> None:
    # both first places hold item 0: 8 of 16
    assert novelty(LISTS, np.array([7, 3, 1, 0, 0]), k=1) == pytest.approx(1)


def test_the_novelty_and_gini_of_empty_lists_are_refused() -> None:
    empty = np.full((2, 3), -1)
    with pytest.raises(ValueError, match="No list holds an item in its first 3 places; expected"):
        novelty(empty, np.ones(4, dtype=int), k=3)
    with pytest.raises(ValueError, match="No list holds an item in its first 3 places; expected"):
        gini(empty, n_items=4, k=3)


def test_negative_counts_have_no_novelty() -> None:
    with pytest.raises(ValueError, match="counts holds -1; expected counts of at least 0"):
        novelty(LISTS, np.array([1, 1, 1, -1]), k=3)


def test_overlap_is_the_mean_share_of_common_items_in_any_order() -> None:
    other = np.array([[2, 0, 5], [4, 3, 1]])
    # first query 0 and 2 in common, second query 3
    assert overlap(LISTS, other, k=3) == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_overlap_is_over_the_first_k_only() -> None:
    other = np.array([[2, 0, 5], [0, 4, 3]])
    # first query none of [0] and [2], second query 0
    assert overlap(LISTS, other, k=1) == pytest.approx((0 + 1) / 2)


def test_unused_places_are_not_common() -> None:
    assert overlap(LISTS, LISTS, k=3) == pytest.approx((3 / 3 + 2 / 3) / 2)


def test_items_on_which_both_agree_are_counted_apart() -> None:
    ours = np.array([[0, 1], [0, 1], [0, 1], [0, -1]])
    other = np.array([[0, 2], [1, 0], [2, 3], [-1, -1]])
    # both list: 0; 0 and 1; none; none. One lists: 1 and 2; none; 0, 1, 2 and 3; 0.
    hits = agreement_hits(ours, other, np.array([0, 3, 2, 9]), k=2)
    assert hits == AgreementHits(items_both=3, hits_both=1, items_one=7, hits_one=1)
    assert hits.rate_both == pytest.approx(1 / 3)
    assert hits.rate_one == pytest.approx(1 / 7)
    assert hits.ratio == pytest.approx(7 / 3)


def test_agreement_is_over_the_first_k_only() -> None:
    ours, other = np.array([[0, 1]]), np.array([[2, 0]])
    hits = agreement_hits(ours, other, np.array([0]), k=1)
    assert hits == AgreementHits(items_both=0, hits_both=0, items_one=2, hits_one=1)


def test_the_two_methods_can_change_places() -> None:
    rng = np.random.default_rng(0)
    ours, other = (np.stack([rng.choice(9, 4, replace=False) for _ in range(20)]) for _ in range(2))
    targets = rng.integers(9, size=20)
    assert agreement_hits(ours, other, targets, k=4) == agreement_hits(other, ours, targets, k=4)


def test_a_rate_of_no_items_is_none() -> None:
    apart = AgreementHits(items_both=0, hits_both=0, items_one=2, hits_one=1)
    assert (apart.rate_both, apart.rate_one, apart.ratio) == (None, 0.5, None)
    alike = AgreementHits(items_both=2, hits_both=1, items_one=0, hits_one=0)
    assert (alike.rate_both, alike.rate_one, alike.ratio) == (0.5, None, None)


def test_a_ratio_to_no_hits_is_none() -> None:
    assert AgreementHits(items_both=2, hits_both=1, items_one=2, hits_one=0).ratio is None


def test_a_target_that_is_padding_is_refused() -> None:
    # it would match the padding of every short list
    with pytest.raises(ValueError, match="targets holds -1; expected item numbers of at least 0"):
        agreement_hits(LISTS, LISTS, np.array([0, -1]), k=3)


def test_another_number_of_targets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"targets has shape \(1,\); expected \[2\], one for each"):
        agreement_hits(LISTS, LISTS, np.array([0]), k=3)


def test_lists_of_other_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="lists_a has 2 queries and lists_b 1; expected the same"):
        overlap(LISTS, LISTS[:1], k=3)


@pytest.mark.parametrize("k", [0, 4])
def test_a_length_beyond_the_lists_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k}; expected 1 to 3, the length of the lists"):
        catalog_coverage(LISTS, n_items=8, k=k)


@pytest.mark.parametrize("lists", [np.zeros((0, 3), dtype=int), np.zeros(3, dtype=int)])
def test_lists_of_no_query_are_refused(lists: IntArray) -> None:
    with pytest.raises(
        ValueError, match=r"lists has shape .*; expected \[q, k\] with at least one"
    ):
        catalog_coverage(lists, n_items=8, k=3)


@pytest.mark.parametrize("wrong", [-2, 3])
def test_an_item_outside_of_the_catalog_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"lists holds item {wrong}; expected numbers from 0 to 2"):
        catalog_coverage(np.array([[0, wrong]]), n_items=3, k=2)


def test_items_of_an_unknown_catalog_are_at_least_0() -> None:
    with pytest.raises(ValueError, match="lists holds item -2; expected numbers from 0, or -1 whe"):
        overlap(np.array([[0, -2]]), np.array([[0, 1]]), k=2)


def test_a_catalog_without_items_is_refused() -> None:
    with pytest.raises(ValueError, match="n_items is 0; expected at least 1"):
        catalog_coverage(LISTS, n_items=0, k=1)


def test_a_list_with_an_item_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="The list of query 1 holds item 4 twice; expected each"):
        overlap(np.array([[0, 1, 2], [4, 3, 4]]), LISTS, k=3)
