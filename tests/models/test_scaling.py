import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bigrec.models.scaling import minmax
from bigrec.types import FloatArray

SCORES = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e9, 1e9)
)


def test_every_query_is_scaled_by_its_own_least_and_greatest_score() -> None:
    # 4 lies half-way from 2 to 6; -1 a quarter of the way from -2 to 2
    found = minmax(np.array([[2.0, 6.0, 4.0], [2.0, -2.0, -1.0]]))
    np.testing.assert_array_equal(found, [[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]])


def test_a_row_of_equal_scores_becomes_0() -> None:
    np.testing.assert_array_equal(minmax(np.array([[7.0, 7.0], [0.0, 2.0]])), [[0, 0], [0, 1]])


def test_the_dtype_of_the_scores_stays() -> None:
    assert minmax(np.ones((1, 2), dtype=np.float32)).dtype == np.float32


def test_no_queries_give_no_rows() -> None:
    assert minmax(np.zeros((0, 3))).shape == (0, 3)


def test_the_scores_stay_as_they_are() -> None:
    scores = np.array([[2.0, 6.0]])
    minmax(scores)
    np.testing.assert_array_equal(scores, [[2.0, 6.0]])


@given(scores=SCORES)
def test_weights_lie_between_0_and_1_and_keep_the_order(scores: FloatArray) -> None:
    weights = minmax(scores)
    assert weights.min() >= 0
    assert weights.max() <= 1
    in_order = np.take_along_axis(weights, np.argsort(scores, axis=1), axis=1)
    assert (np.diff(in_order, axis=1) >= 0).all()


@pytest.mark.parametrize("shape", [(3,), (2, 0)])
def test_scores_that_are_no_matrix_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[q, n\] with at least one item"):
        minmax(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="scores of query 1 hold NaN or infinity"):
        minmax(np.array([[1.0, 2.0], [value, 2.0]]))
