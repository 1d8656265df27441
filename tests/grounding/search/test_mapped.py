"""Exact search over a mapped file: the lists of float64 distances with blocks of any size."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigrec.errors import BundleError
from bigrec.grounding.search import mapped
from bigrec.grounding.search.l2 import ExactL2
from bigrec.grounding.search.mapped import MappedL2, nearest
from bigrec.types import FloatArray, IntArray


def expected_lists(
    points: FloatArray, queries: FloatArray, *, k: int
) -> tuple[FloatArray, IntArray]:
    difference = queries[:, None].astype(np.float64) - points[None].astype(np.float64)
    squares = np.vecdot(difference, difference)
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squares, order, axis=1)), order


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("n_queries", [1, 3])
@given(seed=st.integers(0, 2**32 - 1), shift=st.sampled_from([0, 3, 100]))
@settings(deadline=None, max_examples=15)
def test_lists_are_those_of_all_float64_distances(
    tmp_path_factory: pytest.TempPathFactory, kind: type, n_queries: int, seed: int, shift: int
) -> None:
    rng = np.random.default_rng(seed)
    # Coarse values make ties, and a shift makes a large component that all share.
    points: FloatArray = (np.round(rng.standard_normal((300, 5)), 1) + shift).astype(kind)
    queries = (np.round(rng.standard_normal((n_queries, 5)), 1) + shift).astype(np.float32)
    path = tmp_path_factory.mktemp("mapped") / "points.npy"
    np.save(path, points)
    distances, numbers = nearest(MappedL2(path), queries, k=7)
    expected = expected_lists(points, queries, k=7)
    np.testing.assert_array_equal(numbers, expected[1])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-12)


@pytest.mark.parametrize("size", [16, 100, 4096])
def test_blocks_of_any_size_give_the_same_lists(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "POINTS_PER_BLOCK", size)
    rng = np.random.default_rng(0)
    points = rng.standard_normal((1000, 8)).astype(np.float32)
    queries = rng.standard_normal((4, 8)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    found = nearest(MappedL2(tmp_path / "points.npy"), queries, k=10, max_bytes=1 << 16)
    in_memory = nearest(ExactL2(points), queries, k=10)
    np.testing.assert_array_equal(found[1], in_memory[1])
    np.testing.assert_array_equal(found[0], in_memory[0])


def test_distances_of_all_pairs_are_those_of_points_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 8)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    found = MappedL2(tmp_path / "points.npy").distances(points[:3])
    np.testing.assert_allclose(found, ExactL2(points).distances(points[:3]), rtol=1e-5)
    assert (np.diag(found) == 0).all()


def test_what_is_no_array_of_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "points.npy"
    with pytest.raises(BundleError, match=r"points\.npy could not be mapped"):
        MappedL2(path)
    for content in (np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros((0, 4), np.float32)):
        np.save(path, content)
        with pytest.raises(BundleError, match="expected float32 or float16 with one row"):
            MappedL2(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(BundleError, match="could not be mapped"):
        MappedL2(path)
    np.save(path, np.array([[1, np.nan]], np.float32))
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        MappedL2(path)


@pytest.mark.parametrize("k", [0, 3])
def test_a_list_longer_than_the_points_is_refused(tmp_path: Path, k: int) -> None:
    np.save(tmp_path / "points.npy", np.eye(2, dtype=np.float32))
    with pytest.raises(ValueError, match=f"k is {k}; expected a number from 1 to 2"):
        nearest(MappedL2(tmp_path / "points.npy"), np.eye(2, dtype=np.float32), k=k)
