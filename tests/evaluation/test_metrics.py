from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.evaluation.metrics import (
    hit_per_query,
    hr_at,
    mrr,
    ndcg_at,
    ndcg_per_query,
    reciprocal_ranks,
)
from bigrec.types import UNRANKED, IntArray

RANKS = st.lists(st.integers(0, 100), min_size=1, max_size=20).map(np.array)


def test_hr_at_is_the_share_of_targets_within_k() -> None:
    assert hr_at(np.array([0, 1, 2, 9]), k=2) == 0.5


def test_ndcg_at_ignores_targets_below_k() -> None:
    # ranks 0, 1 and 9: gains 1, 1 / log2(3) and 0
    assert ndcg_at(np.array([0, 1, 9]), k=2) == pytest.approx((1 + 1 / np.log2(3)) / 3)


def test_mrr_is_the_mean_of_one_over_the_1_based_rank() -> None:
    assert mrr(np.array([0, 1, 3])) == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)


def test_values_come_one_a_query() -> None:
    ranks = np.array([0, 2, 3])
    np.testing.assert_array_equal(hit_per_query(ranks, k=3), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(ndcg_per_query(ranks, k=3), [1.0, 0.5, 0.0])
    np.testing.assert_allclose(reciprocal_ranks(ranks), [1.0, 1 / 3, 1 / 4])


def test_a_target_without_a_rank_is_a_miss_at_every_k() -> None:
    ranks = np.array([0, UNRANKED, 1, UNRANKED])
    np.testing.assert_array_equal(hit_per_query(ranks, k=10**6), [1.0, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(hit_per_query(ranks, k=2**63), [1.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(ndcg_per_query(ranks, k=10**6), [1.0, 0.0, 1 / np.log2(3), 0.0])
    np.testing.assert_array_equal(reciprocal_ranks(ranks), [1.0, 0.0, 0.5, 0.0])
    assert mrr(ranks) == 0.375


@given(ranks=RANKS)
def test_at_1_hit_rate_and_ndcg_are_the_same(ranks: IntArray) -> None:
    assert hr_at(ranks, k=1) == ndcg_at(ranks, k=1)


@given(ranks=RANKS, k=st.integers(1, 100))
def test_a_longer_list_is_never_worse(ranks: IntArray, k: int) -> None:
    assert hr_at(ranks, k=k + 1) >= hr_at(ranks, k=k)
    assert ndcg_at(ranks, k=k + 1) >= ndcg_at(ranks, k=k)


def test_metrics_equal_those_of_ranx(monkeypatch: pytest.MonkeyPatch) -> None:
    # Compiling ranx takes a minute and warns of unsafe casts; five queries need no compiler.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    from ranx import Qrels, Run, evaluate

    ranks = np.array([0, 1, 4, 6, 30])
    items = [f"i{number}" for number in range(40)]
    scores = {item: float(-place) for place, item in enumerate(items)}
    qrels = Qrels({f"q{query}": {items[rank]: 1} for query, rank in enumerate(ranks)})
    run = Run({f"q{query}": scores for query in range(len(ranks))})
    metrics = {"mrr": mrr(ranks)}
    for k in (1, 5, 20):
        metrics |= {f"hit_rate@{k}": hr_at(ranks, k=k), f"ndcg@{k}": ndcg_at(ranks, k=k)}
    assert metrics == pytest.approx(evaluate(qrels, run, list(metrics)))


def test_k_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="k is 0; expected at least 1"):
        hr_at(np.array([0]), k=0)


@pytest.mark.parametrize("k", [True, 2.0, np.float64(2), np.bool_(1), "2", None])
def test_k_that_is_no_whole_number_is_refused(k: Any) -> None:
    for metric in (hr_at, ndcg_at):
        with pytest.raises(TypeError, match=r"k is .*; expected a whole number"):
            metric(np.array([0]), k=k)


@pytest.mark.parametrize("ranks", [[0.0, np.nan], [1.5], [True, False]])
def test_ranks_that_are_no_whole_numbers_are_refused(ranks: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"ranks are .*; expected whole numbers"):
        mrr(np.array(ranks))


def test_no_queries_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(0,\); expected \[q\] with at least one query"):
        ndcg_at(np.zeros(0, dtype=int), k=1)


def test_a_negative_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="ranks holds -1; expected 0-based ranks"):
        mrr(np.array([0, -1]))
