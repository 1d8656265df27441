import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.grounding.search.topk import (
    count_rows,
    empty_lists,
    flat_pairs,
    kth_bound,
    merge_smallest,
    part_minima,
)


@given(seed=st.integers(0, 10_000), k=st.sampled_from([1, 2, 10, 699, 700]))
def test_at_least_k_of_a_row_do_not_exceed_the_bound(seed: int, k: int) -> None:
    values = np.random.default_rng(seed).integers(50, size=(3, 700)).astype(float)
    assert (np.count_nonzero(values <= kth_bound(values, k)[:, None], axis=1) >= k).all()


def test_the_bound_of_a_narrow_row_is_its_kth_smallest() -> None:
    np.testing.assert_array_equal(kth_bound(np.array([[4.0, 1.0, 3.0, 2.0]]), 2), [2.0])


def test_there_are_at_least_k_parts_and_a_short_row_is_not_divided() -> None:
    # 700 columns are 70 parts of 10 where k is 10, and 140 of 5 where it is 20
    row = np.arange(700.0)[None]
    np.testing.assert_array_equal(part_minima(row, 10), row[:, :70])
    np.testing.assert_array_equal(part_minima(row, 20), row[:, :140])
    np.testing.assert_array_equal(part_minima(row, 700), row)


def test_candidates_are_merged_in_order_and_ties_go_after_earlier_values() -> None:
    values, numbers = merge_smallest(
        np.array([[1.0, 2.0], [5.0, np.inf]]),
        np.array([[4, 0], [3, -1]]),
        row=np.array([0, 0, 1]),
        value=np.array([2.0, 1.5, 4.0]),
        number=np.array([7, 8, 9]),
    )
    np.testing.assert_array_equal(values, [[1.0, 1.5], [4.0, 5.0]])
    np.testing.assert_array_equal(numbers, [[4, 8], [9, 3]])


def test_no_candidates_change_nothing() -> None:
    none = np.zeros(0, dtype=np.int64)
    values, numbers = merge_smallest(*empty_lists(1, k=2), row=none, value=np.zeros(0), number=none)
    np.testing.assert_array_equal(values, [[np.inf, np.inf]])
    np.testing.assert_array_equal(numbers, [[-1, -1]])


def test_flat_pairs_name_the_row_of_every_entry() -> None:
    row, number = flat_pairs([np.array([5, 6]), np.zeros(0, dtype=int), np.array([7])])
    np.testing.assert_array_equal(row, [0, 0, 2])
    np.testing.assert_array_equal(number, [5, 6, 7])


@pytest.mark.parametrize("count", [0, 2])
def test_rows_are_counted_one_by_one(count: int) -> None:
    mask = np.array([[True, False, True], [False, False, False]])[:count]
    np.testing.assert_array_equal(count_rows(mask), [2, 0][:count])
