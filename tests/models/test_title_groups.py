import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.models.title_groups import group_scores


def test_a_group_gets_the_score_of_its_best_item() -> None:
    # items 0 and 2 form group 1
    found = group_scores(
        np.array([[5.0, 1.0, 7.0], [2.0, 3.0, 0.0]]), np.array([1, 0, 1]), n_groups=2
    )
    np.testing.assert_array_equal(found, [[1.0, 7.0], [3.0, 2.0]])


def test_a_single_row_of_scores_stays_a_single_row() -> None:
    found = group_scores(np.array([5.0, 1.0, 7.0]), np.array([1, 0, 1]), n_groups=2)
    np.testing.assert_array_equal(found, [1.0, 7.0])


@given(scores=st.lists(st.floats(-9, 9), min_size=1, max_size=9))
def test_without_same_titled_items_nothing_changes(scores: list[float]) -> None:
    found = group_scores(np.array(scores), np.arange(len(scores)), n_groups=len(scores))
    np.testing.assert_array_equal(found, scores)


def test_another_number_of_items_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scores has shape \(2, 3\) and group has 4 items"):
        group_scores(np.zeros((2, 3)), np.zeros(4, dtype=int), n_groups=1)


@pytest.mark.parametrize("group", [[0, 0, 2], [0, 1, 3], [-1, 0, 1]])
def test_groups_that_are_not_numbered_through_are_refused(group: list[int]) -> None:
    with pytest.raises(ValueError, match="expected each of 0 to 2 at least once"):
        group_scores(np.zeros(3), np.array(group), n_groups=3)
