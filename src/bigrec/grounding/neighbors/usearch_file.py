"""Files of usearch's graphs, checked whole before usearch follows their links.

usearch trusts a file: a link beyond the graph reads memory that is not the graph's, and may end the
process. The layout is that of usearch 2: a matrix of vectors, a header, and an HNSW graph.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigrec.grounding.search.l2 import ExactL2, blocks
from bigrec.types import IntArray

_MAGIC, _MAJOR = b"usearch", 2
_HEAD = np.dtype(
    [
        *(("magic", "S7"), ("major", "<u2"), ("minor", "<u2"), ("patch", "<u2")),
        *(("metric", "u1"), ("scalar", "u1"), ("key", "u1"), ("slot", "u1")),
        *(("present", "<u8"), ("deleted", "<u8"), ("dimensions", "<u8"), ("multi", "u1")),
    ]
)
_HEAD_BYTES = 64
# Squared distances of float16, keys of 64 and slots of 32 bits.
_KINDS = (ord("e"), 12, 14, 15)
_GRAPH = np.dtype([(name, "<u8") for name in ("size", "upper", "base", "top", "entry")])
_NODE = np.dtype([("key", "<u8"), ("level", "<i2")])
_MAX_LINKS, _MAX_LEVEL = 1 << 12, 64
_PER_BLOCK = 4096
# Of float16, with the rounding of another order of sums.
_TOLERANCE = 2e-3

Bytes = NDArray[np.uint8]


class _Nodes(NamedTuple):
    """Nodes of a graph.

    Attributes:
        content: All bytes of the file.
        starts: Where each node begins.
        levels: Highest level of each.
        links: Most links on the lowest level, and on each of the others.
    """

    content: Bytes
    starts: IntArray
    levels: IntArray
    links: tuple[int, int]


def check_graph(path: Path, points: ExactL2) -> None:
    """Refuse a file that is no sound graph over some points.

    Which of the points are linked is not checked, as only a search can tell whether it finds the
    nearest.

    Args:
        path: Written by usearch.
        points: The points, which the graph has to hold scaled and in their order.

    Raises:
        ValueError: With the reason.
        OSError: If it cannot be read.
    """
    content = np.memmap(path, dtype=np.uint8, mode="r")
    shape = (len(points), points.size)
    start = 8 + 2 * shape[0] * shape[1]
    if len(content) < start + _HEAD_BYTES + _GRAPH.itemsize:
        raise ValueError("it is too short")
    if tuple(content[:8].view("<u4")) != (shape[0], 2 * shape[1]):
        raise ValueError(f"it holds no {shape[0]:,} vectors of size {shape[1]:,}")
    _check_head(content[start : start + _HEAD_BYTES], shape)
    _check_vectors(content[8:start].view("<f2").reshape(shape), points)
    nodes = _nodes(content, start + _HEAD_BYTES, shape[0])
    _check_links(nodes)


def _check_head(content: Bytes, shape: tuple[int, int]) -> None:
    head = content[: _HEAD.itemsize].view(_HEAD)[0]
    if head["magic"] != _MAGIC or head["major"] != _MAJOR:
        raise ValueError("it was not written by usearch 2")
    kinds = tuple(int(head[name]) for name in ("metric", "scalar", "key", "slot"))
    sizes = tuple(int(head[name]) for name in ("present", "deleted", "dimensions", "multi"))
    if kinds != _KINDS or sizes != (shape[0], 0, shape[1], 0):
        raise ValueError(f"its header describes another graph ({kinds}, {sizes})")


def _check_vectors(vectors: NDArray[np.float16], points: ExactL2) -> None:
    for rows in blocks(len(points), _PER_BLOCK):
        expected = points.scaled_points(rows)
        if not np.allclose(vectors[rows], expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise ValueError("its vectors are not those of the titles")


def _nodes(content: Bytes, start: int, count: int) -> _Nodes:
    graph = content[start : start + _GRAPH.itemsize].view(_GRAPH)[0]
    size, upper, base, top, entry = (int(value) for value in graph)
    start += _GRAPH.itemsize
    levels = content[start : start + 2 * count]
    if size != count or not (0 < upper <= _MAX_LINKS and 0 < base <= _MAX_LINKS):
        raise ValueError(f"its graph of {size:,} nodes has {upper:,} and {base:,} links of each")
    if len(levels) < 2 * count or entry >= count or top > _MAX_LEVEL:
        raise ValueError(f"its graph begins with node {entry:,} on level {top:,}")
    level = levels.view("<i2").astype(np.int64)
    if level.min() < 0 or level.max() != top or level[entry] != top:
        raise ValueError("its nodes are on levels that the graph does not have")
    sizes = _NODE.itemsize + 4 * (1 + base) + level * 4 * (1 + upper)
    starts = start + 2 * count + np.concatenate([[0], np.cumsum(sizes)])
    if starts[-1] != len(content):
        raise ValueError(f"its nodes end at byte {starts[-1]:,} of {len(content):,}")
    return _Nodes(content, starts[:-1], level, (base, upper))


def _check_links(nodes: _Nodes) -> None:
    for rows in blocks(len(nodes.starts), _PER_BLOCK):
        starts = nodes.starts[rows]
        own = _gathered(nodes.content, starts, _NODE.itemsize).view(_NODE)[:, 0]
        if (own["key"] != np.arange(rows.start, rows.start + len(starts))).any():
            raise ValueError("its nodes are not in the order of the titles")
        if (own["level"] != nodes.levels[rows]).any():
            raise ValueError("its nodes have other levels than the graph says")
        starts = starts + _NODE.itemsize
        for level in range(int(nodes.levels[rows].max()) + 1):
            is_there = nodes.levels[rows] >= level
            links = nodes.links[min(level, 1)]
            _check_lists(nodes, starts[is_there], links, level=level)
            starts = starts + 4 * (1 + links)


def _check_lists(nodes: _Nodes, starts: IntArray, links: int, *, level: int) -> None:
    """Check links of some nodes on a level: to nodes that are on it, too."""
    lists = _gathered(nodes.content, starts, 4 * (1 + links)).view("<u4")
    counts, linked = lists[:, :1].astype(np.int64), lists[:, 1:].astype(np.int64)
    if (counts > links).any():
        raise ValueError(f"a node has {counts.max():,} links, of at most {links:,}")
    linked = linked[np.arange(links) < counts]
    if linked.size and linked.max() >= len(nodes.starts):
        raise ValueError(f"a node is linked to {linked.max():,}, which is none")
    if (nodes.levels[linked] < level).any():
        raise ValueError(f"a node is linked on level {level} to one that is not there")


def _gathered(content: Bytes, starts: IntArray, size: int) -> Bytes:
    """Bytes of the same size from several places, ``[len(starts), size]``."""
    return np.ascontiguousarray(content[starts[:, None] + np.arange(size)])
