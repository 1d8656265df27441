import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bigrec.grounding.fusion.formulas import (
    COLLABORATIVE_GAMMAS,
    POPULARITY_GAMMAS,
    discount,
    fuse_product,
    fuse_rrf,
    fuse_weighted_sum,
    min_max,
    z_score,
)
from bigrec.types import FloatArray

# normalized: 0, 0.25, 0.5, 1
DISTANCES = np.array([[2.0, 3.0, 4.0, 6.0]])
WEIGHTS = np.array([[0.0, 0.5, 1.0, 1.0]])
VALUES = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e9, 1e9)
)


def test_every_query_is_scaled_by_its_own_minimum_and_maximum() -> None:
    # 4 lies half-way from 2 to 6; -1 a quarter of the way from -2 to 2
    scaled = min_max(np.array([[2.0, 6.0, 4.0], [2.0, -2.0, -1.0]]))
    np.testing.assert_array_equal(scaled, [[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]])


def test_a_row_of_equal_values_becomes_0() -> None:
    np.testing.assert_array_equal(min_max(np.array([[7.0, 7.0], [0.0, 2.0]])), [[0, 0], [0, 1]])


def test_min_max_keeps_the_dtype() -> None:
    assert min_max(np.ones((1, 2), dtype=np.float32)).dtype == np.float32


def test_no_queries_give_no_rows() -> None:
    assert min_max(np.zeros((0, 3))).shape == (0, 3)


def test_min_max_keeps_its_input() -> None:
    values = np.array([[2.0, 6.0]])
    min_max(values)
    np.testing.assert_array_equal(values, [[2.0, 6.0]])


@given(values=VALUES)
def test_scaled_values_lie_between_0_and_1_and_keep_the_order(values: FloatArray) -> None:
    scaled = min_max(values)
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    in_order = np.take_along_axis(scaled, np.argsort(values, axis=1), axis=1)
    assert (np.diff(in_order, axis=1) >= 0).all()


@given(arrays(np.float64, (2, 5), elements=st.floats(0, 1e6)))
def test_normalizing_twice_is_normalizing_once(distances: FloatArray) -> None:
    once = min_max(distances)
    np.testing.assert_array_equal(min_max(once), once)


@pytest.mark.parametrize("shape", [(3,), (2, 0)])
def test_values_that_are_no_matrix_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[q, n\] with at least one item"):
        min_max(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="values of query 1 hold NaN or infinity"):
        min_max(np.array([[1.0, 2.0], [value, 2.0]]))


def test_z_scores_have_mean_0_and_deviation_1_in_every_row() -> None:
    scores = z_score(np.array([[1.0, 3.0], [2.0, 2.0]]))
    np.testing.assert_array_equal(scores, [[-1, 1], [0, 0]])


def test_distances_in_single_precision_are_fused_in_double() -> None:
    distances = np.array([[1.0, 2.0, 4.0]], dtype=np.float32)
    # a third, which float32 rounds differently
    assert fuse_product(distances, [], gammas=[])[0, 1] == 1 / 3
    assert fuse_weighted_sum(distances, [], gammas=[])[0, 1] == 1 / 3
    np.testing.assert_array_equal(distances, [[1, 2, 4]])


def test_the_grids_of_the_paper_have_100_and_199_values() -> None:
    assert POPULARITY_GAMMAS.tolist() == list(range(100))
    assert COLLABORATIVE_GAMMAS.shape == (199,)
    assert COLLABORATIVE_GAMMAS[[0, 1, 29, 99, 100, 198]].tolist() == [0, 0.01, 0.29, 0.99, 1, 99]


def test_the_grids_of_the_paper_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        POPULARITY_GAMMAS[0] = 1


def test_the_discount_is_a_power_of_one_plus_the_weight() -> None:
    np.testing.assert_array_equal(discount(np.array([0.0, 1.0]), gamma=2), [1, 0.25])


def test_the_product_is_that_of_the_paper() -> None:
    # 1.5^-1 and 2^-1
    expected = [[0, 0.25 / 1.5, 0.25, 0.5]]
    fused = fuse_product(DISTANCES, [WEIGHTS], gammas=[1])
    np.testing.assert_allclose(fused, expected, rtol=1e-15)


def test_gamma_0_leaves_the_normalized_distances() -> None:
    fused = fuse_product(DISTANCES, [WEIGHTS], gammas=[0])
    np.testing.assert_array_equal(fused, min_max(DISTANCES))


def test_one_row_of_weights_serves_all_queries() -> None:
    distances = np.array([[0.0, 1.0], [1.0, 0.0]])
    fused = fuse_product(distances, [np.array([[1.0, 0.0]])], gammas=[1])
    np.testing.assert_array_equal(fused, [[0, 1], [0.5, 0]])


