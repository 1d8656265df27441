"""The one-standard-error rule over windows and users."""

import numpy as np
import pytest

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.selection import (
    standard_errors,
    window_rows,
    window_weights,
    within_one_standard_error,
)

WINDOWS = np.array([0, 0, 0, 1])
USERS = np.array([0, 1, 2, 3])


def test_every_window_counts_the_same() -> None:
    np.testing.assert_allclose(window_weights(WINDOWS), [1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_with_a_user_for_each_query_the_error_is_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(50, 2))
    errors = standard_errors(differences, windows=np.zeros(50, dtype=np.int64), users=np.arange(50))
    np.testing.assert_allclose(errors, differences.std(axis=0, ddof=1) / 50**0.5)


def test_queries_of_one_user_are_one_observation() -> None:
    once = np.array([[0.0], [0.5], [0.1], [0.9]])
    twice = np.repeat(once, 2, axis=0)
    windows, users = np.zeros(4, dtype=np.int64), np.arange(4)
    np.testing.assert_allclose(
        standard_errors(twice, windows=np.repeat(windows, 2), users=np.repeat(users, 2)),
        standard_errors(once, windows=windows, users=users),
    )


def test_a_user_in_two_windows_is_one_observation() -> None:
    # What a user loses in one window it gains in the other: the mean is the same for all users.
    differences = np.array([[0.2], [-0.1], [-0.2], [0.1]])
    windows, users = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert standard_errors(differences, windows=windows, users=users)[0] == pytest.approx(0)
    assert standard_errors(differences, windows=windows, users=np.arange(4))[0] > 0.05


def test_of_a_single_user_nothing_is_known() -> None:
    users = np.zeros(4, dtype=np.int64)
    errors = standard_errors(np.ones((4, 2)), windows=WINDOWS, users=users)
    assert errors.tolist() == [0, 0]
    values = np.array([[1.0, 0.9]] * 4)
    within = within_one_standard_error(values, values[:, 0], windows=WINDOWS, users=users)
    assert within.tolist() == [True, False]


def test_a_candidate_is_within_by_its_paired_difference() -> None:
    best = np.array([1.0, 0.0, 1.0, 0.0])
    steady, noisy = best - 0.1, np.array([0.0, 1.0, 0.9, 0.0])
    values = np.stack([best, steady, noisy], axis=1)
    windows = np.zeros(4, dtype=np.int64)
    within = within_one_standard_error(values, best, windows=windows, users=USERS)
    # The steady one is worse for every user; the noisy one by 0.025 with an error of 0.41.
    assert within.tolist() == [True, False, True]


def test_every_query_has_a_window_and_a_user() -> None:
    with pytest.raises(ValueError, match=r"windows has 3 entries for 4 queries; expected one"):
        standard_errors(np.ones((4, 1)), windows=WINDOWS[:3], users=USERS)
    with pytest.raises(ValueError, match=r"clusters has shape"):
        standard_errors(np.ones((4, 1)), windows=WINDOWS, users=USERS[:3])


def test_the_simplest_method_within_the_error_is_selected_under_each_protocol() -> None:
    single, other = MethodId("A"), MethodId("B")
    pair = MethodId("", "tuned", ("A", "B"))
    hits, missed = 0, 99
    # Of four users the pair hits all, A all but one, B none.
    results = [
        MethodResult(other, True, np.full(8, missed)),
        MethodResult(pair, True, np.full(8, hits)),
        MethodResult(single, True, np.array([hits] * 7 + [missed])),
        MethodResult(pair, False, np.full(8, hits)),
    ]
    windows, users = np.repeat([0, 1], 4), np.tile(np.arange(4), 2)
    rows = window_rows(results, windows=windows, users=users)
    assert [(row.method, row.selected) for row in rows] == [
        (pair, True),
        (other, False),
        (pair, False),
        (single, True),
    ]
    *_, of_single = rows
    assert of_single.figures == (1.0, 0.75)
    assert (of_single.mean, of_single.behind) == (0.875, 0.125)
    assert of_single.deviation == pytest.approx(0.25 / 2**0.5)
    assert of_single.error == pytest.approx(0.125)
    assert window_rows([], windows=windows, users=users) == []
