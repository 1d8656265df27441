import numpy as np
import pytest

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import (
    MethodResult,
    random_ranks,
    summarize,
)

OURS = MethodId("ours")


def test_a_summary_has_every_metric_of_every_method() -> None:
    results = [
        MethodResult(OURS, exclude_seen=False, ranks=np.array([0, 3])),
        MethodResult(OURS, exclude_seen=True, ranks=np.array([0, 1])),
    ]
    rows = summarize(results, users=np.arange(2), seed=0, ks=(1, 3))
    assert [(row.method, row.exclude_seen, row.metric) for row in rows] == [
        (OURS, seen, metric)
        for seen in (False, True)
        for metric in ("hr@1", "hr@3", "ndcg@1", "ndcg@3", "mrr")
    ]
    # first result: ranks 0 and 3; second: ranks 0 and 1
    expected = [0.5, 0.5, 0.5, 0.5, (1 + 1 / 4) / 2]
    expected += [0.5, 1.0, 0.5, (1 + 1 / np.log2(3)) / 2, (1 + 1 / 2) / 2]
    np.testing.assert_allclose([row.value for row in rows], expected)


def test_a_summarys_intervals_hold_the_values() -> None:
    ranks = np.random.default_rng(0).integers(0, 100, size=200)
    results = [MethodResult(OURS, exclude_seen=False, ranks=ranks)]
    rows = summarize(results, users=np.arange(200), seed=0)
    assert all(row.low < row.value < row.high for row in rows)


def test_a_method_has_the_same_intervals_in_any_company() -> None:
    one, other = (
        MethodResult(MethodId(name), exclude_seen=False, ranks=np.arange(20) * factor)
        for name, factor in (("one", 1), ("other", 3))
    )
    users = np.arange(20) // 3
    both, alone = (summarize(some, users=users, seed=0) for some in ([one, other], [other]))
    for together, single in zip(both[len(alone) :], alone, strict=True):
        assert (together.low, together.high) == pytest.approx((single.low, single.high))


def test_no_results_give_no_rows() -> None:
    assert summarize([], users=np.arange(0), seed=0) == []


def test_results_over_other_queries_are_refused() -> None:
    results = [
        MethodResult(OURS, exclude_seen=False, ranks=np.zeros(size, dtype=int)) for size in (2, 3)
    ]
    with pytest.raises(ValueError, match="results have 2 and 3 queries; expected the same queries"):
        summarize(results, users=np.arange(2), seed=0)


def test_users_of_other_queries_are_refused() -> None:
    results = [MethodResult(OURS, exclude_seen=False, ranks=np.zeros(2, dtype=int))]
    with pytest.raises(ValueError, match=r"clusters has shape \(3,\) for 2 queries; expected the"):
        summarize(results, users=np.arange(3), seed=0)


def test_random_ranks_are_uniform_over_the_catalog() -> None:
    ranks = random_ranks(4, 8000, seed=0)
    np.testing.assert_allclose(np.bincount(ranks) / 8000, np.full(4, 0.25), atol=0.02)


def test_random_ranks_do_not_count_excluded_titles() -> None:
    ranks = random_ranks(4, 100, seed=0, excluded_counts=np.repeat([0, 3], 50))
    assert ranks[:50].max() == 3
    np.testing.assert_array_equal(ranks[50:], np.zeros(50))


def test_random_ranks_repeat_with_their_seed() -> None:
    first, second, other = (random_ranks(100, 20, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_excluding_every_title_is_refused() -> None:
    with pytest.raises(ValueError, match="has 4 of 4 titles excluded; expected at least one"):
        random_ranks(4, 1, seed=0, excluded_counts=np.array([4]))


def test_another_number_of_excluded_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="excluded_counts has 1 entries; expected 2"):
        random_ranks(4, 2, seed=0, excluded_counts=np.array([1]))
