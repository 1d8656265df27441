import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.evaluation.clusters import (
    cluster_totals,
    describe_users,
    effective_number,
    number_users,
)


def test_users_are_numbered_as_they_come() -> None:
    np.testing.assert_array_equal(number_users(["b", "a", "b", "10", "a"]), [0, 1, 0, 2, 1])
    assert number_users([]).shape == (0,)


def test_totals_are_ascending_by_the_number_of_the_cluster() -> None:
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums, counts = cluster_totals(values, np.array([7, -1, 7]))
    np.testing.assert_array_equal(sums, [[2.0, 20.0], [5.0, 50.0]])
    np.testing.assert_array_equal(counts, [1, 2])


@pytest.mark.parametrize("shape", [(0, 1), (3,)])
def test_no_queries_have_no_totals(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(.*\); expected \[q, c\] with at least one q"):
        cluster_totals(np.zeros(shape), np.zeros(shape[0], dtype=int))


@pytest.mark.parametrize("shape", [(2,), (3, 1)])
def test_another_number_of_clusters_than_queries_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"clusters has shape \(.*\) for 3 queries; expected the"):
        cluster_totals(np.zeros((3, 1)), np.zeros(shape, dtype=int))


def test_few_users_with_many_queries_lower_the_effective_number() -> None:
    # (8 + 1 + 1)^2 / (64 + 1 + 1)
    assert effective_number(np.array([8, 1, 1])) == 100 / 66
    assert effective_number(np.array([0, 3])) == 1


@given(st.integers(1, 50), st.integers(1, 1000))
def test_users_with_equally_many_queries_all_count(users: int, queries: int) -> None:
    assert effective_number(np.full(users, queries)) == pytest.approx(users)


@given(st.lists(st.integers(1, 100), min_size=1))
def test_the_effective_number_is_between_one_and_the_number_of_users(counts: list[int]) -> None:
    assert 1 - 1e-9 <= effective_number(np.array(counts)) <= len(counts) + 1e-9


@pytest.mark.parametrize("counts", [[], [0, 0], [2, -1]])
def test_counts_without_a_query_have_no_effective_number(counts: list[int]) -> None:
    with pytest.raises(ValueError, match=r"counts is \[.*\]; expected counts of at least 0, not"):
        effective_number(np.array(counts, dtype=int))


def test_users_are_described_with_their_effective_number() -> None:
    # 1,200^2 / (1,000^2 + 200 * 1) = 1.44
    users = np.concatenate([np.zeros(1000, dtype=int), np.arange(1, 201)])
    assert describe_users(users) == "1,200 queries of 201 users, effectively 1"
    assert describe_users(np.arange(3)) == "3 queries of 3 users, effectively 3"
