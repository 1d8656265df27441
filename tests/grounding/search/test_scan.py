from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigrec.grounding.search.l2 import POINTS_PER_BLOCK, ExactL2
from bigrec.grounding.search.scan import Pass, QueryPointPairs, RankCounter, TopK, scan
from bigrec.types import FloatArray, IntArray

NONE = np.zeros(0, dtype=np.int64)
# Memory of one query and one block of points, and of many.
LITTLE, MUCH = 1, 1 << 26


@dataclass(frozen=True)
class Case:
    points: FloatArray
    vectors: FloatArray
    vector_rows: IntArray
    targets: IntArray
    exclude: list[IntArray]


def _case(seed: int, *, m: int, d: int, q: int, offset: float) -> Case:
    """Points with duplicates and near-duplicates; queries equal to, near and far from points."""
    rng = np.random.default_rng(seed)
    points = (rng.normal(size=(m, d)) + offset).astype(np.float32)
    third = m // 3
    points[third : 2 * third] = points[:third]
    points[2 * third : 3 * third] = np.nextafter(points[:third], np.float32(np.inf))
    vectors = (rng.normal(size=(q, d)) + offset).astype(np.float32)
    near = rng.integers(m, size=q)
    vectors[::3] = points[near[::3]]
    vectors[1::3] = points[near[1::3]] + np.float32(1e-3) * vectors[1::3]
    # Several queries share a vector.
    vector_rows: IntArray = rng.integers(q, size=q)
    exclude: list[IntArray] = [
        np.unique(rng.integers(m, size=rng.integers(m + 1))) for _ in range(q)
    ]
    return Case(points, vectors, vector_rows, near[vector_rows], exclude)


def _squares(case: Case) -> FloatArray:
    points = case.points.astype(np.float64)
    return np.stack([((points - case.vectors[row]) ** 2).sum(axis=1) for row in case.vector_rows])


def _check(case: Case, *, k: int, max_bytes: int) -> None:
    """Compare with all distances in float64, without and with exclusions."""
    q = len(case.vector_rows)
    excludes: list[Sequence[IntArray]] = [[NONE] * q, case.exclude]
    pairs = QueryPointPairs(ExactL2(case.points), case.vectors, case.vector_rows)
    target_squares = pairs.squared(np.arange(q), case.targets)
    collectors = [(RankCounter(target_squares), TopK(q, k=k)) for _ in excludes]
    passes = [Pass(exclude, pair) for exclude, pair in zip(excludes, collectors, strict=True)]
    scan(pairs, passes, max_bytes=max_bytes)
    squares = _squares(case)
    for exclude, (counter, nearest) in zip(excludes, collectors, strict=True):
        for query in range(q):
            remaining = squares[query].copy()
            target_square = remaining[case.targets[query]]
            remaining[exclude[query]] = np.inf
            assert counter.counts[query] == np.count_nonzero(remaining <= target_square)
            order = np.argsort(remaining, kind="stable")[:k]
            expected = np.where(np.isinf(remaining[order]), -1, order)
            np.testing.assert_array_equal(nearest.points[query], expected)
            np.testing.assert_allclose(nearest.squares[query], remaining[order], rtol=1e-12)


CASES = st.builds(
    _case,
    st.integers(0, 10_000),
    m=st.integers(1, 60),
    d=st.integers(1, 24),
    q=st.integers(1, 12),
    offset=st.sampled_from([0.0, 100.0]),
)


@settings(deadline=None)
@given(case=CASES, share=st.floats(0, 1), max_bytes=st.sampled_from([LITTLE, MUCH]))
def test_ranks_and_lists_are_those_of_float64_distances_of_all_pairs(
    case: Case, share: float, max_bytes: int
) -> None:
    _check(case, k=1 + int(share * (len(case.points) - 1)), max_bytes=max_bytes)


@pytest.mark.parametrize("max_bytes", [LITTLE, 1 << 19, MUCH])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_several_blocks_of_points_and_queries_give_the_same(max_bytes: int, k: int) -> None:
    # 1 << 19 bytes hold about 5 queries of a block, and 512 vectors of size 32
    assert POINTS_PER_BLOCK < 5_000
    _check(_case(0, m=5_000, d=32, q=20, offset=100.0), k=k, max_bytes=max_bytes)


def test_more_candidates_than_are_held_at_once_give_the_same() -> None:
    # 60 queries that list all of 5,000 points have 300,000 candidates
    _check(_case(3, m=5_000, d=4, q=60, offset=0.0), k=5_000, max_bytes=MUCH)


def test_one_far_point_changes_nothing() -> None:
    case = _case(1, m=90, d=16, q=9, offset=0.0)
    case.points[-1] = 1e6
    _check(case, k=10, max_bytes=MUCH)


@pytest.mark.parametrize("length", [1e-25, 1e-15, 1e15])
def test_very_short_and_very_long_vectors_are_ranked_as_others(length: float) -> None:
    case = _case(2, m=60, d=8, q=9, offset=0.0)
    scaled = [(array * length).astype(np.float32) for array in (case.points, case.vectors)]
    _check(
        Case(scaled[0], scaled[1], case.vector_rows, case.targets, case.exclude),
        k=10,
        max_bytes=MUCH,
    )


def test_equal_points_are_listed_in_order_and_all_count() -> None:
    points = np.full((30, 4), 0.1, dtype=np.float32)
    counter, nearest = RankCounter(np.zeros(1)), TopK(1, k=5)
    scan(
        QueryPointPairs(ExactL2(points), points[:1], np.array([0])),
        [Pass([np.array([1])], [counter, nearest])],
        max_bytes=MUCH,
    )
    np.testing.assert_array_equal(counter.counts, [29])
    np.testing.assert_array_equal(nearest.points, [[0, 2, 3, 4, 5]])


def test_no_queries_find_nothing() -> None:
    nearest = TopK(0, k=2)
    points = np.zeros((3, 4), dtype=np.float32)
    scan(QueryPointPairs(ExactL2(points), points[:0], NONE), [Pass([], [nearest])], max_bytes=MUCH)
    assert nearest.points.shape == (0, 2)
