import numpy as np
import pytest
from scipy.stats import permutation_test

from bigrec.evaluation.bootstrap import bootstrap_intervals
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import query_values
from bigrec.evaluation.protocol import MethodResult, summarize
from bigrec.evaluation.significance import (
    compare_pairs,
    compare_to_reference,
    compare_to_shuffled,
    holm,
    over_seeds,
    paired_differences,
    randomization_p_values,
)
from bigrec.types import FloatArray, IntArray

BASE = MethodId("base")


def result(name: str, ranks: list[int] | IntArray, *, exclude_seen: bool = False) -> MethodResult:
    return MethodResult(MethodId(name), exclude_seen, np.asarray(ranks))


def by_query(differences: FloatArray, *, seed: int, resamples: int = 10_000) -> FloatArray:
    """p-values of queries that are each by another user."""
    clusters = np.arange(len(differences))
    return randomization_p_values(differences, clusters=clusters, seed=seed, resamples=resamples)


def test_every_other_result_is_compared_under_its_protocol() -> None:
    rows = compare_to_reference(
        [
            result("ours", [0, 3]),
            result("base", [5, 3]),
            result("base", [0, 9], exclude_seen=True),
            result("ours", [0, 1], exclude_seen=True),
        ],
        reference=BASE,
        users=np.arange(2),
        seed=0,
        metrics=("hr@1", "mrr"),
    )
    assert [(row.method.label, row.exclude_seen, row.metric) for row in rows] == [
        ("ours", False, "hr@1"),
        ("ours", False, "mrr"),
        ("ours", True, "hr@1"),
        ("ours", True, "mrr"),
    ]
    # seen included: hr@1 is 1/2 against 0, and the second query's reciprocal ranks are equal; seen
    # excluded: both have one hit, and the first query's reciprocal ranks are equal
    expected = [0.5, (1 - 1 / 6) / 2, 0.0, (1 / 2 - 1 / 10) / 2]
    np.testing.assert_allclose([row.difference for row in rows], expected)


def test_a_method_that_is_better_on_every_query_cannot_be_chance() -> None:
    ours, base = result("ours", np.zeros(40, dtype=int)), result("base", np.full(40, 99))
    (row,) = compare_to_reference(
        [ours, base], reference=BASE, users=np.arange(40), seed=0, metrics=["hr@10"]
    )
    assert (row.difference, row.low, row.high) == (1.0, 1.0, 1.0)
    # none of 10,000 sign flips comes near: the smallest possible p-value
    assert row.p_value == row.p_corrected == 1 / 10_001


def test_p_values_are_corrected_for_all_rows_of_the_call() -> None:
    rng = np.random.default_rng(0)
    results = [result(name, rng.integers(0, 20, size=60)) for name in ("base", "one", "two")]
    rows = compare_to_reference(results, reference=BASE, users=np.arange(60), seed=0)
    assert [row.metric for row in rows] == ["hr@10", "ndcg@10"] * 2
    np.testing.assert_allclose(
        [row.p_corrected for row in rows], holm(np.array([row.p_value for row in rows]))
    )


def test_a_method_gets_the_same_row_but_for_the_correction_in_any_company() -> None:
    rng = np.random.default_rng(0)
    base, one, other = (
        result(name, rng.integers(0, 20, size=60)) for name in ("base", "one", "other")
    )
    alone, both = (
        compare_to_reference(
            results, reference=BASE, users=np.arange(60) // 2, seed=0, metrics=["ndcg@5"]
        )
        for results in ([base, other], [base, one, other])
    )
    for field in ("difference", "low", "high", "p_value"):
        assert getattr(both[1], field) == pytest.approx(getattr(alone[0], field))


def test_a_reference_alone_gives_no_rows() -> None:
    results = [result("base", [0])]
    assert compare_to_reference(results, reference=BASE, users=np.arange(1), seed=0) == []


def test_each_method_can_have_another_reference() -> None:
    a, b, c = map(MethodId, "abc")
    results = [result("a", [0, 0]), result("b", [9, 0]), result("c", [9, 9]), result("d", [9, 9])]
    rows = compare_pairs(
        results,
        references={a: b, b: c},
        users=np.arange(2),
        seed=0,
        metrics=["hr@1", "hr@10"],
    )
    assert [(row.method, row.reference, row.metric, row.difference) for row in rows] == [
        (a, b, "hr@1", 0.5),
        (a, b, "hr@10", 0.0),
        (b, c, "hr@1", 0.5),
        (b, c, "hr@10", 0.0),
    ]


def test_a_reference_that_is_missing_under_a_protocol_is_refused() -> None:
    results = [result("base", [0]), result("ours", [0], exclude_seen=True)]
    with pytest.raises(
        ValueError,
        match=r"reference 'base' has no result with exclude_seen=True; there are ours\. Add it",
    ):
        compare_to_reference(results, reference=BASE, users=np.arange(1), seed=0)


def test_a_method_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'base' is there twice with exclude_seen=False; expected"):
        compare_to_reference([result("base", [0])] * 2, reference=BASE, users=np.arange(1), seed=0)


