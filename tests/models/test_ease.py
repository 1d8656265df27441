import numpy as np
import pytest

from bigrec.errors import DataError
from bigrec.models.ease import Ease
from tests.models.fakes import all_rows, interactions

# X = [[1, 1], [1, 0]], so with lambda = 1:
# X^T X + I = [[3, 1], [1, 2]] and P = [[2, -1], [-1, 3]] / 5
TWO_USERS = interactions([0, 1], [0])


def test_two_items_match_the_closed_form() -> None:
    # B_01 = -P_01 / P_11 = 1/3, B_10 = -P_10 / P_00 = 1/2
    model = Ease.fit(TWO_USERS, train=all_rows(TWO_USERS), n_items=2, regularization=1)
    np.testing.assert_allclose(model.item_weights, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


def test_scores_are_the_sum_of_the_rows_of_the_history() -> None:
    model = Ease.fit(TWO_USERS, train=all_rows(TWO_USERS), n_items=2, regularization=1)
    scores = model.scores([np.array([0]), np.array([1]), np.array([0, 1])])
    np.testing.assert_allclose(scores, [[0, 1 / 3], [1 / 2, 0], [1 / 2, 1 / 3]], rtol=1e-6)


def test_a_catalog_of_several_blocks_matches_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    n_items, regularization = 1100, 3.0
    histories = [rng.choice(n_items, 12, replace=False).tolist() for _ in range(300)]
    of = interactions(*histories)
    x = np.zeros((300, n_items))
    for user, history in enumerate(histories):
        x[user, history] = 1
    p = np.linalg.inv(x.T @ x + regularization * np.eye(n_items))
    expected = -p / np.diag(p)
    np.fill_diagonal(expected, 0)
    model = Ease.fit(of, train=all_rows(of), n_items=n_items, regularization=regularization)
    np.testing.assert_allclose(model.item_weights, expected, atol=1e-6)


def test_weights_of_items_are_single_precision() -> None:
    model = Ease.fit(TWO_USERS, train=all_rows(TWO_USERS), n_items=2)
    assert model.item_weights.dtype == np.float32


def test_interacting_with_an_item_again_changes_nothing() -> None:
    again = interactions([0, 1, 1, 0], [0])
    model = Ease.fit(again, train=all_rows(again), n_items=2, regularization=1)
    np.testing.assert_allclose(model.item_weights, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


def test_an_item_that_comes_twice_in_the_history_counts_once() -> None:
    model = Ease.fit(TWO_USERS, train=all_rows(TWO_USERS), n_items=2, regularization=1)
    once, twice = model.scores([np.array([0]), np.array([0, 0])])
    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize("regularization", [0.0, -1.0, float("nan"), float("inf")])
def test_a_regularization_that_is_not_positive_is_refused(regularization: float) -> None:
    with pytest.raises(ValueError, match=f"regularization is {regularization}; expected a number"):
        Ease.fit(TWO_USERS, train=all_rows(TWO_USERS), n_items=2, regularization=regularization)


def test_a_catalog_too_large_for_the_closed_form_is_refused_before_it_takes_memory() -> None:
    # 12 bytes * 40,000^2
    with pytest.raises(DataError, match=r"EASE of 40000 items needs about 19\.2 GB.*at most 10\.8"):
        Ease.fit(TWO_USERS, train=all_rows(TWO_USERS), n_items=40_000)


def test_a_regularization_lost_in_rounding_is_refused() -> None:
    same = interactions([0, 1])
    with pytest.raises(DataError, match=r"singular up to rounding\. Raise the regularization"):
        Ease.fit(same, train=all_rows(same), n_items=2, regularization=1e-30)
