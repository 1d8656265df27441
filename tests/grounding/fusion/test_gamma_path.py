import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS, POPULARITY_GAMMAS, fuse_product
from bigrec.grounding.fusion.gamma_path import gamma_path_ranks, paper_selection, select_gamma
from bigrec.grounding.ranks import target_ranks
from bigrec.types import UNRANKED, FloatArray, IntArray

Q, G = 3, 7
# The second is the published grid around the place where its step changes.
GRIDS = st.sampled_from([POPULARITY_GAMMAS[:12], COLLABORATIVE_GAMMAS[80:120], np.array([0.5])])
TARGETS = arrays(np.int64, Q, elements=st.integers(0, G - 1))
# Powers of two and weights of 0 and 1 make every product exact, and ties at whole gammas common.
POWERS = arrays(np.float64, (Q, G), elements=st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0]))
ENDS = arrays(np.float64, (Q, G), elements=st.sampled_from([0.0, 1.0]))
# Few values, whose products tie in real numbers but for rounding.
SIXTHS = arrays(np.float64, (Q, G), elements=st.integers(0, 6).map(lambda value: value / 6))
# Values one or two roundings apart, whose products tie or do not by rounding alone.
NEIGHBORS = arrays(
    np.float64, (Q, G), elements=st.integers(0, 3).map(lambda steps: 0.3 + steps * 2.0**-54)
)
# Any float, but none so small that a product underflows to 0.
ANY = arrays(np.float64, (Q, G), elements=st.floats(1e-200, 1) | st.just(0.0))

# Brute force at many gammas can outlast hypothesis' 200 ms on a busy machine.
SLOW = settings(deadline=None)


def brute_force(
    distances: FloatArray,
    weights: FloatArray,
    targets: IntArray,
    *,
    gammas: FloatArray,
    floor: float = 0.0,
    exclude: list[IntArray] | None = None,
) -> IntArray:
    columns = [
        target_ranks(
            fuse_product(distances, [weights], gammas=[gamma], floor=floor),
            targets,
            exclude=exclude,
        )
        for gamma in gammas
    ]
    return np.stack(columns, axis=1)


def test_a_heavier_group_passes_the_target_at_its_gamma() -> None:
    # D^ = 0, 0.25, 1: the last is behind 0.25 until 2^-gamma is 0.25, and a tie is ahead
    ranks = gamma_path_ranks(
        np.array([[2.0, 3.0, 6.0]]),
        np.array([[0.0, 0.0, 1.0]]),
        np.array([1]),
        gammas=np.array([0, 1, 1.99, 2, 2.01, 3]),
    )
    np.testing.assert_array_equal(ranks, [[1, 1, 1, 2, 2, 2]])


def test_a_heavier_target_passes_a_group_after_its_gamma() -> None:
    # the target's 2^-gamma falls below 0.25 only after 2
    ranks = gamma_path_ranks(
        np.array([[0.0, 0.25, 1.0]]),
        np.array([[0.0, 0.0, 1.0]]),
        np.array([2]),
        gammas=np.array([0, 2, 2.01]),
    )
    np.testing.assert_array_equal(ranks, [[2, 2, 1]])


def test_a_target_at_distance_0_stays_first_but_for_ties() -> None:
    ranks = gamma_path_ranks(
        np.array([[0.0, 0.0, 1.0]]),
        np.array([[0.0, 1.0, 1.0]]),
        np.array([0]),
        gammas=POPULARITY_GAMMAS,
    )
    np.testing.assert_array_equal(ranks, np.ones((1, 100)))


def test_groups_of_equal_weight_never_change_sides() -> None:
    ranks = gamma_path_ranks(
        np.array([[0.0, 0.5, 0.5, 1.0]]),
        np.full((1, 4), 0.3),
        np.array([2]),
        gammas=COLLABORATIVE_GAMMAS,
    )
    np.testing.assert_array_equal(ranks, np.full((1, 199), 2))


def test_with_eps_the_nearest_group_can_be_passed() -> None:
    # 0.5 against 1.5 * 2^-gamma, equal at log2(3) = 1.58
    ranks = gamma_path_ranks(
        np.array([[0.0, 1.0]]),
        np.array([[0.0, 1.0]]),
        np.array([0]),
        gammas=np.array([0, 1.58, 1.59]),
        floor=0.5,
    )
    np.testing.assert_array_equal(ranks, [[0, 0, 1]])