@given(
    arrays(np.float64, (1, 4), elements=st.floats(0, 1)),
    arrays(np.float64, (1, 4), elements=st.floats(0, 1)),
    st.floats(0, 99),
)
def test_the_product_without_floor_never_moves_the_nearest_title(
    distances: FloatArray, weights: FloatArray, gamma: float
) -> None:
    fused = fuse_product(distances, [weights], gammas=[gamma])
    assert fused[0, distances[0].argmin()] == fused.min() == 0


def test_a_floor_lets_a_title_of_large_weight_overtake_the_nearest() -> None:
    # 0.5 and 1.5 / 4
    fused = fuse_product(np.array([[0.0, 1.0]]), [np.array([[0.0, 1.0]])], gammas=[2], floor=0.5)
    np.testing.assert_array_equal(fused, [[0.5, 0.375]])


def test_several_signals_multiply() -> None:
    both = [np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]])]
    fused = fuse_product(np.array([[0.0, 1.0]]), both, gammas=[1, 2], floor=1)
    np.testing.assert_array_equal(fused, [[0.25, 0.25]])


def test_the_weighted_sum_subtracts_weights() -> None:
    fused = fuse_weighted_sum(DISTANCES, [WEIGHTS, WEIGHTS], gammas=[0.5, 0.25])
    np.testing.assert_array_equal(fused, [[0, -0.125, -0.25, 0.25]])


def test_the_weighted_sum_of_z_scores_subtracts_deviations() -> None:
    # z-scores of the distances are -1 and 1, those of the weights 1 and -1
    distances, weights = np.array([[3.0, 5.0]]), np.array([[0.6, 0.2]])
    fused = fuse_weighted_sum(distances, [weights], gammas=[0.5], normalization="z_score")
    np.testing.assert_allclose(fused, [[-1.5, 1.5]], rtol=1e-12)


def test_reciprocal_ranks_add_up() -> None:
    # ranks by distance 1, 2, 3 and by weight 3, 2, 1
    fused = fuse_rrf(np.array([[1.0, 2.0, 3.0]]), [np.array([[0.0, 0.5, 1.0]])])
    ends, middle = -(1 / 61 + 1 / 63), -2 / 62
    np.testing.assert_allclose(fused, [[ends, middle, ends]], rtol=1e-15)


def test_reciprocal_ranks_count_by_their_gammas() -> None:
    distances, weights = np.array([[1.0, 2.0]]), [np.array([[0.0, 1.0]])]
    fused = fuse_rrf(distances, weights, gammas=[3.0])
    np.testing.assert_allclose(fused, [[-1 / 61 - 3 / 62, -1 / 62 - 3 / 61]], rtol=1e-15)
    np.testing.assert_array_equal(
        fuse_rrf(distances, weights, gammas=[1.0]), fuse_rrf(distances, weights)
    )


def test_tied_titles_share_the_last_of_their_ranks() -> None:
    # by distance 1, 2, 3; by weight all 3
    fused = fuse_rrf(np.array([[1.0, 2.0, 3.0]]), [np.zeros((1, 3))], k=1)
    np.testing.assert_allclose(fused, [[-1 / 2 - 1 / 4, -1 / 3 - 1 / 4, -1 / 2]], rtol=1e-15)


def test_weighted_sums_and_reciprocal_ranks_can_change_rank_1() -> None:
    distances, weights = np.array([[0.0, 0.1, 1.0]]), np.array([[0.0, 1.0, 0.5]])
    assert fuse_weighted_sum(distances, [weights], gammas=[0.5]).argmin() == 1
    assert fuse_rrf(distances, [weights]).argmin() == 1


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights has shape \(2, 4\) .* expected \(1, 4\)"):
        fuse_product(DISTANCES, [np.zeros((2, 4))], gammas=[1])


def test_weights_for_distances_of_one_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match=r"distances has shape \(4,\); expected \[q, t\]"):
        fuse_weighted_sum(np.zeros(4), [np.zeros((1, 4))], gammas=[1])


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_weights_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"weights holds values from .*; expected 0 to 1\. Scale"):
        fuse_rrf(DISTANCES, [np.full((1, 4), value)])


@pytest.mark.parametrize("value", [-1, np.nan, np.inf])
def test_a_gamma_or_floor_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"gamma is {value}; expected a finite number of at leas"):
        fuse_product(DISTANCES, [WEIGHTS], gammas=[value])
    with pytest.raises(ValueError, match=f"floor is {value}; expected a finite number of at lea"):
        fuse_product(DISTANCES, [WEIGHTS], gammas=[1], floor=value)


def test_signals_and_gammas_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="Got 1 signals and 2 gammas; expected one gamma for each"):
        fuse_product(DISTANCES, [WEIGHTS], gammas=[1, 2])


def test_a_k_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k is 0; expected at least 1 \(Cormack et al\.: 60\)"):
        fuse_rrf(DISTANCES, [WEIGHTS], k=0)
