import numpy as np
import pytest

from bigrec.errors import DataError
from bigrec.models.ease import Ease
from tests.models.fakes import every_row, interactions

# X = [[1, 1], [1, 0]], so with l2 = 1: X^T X + I = [[3, 1], [1, 2]] and P = [[2, -1], [-1, 3]] / 5
TWO_USERS = interactions([0, 1], [0])


def test_two_items_match_the_closed_form() -> None:
    # B_01 = -P_01 / P_11 = 1/3, B_10 = -P_10 / P_00 = 1/2
    signal = Ease.fit(TWO_USERS, train=every_row(TWO_USERS), n_items=2, l2=1)
    np.testing.assert_allclose(signal.item_weights, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


def test_scores_are_the_sum_of_the_rows_of_the_history() -> None:
    signal = Ease.fit(TWO_USERS, train=every_row(TWO_USERS), n_items=2, l2=1)
    found = signal.scores([np.array([0]), np.array([1]), np.array([0, 1])])
    np.testing.assert_allclose(found, [[0, 1 / 3], [1 / 2, 0], [1 / 2, 1 / 3]], rtol=1e-6)


def test_a_catalog_of_several_blocks_matches_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    n_items, l2 = 1100, 3.0
    histories = [rng.choice(n_items, 12, replace=False).tolist() for _ in range(300)]
    of = interactions(*histories)
    x = np.zeros((300, n_items))
    for user, history in enumerate(histories):
        x[user, history] = 1
    p = np.linalg.inv(x.T @ x + l2 * np.eye(n_items))
    expected = -p / np.diag(p)
    np.fill_diagonal(expected, 0)
    found = Ease.fit(of, train=every_row(of), n_items=n_items, l2=l2)
    np.testing.assert_allclose(found.item_weights, expected, atol=1e-6)


def test_weights_of_items_are_single_precision() -> None:
    signal = Ease.fit(TWO_USERS, train=every_row(TWO_USERS), n_items=2)
    assert signal.item_weights.dtype == np.float32


def test_interacting_with_an_item_again_changes_nothing() -> None:
    again = interactions([0, 1, 1, 0], [0])
    signal = Ease.fit(again, train=every_row(again), n_items=2, l2=1)
    np.testing.assert_allclose(signal.item_weights, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


def test_an_item_that_comes_twice_in_the_history_counts_once() -> None:
    signal = Ease.fit(TWO_USERS, train=every_row(TWO_USERS), n_items=2, l2=1)
    once, twice = signal.scores([np.array([0]), np.array([0, 0])])
    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize("l2", [0.0, -1.0, float("nan"), float("inf")])
def test_an_l2_that_regularises_nothing_is_refused(l2: float) -> None:
    with pytest.raises(ValueError, match=f"l2 is {l2}; expected a number above 0"):
        Ease.fit(TWO_USERS, train=every_row(TWO_USERS), n_items=2, l2=l2)


def test_a_catalog_too_large_for_the_closed_form_is_refused_before_it_takes_memory() -> None:
    # 12 bytes * 40,000^2
    with pytest.raises(DataError, match=r"EASE of 40000 items needs about 19\.2 GB.*at most 10\.8"):
        Ease.fit(TWO_USERS, train=every_row(TWO_USERS), n_items=40_000)


def test_an_l2_lost_in_rounding_is_told() -> None:
    same = interactions([0, 1])
    with pytest.raises(DataError, match=r"singular to rounding\. Raise l2"):
        Ease.fit(same, train=every_row(same), n_items=2, l2=1e-30)