def test_excluded_groups_are_never_ahead_and_an_excluded_target_misses() -> None:
    ranks = gamma_path_ranks(
        np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]]),
        np.zeros((1, 3)),
        np.array([2, 1]),
        gammas=np.array([0.0, 1.0]),
        exclude=[np.array([0, 0]), np.array([1])],
    )
    np.testing.assert_array_equal(ranks, [[1, 1], [UNRANKED, UNRANKED]])


@SLOW
@given(POWERS, ENDS, TARGETS, GRIDS)
def test_exact_products_give_the_ranks_of_brute_force(
    distances: FloatArray, weights: FloatArray, targets: IntArray, gammas: FloatArray
) -> None:
    found = gamma_path_ranks(distances, weights, targets, gammas=gammas)
    np.testing.assert_array_equal(found, brute_force(distances, weights, targets, gammas=gammas))


@SLOW
@given(SIXTHS, SIXTHS, TARGETS, GRIDS, st.sampled_from([0.0, 0.5]))
def test_ties_but_for_rounding_fall_as_in_brute_force(
    distances: FloatArray, weights: FloatArray, targets: IntArray, gammas: FloatArray, floor: float
) -> None:
    found = gamma_path_ranks(distances, weights, targets, gammas=gammas, floor=floor)
    expected = brute_force(distances, weights, targets, gammas=gammas, floor=floor)
    np.testing.assert_array_equal(found, expected)


@SLOW
@given(NEIGHBORS, NEIGHBORS, TARGETS)
def test_neighbors_in_floating_point_fall_as_in_brute_force(
    distances: FloatArray, weights: FloatArray, targets: IntArray
) -> None:
    # a first and a last column of 0 and 1, so that normalizing keeps the neighbors
    ends = np.zeros((Q, 1)), np.ones((Q, 1))
    distances = np.concatenate([distances, *ends], axis=1)
    weights = np.concatenate([weights, *ends], axis=1)
    gammas = np.arange(0, 6, 0.25)
    found = gamma_path_ranks(distances, weights, targets, gammas=gammas)
    np.testing.assert_array_equal(found, brute_force(distances, weights, targets, gammas=gammas))


@SLOW
@given(ANY, ANY | ENDS, TARGETS, GRIDS, st.sampled_from([0.0, 1e-6]))
def test_any_numbers_give_the_ranks_of_brute_force_up_to_rounding(
    distances: FloatArray, weights: FloatArray, targets: IntArray, gammas: FloatArray, floor: float
) -> None:
    found = gamma_path_ranks(distances, weights, targets, gammas=gammas, floor=floor)
    expected = brute_force(distances, weights, targets, gammas=gammas, floor=floor)
    for query, j in np.argwhere(found != expected):
        products = fuse_product(distances, [weights], gammas=[gammas][j], floor=floor)[query]
        close = np.isclose(products, products[targets[query]], rtol=1e-12, atol=0)
        assert abs(found[query, j] - expected[query, j]) <= np.count_nonzero(close) - 1


@SLOW
@given(
    SIXTHS,
    SIXTHS,
    TARGETS,
    st.lists(st.lists(st.integers(0, G - 1)).map(np.array), min_size=Q, max_size=Q),
)
def test_exclusions_give_the_ranks_of_brute_force(
    distances: FloatArray, weights: FloatArray, targets: IntArray, exclude: list[IntArray]
) -> None:
    exclude = [title_ids.astype(np.int64) for title_ids in exclude]
    gammas = np.arange(5.0)
    found = gamma_path_ranks(distances, weights, targets, gammas=gammas, exclude=exclude)
    expected = brute_force(distances, weights, targets, gammas=gammas, exclude=exclude)
    np.testing.assert_array_equal(found, expected)


@SLOW
@given(
    st.lists(st.floats(0, 200), min_size=1, max_size=20, unique=True).map(sorted).map(np.array),
    SIXTHS,
    TARGETS,
)
def test_a_grid_of_any_gaps_gives_the_ranks_of_brute_force(
    gammas: FloatArray, distances: FloatArray, targets: IntArray
) -> None:
    weights = distances[:, ::-1]
    found = gamma_path_ranks(distances, weights, targets, gammas=gammas)
    np.testing.assert_array_equal(found, brute_force(distances, weights, targets, gammas=gammas))


def test_a_large_catalog_gives_the_ranks_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    distances, weights = 1 + rng.random((4, 3000)), rng.random((1, 3000))
    targets = rng.integers(3000, size=4)
    gammas = COLLABORATIVE_GAMMAS[::9]
    found = gamma_path_ranks(distances, weights, targets, gammas=gammas)
    np.testing.assert_array_equal(found, brute_force(distances, weights, targets, gammas=gammas))


