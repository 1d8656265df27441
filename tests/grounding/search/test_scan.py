from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigrec.grounding.search.l2 import POINTS_PER_BLOCK, ExactL2
from bigrec.grounding.search.scan import Ahead, Look, Nearest, Pairs, scan
from bigrec.types import FloatArray, IntArray

NONE = np.zeros(0, dtype=np.int64)
# What one query and one block of points take, and what many take.
LITTLE, MUCH = 1, 1 << 26


@dataclass(frozen=True)
class Case:
    points: FloatArray
    vectors: FloatArray
    vector_of: IntArray
    targets: IntArray
    exclude: list[IntArray]


def _case(seed: int, *, g: int, d: int, q: int, offset: float) -> Case:
    """A third of the points duplicates, a third near-duplicates; queries on points, near, apart."""
    rng = np.random.default_rng(seed)
    points = (rng.normal(size=(g, d)) + offset).astype(np.float32)
    third = g // 3
    points[third : 2 * third] = points[:third]
    points[2 * third : 3 * third] = np.nextafter(points[:third], np.float32(np.inf))
    vectors = (rng.normal(size=(q, d)) + offset).astype(np.float32)
    near = rng.integers(g, size=q)
    vectors[::3] = points[near[::3]]
    vectors[1::3] = points[near[1::3]] + np.float32(1e-3) * vectors[1::3]
    # Some of the vectors are asked for more than once.
    vector_of: IntArray = rng.integers(q, size=q)
    exclude: list[IntArray] = [
        np.unique(rng.integers(g, size=rng.integers(g + 1))) for _ in range(q)
    ]
    return Case(points, vectors, vector_of, near[vector_of], exclude)


def _squares(case: Case) -> FloatArray:
    points = case.points.astype(np.float64)
    return np.stack([((points - case.vectors[row]) ** 2).sum(axis=1) for row in case.vector_of])


def _check(case: Case, *, k: int, max_bytes: int) -> None:
    """Against every distance in float64, with nothing and with something left out."""
    q = len(case.vector_of)
    excludes: list[Sequence[IntArray]] = [[NONE] * q, case.exclude]
    pairs = Pairs(ExactL2(case.points), case.vectors, case.vector_of)
    of_targets = pairs.squared(np.arange(q), case.targets)
    finders = [(Ahead(of_targets), Nearest(q, k=k)) for _ in excludes]
    looks = [Look(exclude, pair) for exclude, pair in zip(excludes, finders, strict=True)]
    scan(pairs, looks, max_bytes=max_bytes)
    squares = _squares(case)
    for exclude, (ahead, nearest) in zip(excludes, finders, strict=True):
        for query in range(q):
            left = squares[query].copy()
            of_target = left[case.targets[query]]
            left[exclude[query]] = np.inf
            assert ahead.counts[query] == np.count_nonzero(left <= of_target)
            order = np.argsort(left, kind="stable")[:k]
            listed = np.where(np.isinf(left[order]), -1, order)
            np.testing.assert_array_equal(nearest.groups[query], listed)
            np.testing.assert_allclose(nearest.squares[query], left[order], rtol=1e-12)


CASES = st.builds(
    _case,
    st.integers(0, 10_000),
    g=st.integers(1, 60),
    d=st.integers(1, 24),
    q=st.integers(1, 12),
    offset=st.sampled_from([0.0, 100.0]),
)


@settings(deadline=None)
@given(case=CASES, share=st.floats(0, 1), max_bytes=st.sampled_from([LITTLE, MUCH]))
def test_what_is_found_is_what_float64_distances_of_all_pairs_give(
    case: Case, share: float, max_bytes: int
) -> None:
    _check(case, k=1 + int(share * (len(case.points) - 1)), max_bytes=max_bytes)


@pytest.mark.parametrize("max_bytes", [LITTLE, 1 << 19, MUCH])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_several_blocks_of_points_and_queries_give_the_same(max_bytes: int, k: int) -> None:
    # 1 << 19 bytes hold some 5 queries of a block, and 512 vectors of size 32
    assert POINTS_PER_BLOCK < 5_000
    _check(_case(0, g=5_000, d=32, q=20, offset=100.0), k=k, max_bytes=max_bytes)


def test_more_candidates_than_are_held_at_once_give_the_same() -> None:
    # 60 queries that list all of 5,000 points have 300,000 candidates
    _check(_case(3, g=5_000, d=4, q=60, offset=0.0), k=5_000, max_bytes=MUCH)


def test_one_far_point_changes_nothing() -> None:
    case = _case(1, g=90, d=16, q=9, offset=0.0)
    case.points[-1] = 1e6
    _check(case, k=10, max_bytes=MUCH)


@pytest.mark.parametrize("length", [1e-25, 1e-15, 1e15])
def test_very_short_and_very_long_vectors_are_ranked_as_others(length: float) -> None:
    case = _case(2, g=60, d=8, q=9, offset=0.0)
    scaled = [(array * length).astype(np.float32) for array in (case.points, case.vectors)]
    _check(
        Case(scaled[0], scaled[1], case.vector_of, case.targets, case.exclude),
        k=10,
        max_bytes=MUCH,
    )


def test_equal_points_are_listed_in_order_and_all_count() -> None:
    points = np.full((30, 4), 0.1, dtype=np.float32)
    ahead, nearest = Ahead(np.zeros(1)), Nearest(1, k=5)
    scan(
        Pairs(ExactL2(points), points[:1], np.array([0])),
        [Look([np.array([1])], [ahead, nearest])],
        max_bytes=MUCH,
    )
    np.testing.assert_array_equal(ahead.counts, [29])
    np.testing.assert_array_equal(nearest.groups, [[0, 2, 3, 4, 5]])


def test_no_queries_find_nothing() -> None:
    nearest = Nearest(0, k=2)
    points = np.zeros((3, 4), dtype=np.float32)
    scan(Pairs(ExactL2(points), points[:0], NONE), [Look([], [nearest])], max_bytes=MUCH)
    assert nearest.groups.shape == (0, 2)
