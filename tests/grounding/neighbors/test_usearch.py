import importlib
from pathlib import Path

import numpy as np
import pytest

from bigrec.errors import BundleError, SettingsError
from bigrec.grounding.neighbors.usearch import UsearchGraph
from bigrec.grounding.search.l2 import ExactL2

pytest.importorskip("usearch")


def _scaled(points: np.ndarray, rows: slice) -> np.ndarray:
    return ExactL2(points).scaled_points(rows)


def _points(count: int = 500, size: int = 16) -> np.ndarray:
    points = np.random.default_rng(0).standard_normal((count, size)).astype(np.float32)
    return np.asarray(points / np.linalg.norm(points, axis=1).max())


def test_a_point_is_its_own_nearest_candidate() -> None:
    points = _points()
    graph = UsearchGraph.build(ExactL2(points), expansion=64)
    assert len(graph) == 500
    np.testing.assert_array_equal(
        graph.candidates(_scaled(points, slice(9)), count=5)[:, 0], np.arange(9)
    )
    assert graph.candidates(_scaled(points, slice(1)), count=5).shape == (1, 5)


def test_no_more_candidates_are_found_than_there_are_points() -> None:
    graph = UsearchGraph.build(ExactL2(_points(7)), expansion=64)
    for queries in (_points(7), _points(7)[:1]):
        found = graph.candidates(queries, count=9)
        np.testing.assert_array_equal(np.sort(found[0]), range(7))


def test_far_queries_find_the_points_in_their_direction() -> None:
    l2 = ExactL2(np.eye(4, dtype=np.float32))
    far = 1e9 * np.eye(4, dtype=np.float32)[2:3]
    graph = UsearchGraph.build(l2, expansion=64)
    assert graph.candidates(l2.scaled(far), count=1).item() == 2


def test_a_mapped_graph_finds_what_the_built_one_does(tmp_path: Path) -> None:
    points = _points()
    graph = UsearchGraph.build(ExactL2(points), expansion=64)
    graph.save(tmp_path / "graph.usearch")
    mapped = UsearchGraph.view(tmp_path / "graph.usearch", ExactL2(points), expansion=64)
    expected = graph.candidates(_scaled(points, slice(50)), count=10)
    np.testing.assert_array_equal(mapped.candidates(_scaled(points, slice(50)), count=10), expected)


def test_building_again_gives_the_same_lists() -> None:
    points = _points(3000)
    first, second = (
        UsearchGraph.build(ExactL2(points), expansion=16).candidates(
            _scaled(points, slice(None)), count=10
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_a_file_that_is_no_graph_of_the_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.usearch"
    with pytest.raises(BundleError, match="Build"):
        UsearchGraph.view(path, ExactL2(_points()), expansion=64)
    path.write_bytes(b"no graph" * 40)
    with pytest.raises(BundleError, match="Build"):
        UsearchGraph.view(path, ExactL2(_points()), expansion=64)
    UsearchGraph.build(ExactL2(_points()), expansion=64).save(path)
    with pytest.raises(BundleError, match="no graph over 500 points of size 17"):
        UsearchGraph.view(path, ExactL2(_points(size=17)), expansion=64)


def test_without_usearch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SettingsError, match=r"pip install 'bigrec\[usearch\]'"):
        UsearchGraph.build(ExactL2(_points()), expansion=64)
