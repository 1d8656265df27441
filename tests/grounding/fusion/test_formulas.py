import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bigrec.grounding.fusion.formulas import (
    COLLABORATIVE_GAMMAS,
    POPULARITY_GAMMAS,
    discount,
    fuse_additive,
    fuse_reciprocal_rank,
    inject,
    inject_all,
    normalised,
)
from bigrec.types import FloatArray

# normalised: 0, 0.25, 0.5, 1
DISTANCES = np.array([[2.0, 3.0, 4.0, 6.0]])
WEIGHTS = np.array([[0.0, 0.5, 1.0, 1.0]])


def test_normalised_distances_go_from_0_to_1_in_every_row() -> None:
    found = normalised(np.array([[2.0, 3.0, 6.0], [1.0, 0.0, 10.0]]))
    np.testing.assert_array_equal(found, [[0, 0.25, 1], [0.1, 0, 1]])


def test_a_constant_row_becomes_zeros() -> None:
    np.testing.assert_array_equal(normalised(np.array([[3.0, 3.0]])), [[0, 0]])


def test_single_precision_becomes_double_and_the_input_stays() -> None:
    distances = np.array([[1.0, 2.0]], dtype=np.float32)
    assert normalised(distances).dtype == np.float64
    np.testing.assert_array_equal(distances, [[1, 2]])


@given(arrays(np.float64, (2, 5), elements=st.floats(0, 1e6)))
def test_normalising_twice_is_normalising_once(distances: FloatArray) -> None:
    once = normalised(distances)
    np.testing.assert_array_equal(normalised(once), once)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_distances_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="distances holds NaN or infinity; expected finite"):
        normalised(np.array([[1.0, value]]))


@pytest.mark.parametrize("shape", [(3,), (2, 0)])
def test_distances_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"distances has shape .*; expected \[q, g\]"):
        normalised(np.zeros(shape))


def test_the_published_grids_have_100_and_199_values() -> None:
    assert POPULARITY_GAMMAS.tolist() == list(range(100))
    assert COLLABORATIVE_GAMMAS.shape == (199,)
    assert COLLABORATIVE_GAMMAS[[0, 1, 29, 99, 100, 198]].tolist() == [0, 0.01, 0.29, 0.99, 1, 99]


def test_the_published_grids_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        POPULARITY_GAMMAS[0] = 1


def test_the_discount_is_a_power_of_one_plus_the_weight() -> None:
    np.testing.assert_array_equal(discount(np.array([0.0, 1.0]), gamma=2), [1, 0.25])


def test_the_injection_is_the_published_product() -> None:
    # 1.5^-1 and 2^-1
    expected = [[0, 0.25 / 1.5, 0.25, 0.5]]
    np.testing.assert_allclose(inject(DISTANCES, WEIGHTS, gamma=1), expected, rtol=1e-15)


def test_gamma_0_leaves_the_normalised_distances() -> None:
    np.testing.assert_array_equal(inject(DISTANCES, WEIGHTS, gamma=0), normalised(DISTANCES))


def test_one_row_of_weights_serves_all_queries() -> None:
    distances = np.array([[0.0, 1.0], [1.0, 0.0]])
    found = inject(distances, np.array([[1.0, 0.0]]), gamma=1)
    np.testing.assert_array_equal(found, [[0, 1], [0.5, 0]])


@given(
    arrays(np.float64, (1, 4), elements=st.floats(0, 1)),
    arrays(np.float64, (1, 4), elements=st.floats(0, 1)),
    st.floats(0, 99),
)
def test_the_published_product_never_moves_the_nearest_group(
    distances: FloatArray, weights: FloatArray, gamma: float
) -> None:
    found = inject(distances, weights, gamma=gamma)
    assert found[0, distances[0].argmin()] == found.min() == 0


def test_eps_lets_a_heavy_group_overtake_the_nearest() -> None:
    # 0.5 and 1.5 / 4
    found = inject(np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]]), gamma=2, eps=0.5)
    np.testing.assert_array_equal(found, [[0.5, 0.375]])


def test_several_signals_multiply() -> None:
    both = [np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]])]
    found = inject_all(np.array([[0.0, 1.0]]), both, gammas=[1, 2], eps=1)
    np.testing.assert_array_equal(found, [[0.25, 0.25]])


def test_the_additive_fusion_takes_weights_off() -> None:
    found = fuse_additive(DISTANCES, [WEIGHTS, WEIGHTS], gammas=[0.5, 0.25])
    np.testing.assert_array_equal(found, [[0, -0.125, -0.25, 0.25]])


def test_reciprocal_ranks_add_up() -> None:
    # ranks by distance 1, 2, 3 and by weight 3, 2, 1
    found = fuse_reciprocal_rank(np.array([[1.0, 2.0, 3.0]]), [np.array([[0.0, 0.5, 1.0]])])
    ends, middle = -(1 / 61 + 1 / 63), -2 / 62
    np.testing.assert_allclose(found, [[ends, middle, ends]], rtol=1e-15)


def test_groups_that_tie_share_the_last_of_their_ranks() -> None:
    # by distance 1, 2, 3; by weight all 3
    found = fuse_reciprocal_rank(np.array([[1.0, 2.0, 3.0]]), [np.zeros((1, 3))], k=1)
    np.testing.assert_allclose(found, [[-1 / 2 - 1 / 4, -1 / 3 - 1 / 4, -1 / 2]], rtol=1e-15)


def test_both_fusions_can_change_rank_1() -> None:
    distances, weights = np.array([[0.0, 0.1, 1.0]]), np.array([[0.0, 1.0, 0.5]])
    assert fuse_additive(distances, [weights], gammas=[0.5]).argmin() == 1
    assert fuse_reciprocal_rank(distances, [weights]).argmin() == 1


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights has shape \(2, 4\) .* expected \(1, 4\)"):
        inject(DISTANCES, np.zeros((2, 4)), gamma=1)


def test_weights_for_distances_of_one_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match=r"distances has shape \(4,\); expected \[q, g\]"):
        fuse_additive(np.zeros(4), [np.zeros((1, 4))], gammas=[1])


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_weights_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"weights holds values from .*; expected 0 to 1\. Scale"):
        fuse_reciprocal_rank(DISTANCES, [np.full((1, 4), value)])


@pytest.mark.parametrize("value", [-1, np.nan, np.inf])
def test_a_gamma_or_eps_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"gamma is {value}; expected a finite number of at leas"):
        inject(DISTANCES, WEIGHTS, gamma=value)
    with pytest.raises(ValueError, match=f"eps is {value}; expected a finite number of at least 0"):
        inject(DISTANCES, WEIGHTS, gamma=1, eps=value)


def test_signals_and_gammas_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="Got 1 signals and 2 gammas; expected one gamma for each"):
        inject_all(DISTANCES, [WEIGHTS], gammas=[1, 2])


def test_a_k_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k is 0; expected at least 1 \(published: 60\)"):
        fuse_reciprocal_rank(DISTANCES, [WEIGHTS], k=0)