@pytest.mark.parametrize(
    "gammas", [[-1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, np.nan], [np.nan, 1.0], [0.0, np.inf]]
)
def test_gammas_that_do_not_ascend_from_0_are_refused(gammas: list[float]) -> None:
    with pytest.raises(ValueError, match=r"gammas goes from .*; expected finite numbers of at lea"):
        gamma_path_ranks(np.eye(2), np.eye(2), np.zeros(2, int), gammas=np.array(gammas))


@pytest.mark.parametrize("shape", [(0,), (1, 2)])
def test_gammas_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"gammas has shape .*; expected \[m\] with at least one"):
        gamma_path_ranks(np.eye(2), np.eye(2), np.zeros(2, int), gammas=np.zeros(shape))


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="Got 2 rows of distances, 1 targets and 2 exclusions"):
        gamma_path_ranks(np.eye(2), np.eye(2), np.zeros(1, int), gammas=np.arange(2.0))
    with pytest.raises(ValueError, match="Got 2 rows of distances, 2 targets and 0 exclusions"):
        gamma_path_ranks(np.eye(2), np.eye(2), np.zeros(2, int), gammas=np.arange(2.0), exclude=[])


def test_groups_out_of_range_are_refused() -> None:
    gammas, zeros = np.arange(2.0), np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match="targets holds 2; expected numbers from 0 to 1"):
        gamma_path_ranks(np.eye(2), np.eye(2), np.array([0, 2]), gammas=gammas)
    with pytest.raises(ValueError, match="exclude holds -1; expected numbers from 0 to 1"):
        gamma_path_ranks(np.eye(2), np.eye(2), zeros, gammas=gammas, exclude=[zeros, zeros - 1])


def test_wrong_weights_floor_and_distances_are_refused() -> None:
    gammas, zeros = np.arange(2.0), np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match=r"weights holds values from 0\.0 to 2\.0"):
        gamma_path_ranks(np.eye(2), 2 * np.eye(2), zeros, gammas=gammas)
    with pytest.raises(ValueError, match="floor is -1; expected a finite number of at least 0"):
        gamma_path_ranks(np.eye(2), np.eye(2), zeros, gammas=gammas, floor=-1)
    with pytest.raises(ValueError, match="values of query 0 hold NaN or infinity"):
        gamma_path_ranks(np.full((2, 2), np.nan), np.eye(2), zeros, gammas=gammas)


def first_share(ranks: IntArray) -> float:
    return float((ranks == 0).mean())


def mean_inverse(ranks: IntArray) -> float:
    return float((1 / (ranks + 1)).mean())


PATH = np.array([[9, 1, 0, 0], [9, 1, 9, 9]])
GAMMAS = np.array([0.0, 0.5, 1.0, 2.0])


def test_the_smallest_of_the_best_gammas_is_chosen() -> None:
    assert select_gamma(PATH, GAMMAS, metric=first_share) == 1.0


def test_the_published_selection_chooses_for_every_metric_by_itself() -> None:
    # mean inverse ranks: 0.1, 0.5, 0.55, 0.55
    metrics = {"hr@1": first_share, "hr@2": lambda ranks: float((ranks < 2).mean())}
    found = paper_selection(PATH, GAMMAS, metrics=metrics | {"mrr": mean_inverse})
    assert found == {"hr@1": 1.0, "hr@2": 0.5, "mrr": 1.0}


def test_a_path_of_another_number_of_gammas_is_refused() -> None:
    with pytest.raises(ValueError, match=r"path_ranks has shape \(2, 4\) for 3 gammas; expected"):
        select_gamma(PATH, GAMMAS[:3], metric=first_share)


def test_a_metric_that_is_nan_is_refused() -> None:
    with pytest.raises(ValueError, match=r"The metric is NaN at gamma 0\.0; expected a number"):
        select_gamma(PATH, GAMMAS, metric=lambda _: float("nan"))


def test_float32_weights_give_the_ranks_of_brute_force_without_a_warning() -> None:
    rng = np.random.default_rng(5)
    distances = rng.random((20, 50))
    # Few different weights, so that many are equal.
    weights = (rng.integers(0, 4, (20, 50)) / 3).astype(np.float32)
    targets = rng.integers(50, size=20)
    path = gamma_path_ranks(distances, weights, targets, gammas=COLLABORATIVE_GAMMAS)
    for column, gamma in zip(path.T, COLLABORATIVE_GAMMAS, strict=True):
        expected = target_ranks(fuse_product(distances, [weights], gammas=[gamma]), targets)
        np.testing.assert_array_equal(column, expected)