def test_another_number_of_queries_is_refused() -> None:
    # a single query would otherwise be spread over all of the reference's
    results = [result("base", [0, 1]), result("ours", [0])]
    with pytest.raises(ValueError, match="'ours' has 1 queries and the reference 'base' 2; expec"):
        compare_to_reference(results, reference=BASE, users=np.arange(1), seed=0)


def test_query_values_average_to_the_metrics_of_the_summary() -> None:
    ranks = np.random.default_rng(0).integers(0, 30, size=50)
    for row in summarize([result("ours", ranks)], users=np.arange(50), seed=0, ks=(1, 10)):
        assert query_values(ranks, row.metric).mean() == pytest.approx(row.value)


@pytest.mark.parametrize("metric", ["hr", "hr@", "hr@x", "hr@-1", "recall@10", "mrr@10", "HR@10"])
def test_an_unknown_metric_is_refused(metric: str) -> None:
    with pytest.raises(ValueError, match=f"Unknown metric '{metric}'; expected one such as 'hr@1"):
        query_values(np.array([0]), metric)


def test_the_difficulty_of_a_query_for_both_leaves_the_interval() -> None:
    reference = np.random.default_rng(0).integers(0, 100, size=(50, 1)) / 128
    paired = paired_differences(reference + 0.25, reference, clusters=np.arange(50) // 3, seed=0)
    np.testing.assert_array_equal([paired.difference, paired.low, paired.high], [[0.25]] * 3)


def test_the_interval_is_the_bootstrap_interval_of_the_differences() -> None:
    values, reference = np.random.default_rng(0).random((2, 30, 1))
    clusters = np.arange(30) // 2
    paired = paired_differences(values, reference, clusters=clusters, seed=5)
    low, high = bootstrap_intervals(values - reference, clusters=clusters, seed=5)
    assert (paired.low[0], paired.high[0]) == pytest.approx((low[0], high[0]))


def test_swapping_method_and_reference_changes_only_the_sign() -> None:
    values, reference = np.random.default_rng(0).random((2, 30, 1))
    clusters = np.arange(30) // 2
    forth = paired_differences(values, reference, clusters=clusters, seed=5)
    back = paired_differences(reference, values, clusters=clusters, seed=5)
    assert back.difference == -forth.difference
    assert back.p_value == forth.p_value
    np.testing.assert_allclose([back.low, back.high], [-forth.high, -forth.low])


def test_values_of_other_shape_than_the_reference_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 1\) and reference \(1, 1\); expected \[q, c"):
        paired_differences(np.zeros((3, 1)), np.zeros((1, 1)), clusters=np.arange(3), seed=0)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        # 2 of 8 sign patterns reach 3, all the same sign
        ([1.0, 1.0, 1.0], 2 / 8),
        # the sum is 2; of the 8 patterns 4 give 2 or -2, another 2 give 4 or -4, and 2 give 0
        ([2.0, 1.0, -1.0], 6 / 8),
        # only the two patterns without a mixed sign reach 0.1 * 10, however it is rounded
        ([0.1] * 7, 2 / 128),
    ],
)
def test_p_values_come_near_the_share_of_all_sign_patterns(
    differences: list[float], expected: float
) -> None:
    p_values = by_query(np.array(differences)[:, None], seed=0, resamples=40_000)
    assert p_values[0] == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("seed", range(4))
def test_p_values_agree_with_scipys_exact_permutation_test(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.4, 1, size=10)

    def mean_difference(one: FloatArray, other: FloatArray, axis: int) -> FloatArray:
        return np.asarray((one - other).mean(axis=axis))

    # 2^10 = 1,024 sign patterns, all of them looked at
    exact = permutation_test(
        (differences, np.zeros(10)), mean_difference, permutation_type="samples", n_resamples=np.inf
    )
    p_values = by_query(differences[:, None], seed=seed, resamples=40_000)
    assert p_values[0] == pytest.approx(exact.pvalue, abs=0.01)


def test_sums_that_differ_by_rounding_are_ties() -> None:
    # in floats 0.1 + 0.2 is not 0.3, yet these differences sum to 0 and every pattern reaches 0
    differences = np.array([0.1, 0.2, -0.3])
    assert differences.sum() != 0
    assert by_query(differences[:, None], seed=0) == 1


def test_methods_that_are_equal_on_every_query_have_p_value_1() -> None:
    assert by_query(np.zeros((5, 1)), seed=0) == 1


def test_many_queries_are_flipped_in_blocks() -> None:
    # 300,000 differences of one sign are never matched: (0 + 1) / (20 + 1)
    p_values = by_query(np.ones((300_000, 1)), seed=0, resamples=20)
    assert p_values == pytest.approx(1 / 21)


