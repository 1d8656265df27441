import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.recommender.scoring import ItemsByTitle
from bigrec.types import FloatArray, IntArray


def title_scores(scores: FloatArray, title_ids: IntArray, *, n_titles: int) -> FloatArray:
    return ItemsByTitle.of(title_ids, n_titles=n_titles).best(scores)


def test_a_title_gets_the_score_of_its_best_item() -> None:
    # items 0 and 2 have title 1
    actual = title_scores(
        np.array([[5.0, 1.0, 7.0], [2.0, 3.0, 0.0]]), np.array([1, 0, 1]), n_titles=2
    )
    np.testing.assert_array_equal(actual, [[1.0, 7.0], [3.0, 2.0]])


def test_a_single_row_of_scores_stays_a_single_row() -> None:
    actual = title_scores(np.array([5.0, 1.0, 7.0]), np.array([1, 0, 1]), n_titles=2)
    np.testing.assert_array_equal(actual, [1.0, 7.0])


@given(scores=st.lists(st.floats(-9, 9), min_size=1, max_size=9))
def test_scores_of_distinct_titles_stay_unchanged(scores: list[float]) -> None:
    actual = title_scores(np.array(scores), np.arange(len(scores)), n_titles=len(scores))
    np.testing.assert_array_equal(actual, scores)


def test_another_number_of_items_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scores has shape \(2, 3\) and title_ids has 4 items"):
        title_scores(np.zeros((2, 3)), np.zeros(4, dtype=int), n_titles=1)


@pytest.mark.parametrize("title_ids", [[0, 0, 2], [0, 1, 3], [-1, 0, 1]])
def test_title_ids_with_gaps_are_refused(title_ids: list[int]) -> None:
    with pytest.raises(ValueError, match="expected each of 0 to 2 at least once"):
        title_scores(np.zeros(3), np.array(title_ids), n_titles=3)
