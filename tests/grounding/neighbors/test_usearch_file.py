"""Graphs that were edited: usearch itself would follow their links into foreign memory."""

from pathlib import Path

import numpy as np
import pytest

from bigrec.errors import BundleError
from bigrec.grounding.neighbors.usearch import UsearchGraph
from bigrec.grounding.neighbors.usearch_file import check_graph
from bigrec.grounding.search.l2 import ExactL2

pytest.importorskip("usearch")

COUNT, SIZE = 300, 6
HEAD = 8 + 2 * COUNT * SIZE
GRAPH = HEAD + 64
LEVELS = GRAPH + 40
NODES = LEVELS + 2 * COUNT


@pytest.fixture
def points() -> ExactL2:
    return ExactL2(np.random.default_rng(0).standard_normal((COUNT, SIZE)).astype(np.float32))


@pytest.fixture
def path(points: ExactL2, tmp_path: Path) -> Path:
    UsearchGraph.build(points, expansion=64).save(tmp_path / "graph.usearch")
    return tmp_path / "graph.usearch"


def written(path: Path, place: int, value: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:place] + value + content[place + len(value) :])


def node_on_level_1(path: Path) -> int:
    """Where the links on level 1 of a node begin."""
    levels = np.frombuffer(path.read_bytes()[LEVELS:NODES], dtype="<i2")
    number = int(np.argmax(levels > 0))
    return NODES + int((10 + 4 * 33 + levels[:number].astype(int) * 4 * 17).sum()) + 10 + 4 * 33


def test_what_usearch_writes_is_sound(path: Path, points: ExactL2) -> None:
    check_graph(path, points)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, b"\xff\xff\xff\xff", "holds no 300 vectors of size 6"),
        (8, b"\x00\x7c", "vectors are not those of the titles"),  # infinity
        (8, b"\x00\x7e", "vectors are not those of the titles"),  # NaN
        (HEAD, b"x", "not written by usearch 2"),
        (HEAD + 7, b"\x03", "not written by usearch 2"),
        (HEAD + 13, b"c", "describes another graph"),
        (HEAD + 17, b"\xff\xff\xff\xff\xff\xff\xff\x7f", "describes another graph"),
        (HEAD + 33, b"\x05", "describes another graph"),
        (GRAPH, b"\xff\xff\xff", "its graph of"),
        (GRAPH + 8, b"\xff\xff\xff\xff", "links of each"),
        (GRAPH + 16, b"\x00", "links of each"),
        (GRAPH + 24, b"\xff\xff", "on level 65,5"),
        (GRAPH + 24, b"\x07", "levels that the graph does not have"),
        (GRAPH + 32, b"\xff\xff\xff\xff", "begins with node 4,294,967,295"),
        (LEVELS + 2, b"\xff\xff", "levels that the graph does not have"),
        (NODES, b"\x05", "not in the order of the titles"),
        (NODES + 8, b"\x01", "other levels than the graph says"),
        (NODES + 10, b"\xff\xff\xff\xff", "a node has 4,294,967,295 links"),
        (NODES + 14, b"\xff\xff\xff\xff", "is linked to 4,294,967,295, which is none"),
    ],
)
def test_an_edited_graph_is_refused_with_the_reason(
    path: Path, points: ExactL2, place: int, value: bytes, reason: str
) -> None:
    written(path, place, value)
    with pytest.raises(BundleError, match=rf"graph\.usearch is no graph over 300 .*{reason}"):
        UsearchGraph.view(path, points, expansion=64)


def test_links_of_a_higher_level_lead_to_nodes_that_are_on_it(path: Path, points: ExactL2) -> None:
    levels = np.frombuffer(path.read_bytes()[LEVELS:NODES], dtype="<i2")
    below = int(np.argmax(levels == 0))
    written(path, node_on_level_1(path), (1).to_bytes(4, "little") + below.to_bytes(4, "little"))
    with pytest.raises(BundleError, match="linked on level 1 to one that is not there"):
        UsearchGraph.view(path, points, expansion=64)


@pytest.mark.parametrize("length", [0, 7, HEAD, NODES + 5, -1])
def test_a_cut_or_longer_file_is_refused(path: Path, points: ExactL2, length: int) -> None:
    content = path.read_bytes()
    for damaged in (content[:length], content + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="is no graph over 300 points of size 6"):
            UsearchGraph.view(path, points, expansion=64)


def test_links_that_lead_elsewhere_in_the_graph_are_safe_to_follow(
    path: Path, points: ExactL2
) -> None:
    rng = np.random.default_rng(0)
    content = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(content)
        for place in rng.integers(NODES, len(content), size=4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            graph = UsearchGraph.view(path, points, expansion=64)
        except BundleError:
            continue
        found = graph.candidates(points.scaled_points(slice(20)), count=10)
        assert ((found >= -1) & (found < COUNT)).all()
