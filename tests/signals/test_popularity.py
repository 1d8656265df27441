import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.signals.popularity import Popularity

HISTORIES = [np.array([0, 1]), np.array([2])]
COUNTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=20).map(np.array)


def test_weights_are_counts_between_the_least_and_the_most_popular() -> None:
    # 2 of 12, 4 of 12 and 6 of 12: the middle one lies half-way
    weights = Popularity.fit(np.array([2, 6, 4])).weights(HISTORIES)
    np.testing.assert_array_equal(weights, [[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])


def test_scores_are_the_counts() -> None:
    scores = Popularity.fit(np.array([2, 6, 4])).scores(HISTORIES)
    np.testing.assert_array_equal(scores, [[2.0, 6.0, 4.0], [2.0, 6.0, 4.0]])


def test_equal_counts_weigh_nothing() -> None:
    np.testing.assert_array_equal(
        Popularity.fit(np.full(3, 7)).weights(HISTORIES), np.zeros((2, 3))
    )


@given(counts=COUNTS)
def test_weights_lie_between_0_and_1_in_the_order_of_the_counts(counts: np.ndarray) -> None:
    weights = Popularity.fit(counts).weights(HISTORIES[:1])[0]
    assert weights.min() >= 0
    assert weights.max() <= 1
    np.testing.assert_array_equal(
        np.argsort(weights, kind="stable"), np.argsort(counts, kind="stable")
    )


@given(counts=COUNTS, factor=st.integers(1, 50))
def test_weights_depend_on_shares_only(counts: np.ndarray, factor: int) -> None:
    np.testing.assert_allclose(
        Popularity.fit(counts * factor).weights(HISTORIES),
        Popularity.fit(counts).weights(HISTORIES),
    )


def test_every_history_gets_the_same_row_without_copying_it() -> None:
    assert Popularity.fit(np.array([2, 6, 4])).weights(HISTORIES).strides[0] == 0


def test_later_changes_of_the_counts_do_not_matter() -> None:
    counts = np.array([2, 6, 4])
    popularity = Popularity.fit(counts)
    counts[:] = 0
    np.testing.assert_array_equal(popularity.scores(HISTORIES[:1]), [[2.0, 6.0, 4.0]])


@pytest.mark.parametrize("shape", [(0,), (2, 2)])
def test_counts_that_are_no_list_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[n\], one count for each item"):
        Popularity.fit(np.zeros(shape, dtype=int))


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="counts holds -1; expected counts of at least 0"):
        Popularity.fit(np.array([3, -1]))
