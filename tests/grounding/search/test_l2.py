import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from bigrec.grounding.search.l2 import ExactL2
from bigrec.types import FloatArray


def _points(seed: int, *shape: int) -> FloatArray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_distances_are_those_of_float64_with_and_without_a_shared_component(offset: float) -> None:
    queries = _points(0, 20, 64) + np.float32(offset)
    points = _points(1, 1500, 64) + np.float32(offset)
    expected = cdist(queries.astype(np.float64), points.astype(np.float64))
    np.testing.assert_allclose(ExactL2(points).distances(queries), expected, rtol=1e-5)


@pytest.mark.parametrize("step", [1e-3, 1e-6])
def test_near_duplicates_are_accurate(step: float) -> None:
    points = _points(2, 300, 64)
    queries = points[:50] + np.float32(step) * _points(3, 50, 64)
    expected = cdist(queries.astype(np.float64), points.astype(np.float64))
    np.testing.assert_allclose(ExactL2(points).distances(queries), expected, rtol=1e-5)


def test_one_far_point_does_not_blur_the_others() -> None:
    points = _points(4, 100, 16)
    points[0] = 1e6
    expected = cdist(points.astype(np.float64), points.astype(np.float64))
    np.testing.assert_allclose(ExactL2(points).distances(points), expected, rtol=1e-5)


def test_identical_vectors_are_at_distance_exactly_0() -> None:
    points = _points(5, 1500, 64) + np.float32(1e3)
    np.testing.assert_array_equal(np.diag(ExactL2(points).distances(points)), np.zeros(1500))


def test_a_catalog_of_equal_vectors_is_all_0() -> None:
    same = np.full((1100, 3), 0.1, dtype=np.float32)
    np.testing.assert_array_equal(ExactL2(same).distances(same[:4]), np.zeros((4, 1100)))


def test_inputs_stay_as_they_are() -> None:
    points, queries = _points(6, 5, 3), _points(7, 2, 3)
    before = points.copy(), queries.copy()
    ExactL2(points).distances(queries)
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(queries, before[1])


@given(seed=st.integers(0, 10_000), q=st.integers(1, 6), m=st.integers(1, 40))
def test_a_batch_gives_what_its_queries_give_alone(seed: int, q: int, m: int) -> None:
    queries, l2 = _points(seed, q, 8), ExactL2(_points(seed + 1, m, 8))
    alone = np.concatenate([l2.distances(queries[i : i + 1]) for i in range(q)])
    np.testing.assert_allclose(l2.distances(queries), alone, rtol=1e-6)


def test_more_memory_allows_more_queries_and_too_little_one() -> None:
    # 100 points of size 10: every query takes 4 * 100 bytes of distances. The 512 of a block take
    # 20 * 10 + 13 * 100 bytes more each.
    l2 = ExactL2(np.zeros((100, 10), dtype=np.float32))
    assert l2.queries_within(7 * (400 + 1_500)) == 7
    assert l2.queries_within(512 * 1_500 + 1_000 * 400) == 1_000
    assert l2.queries_within(1) == 1


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000), d=st.sampled_from([1, 8, 300]), spread=st.sampled_from([1.0, 1e3])
)
def test_half_squared_distances_lie_between_the_bounds(seed: int, d: int, spread: float) -> None:
    lengths = np.float32(spread) ** np.random.default_rng(seed).uniform(-1, 1, (40, 1))
    points, queries = _points(seed + 1, 40, d) * lengths.astype(np.float32), _points(seed, 10, d)
    l2 = ExactL2(points)
    centered = l2.center(queries)
    lower, upper = l2.bounds(centered, slice(3, 40), buffer=np.empty((2, 370), dtype=np.float32))
    true = cdist(queries.astype(np.float64), points[3:].astype(np.float64), "sqeuclidean") / 2
    half, error = centered.squares[:, None] / 2, l2.half_error(centered.squares)[:, None]
    assert (lower - error <= true - half).all()
    assert (true - half <= upper + error).all()


def test_squared_distances_of_a_pair_do_not_depend_on_the_others() -> None:
    l2, queries = ExactL2(_points(8, 200, 50)), _points(9, 3, 50)
    row, column = np.repeat([0, 1, 2], 200), np.tile(np.arange(200), 3)
    together = l2.squared(queries, row, column)
    alone = [l2.squared(queries, row[[i]], column[[i]])[0] for i in range(600)]
    np.testing.assert_array_equal(together, alone)


def test_vectors_too_far_for_float32_are_refused() -> None:
    with pytest.raises(ValueError, match=r"is 1e\+30 from the catalog's center"):
        ExactL2(_points(10, 3, 4)).distances(np.full((1, 4), 1e30, dtype=np.float32))
