import numpy as np
import pytest

from bigrec.evaluation.protocol import (
    MethodResult,
    random_ranks,
    score_ranks,
    summarise,
    text_shares,
)


def test_a_summary_has_every_metric_of_every_method() -> None:
    results = [
        MethodResult("ours", exclude_seen=False, ranks=np.array([0, 3])),
        MethodResult("ours", exclude_seen=True, ranks=np.array([0, 1])),
    ]
    rows = summarise(results, seed=0, ks=(1, 3))
    assert [(row.method, row.exclude_seen, row.metric) for row in rows] == [
        ("ours", seen, metric)
        for seen in (False, True)
        for metric in ("hr@1", "hr@3", "ndcg@1", "ndcg@3", "mrr")
    ]
    # first result: ranks 0 and 3; second: ranks 0 and 1
    expected = [0.5, 0.5, 0.5, 0.5, (1 + 1 / 4) / 2]
    expected += [0.5, 1.0, 0.5, (1 + 1 / np.log2(3)) / 2, (1 + 1 / 2) / 2]
    np.testing.assert_allclose([row.value for row in rows], expected)


def test_a_summarys_intervals_hold_the_values() -> None:
    ranks = np.random.default_rng(0).integers(0, 100, size=200)
    rows = summarise([MethodResult("ours", exclude_seen=False, ranks=ranks)], seed=0)
    assert all(row.low < row.value < row.high for row in rows)


def test_a_method_has_the_same_intervals_in_any_company() -> None:
    one, other = (
        MethodResult(name, exclude_seen=False, ranks=np.arange(20) * factor)
        for name, factor in (("one", 1), ("other", 3))
    )
    both, alone = summarise([one, other], seed=0), summarise([other], seed=0)
    for together, single in zip(both[len(alone) :], alone, strict=True):
        assert (together.low, together.high) == pytest.approx((single.low, single.high))


def test_no_results_give_no_rows() -> None:
    assert summarise([], seed=0) == []


def test_results_over_other_queries_are_refused() -> None:
    results = [
        MethodResult("ours", exclude_seen=False, ranks=np.zeros(size, dtype=int)) for size in (2, 3)
    ]
    with pytest.raises(ValueError, match="results have 2 and 3 queries; expected the same queries"):
        summarise(results, seed=0)


def test_random_ranks_are_uniform_over_the_catalog() -> None:
    ranks = random_ranks(4, 8000, seed=0)
    np.testing.assert_allclose(np.bincount(ranks) / 8000, np.full(4, 0.25), atol=0.02)


def test_random_ranks_leave_excluded_groups_out() -> None:
    ranks = random_ranks(4, 100, seed=0, excluded_counts=np.repeat([0, 3], 50))
    assert ranks[:50].max() == 3
    np.testing.assert_array_equal(ranks[50:], np.zeros(50))


def test_random_ranks_repeat_with_their_seed() -> None:
    first, second, other = (random_ranks(100, 20, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_excluding_every_group_is_refused() -> None:
    with pytest.raises(ValueError, match="has 4 of 4 groups excluded; expected at least one"):
        random_ranks(4, 1, seed=0, excluded_counts=np.array([4]))


def test_another_number_of_excluded_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="excluded_counts has 1 entries; expected 2"):
        random_ranks(4, 2, seed=0, excluded_counts=np.array([1]))


def test_higher_scores_rank_first() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5]])
    np.testing.assert_array_equal(score_ranks(scores, np.array([2, 1])), [1, 2])


def test_one_row_of_scores_serves_every_query() -> None:
    scores = np.array([[3.0, 2.0, 1.0]])
    targets = np.arange(600) % 3
    np.testing.assert_array_equal(score_ranks(scores, targets), targets)


def test_a_constant_scorer_gets_the_worst_rank() -> None:
    np.testing.assert_array_equal(score_ranks(np.ones((1, 5)), np.array([0, 3])), [4, 4])


def test_excluded_groups_are_not_ahead() -> None:
    scores = np.array([[3.0, 2.0, 1.0]])
    exclude = [np.array([0]), np.array([2]), np.array([0, 1])]
    # last but one and last place move up by what is gone; an excluded target is a miss
    ranks = score_ranks(scores, np.array([1, 2, 2]), exclude=exclude)
    np.testing.assert_array_equal(ranks, [0, 3, 0])


def test_a_nan_score_is_refused() -> None:
    with pytest.raises(ValueError, match="holds NaN"):
        score_ranks(np.array([[np.nan, 1.0]]), np.array([0]))


def test_another_number_of_score_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 4\); expected \[3, g\] or \[1, g\]"):
        score_ranks(np.zeros((2, 4)), np.zeros(3, dtype=int))


def test_another_number_of_exclusions_is_refused() -> None:
    with pytest.raises(ValueError, match="exclude has 1 entries; expected 2"):
        score_ranks(np.zeros((1, 4)), np.array([0, 1]), exclude=[np.array([0])])


def test_text_shares_count_titles_repeats_and_different_texts() -> None:
    shares = text_shares(
        [["Alien", "Dune"], ["Alien", "no film"], ["nor this", "Brazil"], ["nor this", "x"]],
        {"Alien", "Brazil", "Dune"},
        histories=[["Alien"], ["Brazil"], ["nor this"], []],
    )
    assert shares == {
        "first_is_title": 2 / 4,
        "all_are_titles": 4 / 8,
        "first_in_history": 2 / 4,
        "first_distinct": 2 / 4,
    }


@pytest.mark.parametrize(
    ("texts", "histories"), [([], []), ([["a"]], []), ([["a"], []], [["b"], ["c"]])]
)
def test_missing_texts_are_refused(texts: list[list[str]], histories: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="at least one text for each query"):
        text_shares(texts, {"a"}, histories=histories)