def test_the_same_seed_gives_the_same_p_values() -> None:
    differences = np.random.default_rng(0).normal(0.2, 1, size=(30, 2))
    first, second, other = (by_query(differences, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize("shape", [(0, 1), (3,)])
def test_no_queries_have_no_p_value(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[q, c\] with at least one query"):
        by_query(np.zeros(shape), seed=0)


def test_no_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="resamples is 0; expected at least 1"):
        by_query(np.ones((2, 1)), seed=0, resamples=0)


def test_holm_multiplies_the_smallest_by_all_and_the_next_by_one_less() -> None:
    # ascending 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04 raised to 0.06
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02])


def test_holm_stays_at_1() -> None:
    np.testing.assert_array_equal(holm(np.array([0.6, 0.7])), [1, 1])


def test_a_single_p_value_needs_no_correction() -> None:
    np.testing.assert_array_equal(holm(np.array([0.03])), [0.03])


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.nan])
def test_a_p_value_out_of_range_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"p_values is .*; expected numbers from 0 to 1"):
        holm(np.array([0.5, wrong]))


def test_seeds_are_summed_up_by_mean_and_sample_standard_deviation() -> None:
    # around the mean 4: squares 4, 0 and 4, divided by 3 - 1
    assert over_seeds({0: 2.0, 1: 4.0, 2: 6.0}) == (4.0, 2.0)


def test_a_single_seed_has_no_spread() -> None:
    with pytest.raises(ValueError, match="has 1 entries; expected at least two seeds"):
        over_seeds({0: 0.5})


def test_the_differences_of_a_user_change_their_sign_together() -> None:
    # Sums 3 and 1: of the 4 patterns 2 reach 4. By query, 2 of 16 would.
    differences, clusters = np.ones((4, 1)), np.array([1, 0, 1, 1])
    p_values = randomization_p_values(differences, clusters=clusters, seed=0, resamples=40_000)
    assert p_values[0] == pytest.approx(2 / 4, abs=0.01)


def test_p_values_are_those_of_signs_drawn_one_by_one() -> None:
    rng = np.random.default_rng(7)
    differences, clusters = rng.normal(0.2, 1, size=(40, 2)), rng.integers(0, 9, size=40)
    users = np.unique(clusters)
    kept = np.random.default_rng(5).integers(2, size=(500, len(users)), dtype=np.int8)
    sums = np.array(
        [
            (differences * (2.0 * signs - 1)[np.searchsorted(users, clusters)][:, None]).sum(axis=0)
            for signs in kept
        ]
    )
    reached = (np.abs(sums) >= np.abs(differences.sum(axis=0)) - 1e-9).sum(axis=0)
    p_values = randomization_p_values(differences, clusters=clusters, seed=5, resamples=500)
    np.testing.assert_array_equal(p_values, (reached + 1) / 501)


def test_the_order_and_repeats_of_queries_do_not_change_a_p_value() -> None:
    rng = np.random.default_rng(0)
    differences, clusters = rng.integers(-4, 8, size=(30, 1)) / 8, rng.integers(0, 6, size=30)
    order = np.tile(rng.permutation(30), 3)
    once, thrice = (
        randomization_p_values(differences[rows], clusters=clusters[rows], seed=0, resamples=500)
        for rows in (np.arange(30), order)
    )
    np.testing.assert_array_equal(thrice, once)


def test_rows_are_over_users() -> None:
    rng = np.random.default_rng(0)
    results = [result(name, rng.integers(0, 20, size=40)) for name in ("base", "ours")]
    users = np.arange(40) // 4
    (row,) = compare_to_reference(results, reference=BASE, users=users, seed=0, metrics=["mrr"])
    base, ours = (query_values(one.ranks, "mrr")[:, None] for one in results)
    paired = paired_differences(ours, base, clusters=users, seed=0)
    assert [row.low] == paired.low
    assert [row.high] == paired.high
    assert [row.p_value] == paired.p_value


def test_the_order_of_histories_is_worth_what_shuffling_loses() -> None:
    method, other = MethodId("A"), MethodId("B")
    ranks, shuffled = np.array([0, 0, 0, 99]), np.array([0, 99, 99, 99])
    results = [
        MethodResult(method, True, ranks),
        MethodResult(method, False, shuffled),
        MethodResult(other, True, ranks),
    ]
    rows = compare_to_shuffled(
        results,
        [MethodResult(method, True, shuffled), MethodResult(other, True, ranks)],
        users=np.arange(4),
        seed=0,
        metrics=("hr@10",),
    )
    assert [(row.method, row.reference, row.exclude_seen) for row in rows] == [
        (method, method, True),
        (other, other, True),
    ]
    assert [row.difference for row in rows] == [0.5, 0.0]
    # Four sign flips of two differences: in half of them both signs are equal.
    assert rows[0].p_value == pytest.approx(0.5, abs=0.02)
    assert rows[0].p_corrected == pytest.approx(min(1, 2 * rows[0].p_value))
    assert rows[1].p_value == 1


def test_a_shuffled_method_needs_its_result() -> None:
    with pytest.raises(ValueError, match=r"'A' has no result with exclude_seen=True"):
        compare_to_shuffled(
            [],
            [MethodResult(MethodId("A"), True, np.array([0]))],
            users=np.arange(1),
            seed=0,
        )
