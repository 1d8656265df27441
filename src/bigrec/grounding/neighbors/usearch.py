"""Candidates by usearch: an HNSW graph over points, built in memory and mapped from its file."""

import importlib
from pathlib import Path
from typing import Any, Self

import numpy as np

from bigrec.errors import BundleError, SettingsError
from bigrec.grounding.neighbors.usearch_file import check_graph
from bigrec.grounding.search.l2 import ExactL2, blocks
from bigrec.types import FloatArray, IntArray

_CONNECTIVITY = 16
_EXPANSION_ADD = 64
_PER_CALL = 4096
# Far beyond any point, which are at most 1 long, and within float16.
_FARTHEST = 1e4


class UsearchGraph:
    """An HNSW graph over points; `build` makes one, `view` maps a saved one.

    Points are held in float16: whoever asks for candidates computes their distances again.

    Args:
        index: usearch's index.
        expansion: Points that a search keeps open: more find more of the nearest, and take longer.
    """

    def __init__(self, index: Any, *, expansion: int) -> None:
        self._index = index
        self._index.expansion_search = expansion

    def __len__(self) -> int:
        return len(self._index)

    @classmethod
    def build(cls, points: ExactL2, *, expansion: int) -> Self:
        """Build a graph, on one thread: with more it would differ from build to build.

        Args:
            points: The points, which enter the graph scaled; see `ExactL2.scaled`.
            expansion: As of the class.

        Raises:
            SettingsError: If usearch is not installed.
        """
        index = _usearch().Index(
            ndim=points.size,
            metric="l2sq",
            dtype="f16",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
        )
        for rows in blocks(len(points), _PER_CALL):
            keys = np.arange(rows.start, rows.stop, dtype=np.uint64)
            index.add(keys, points.scaled_points(rows), threads=1)
        return cls(index, expansion=expansion)

    @classmethod
    def view(cls, path: Path, points: ExactL2, *, expansion: int) -> Self:
        """Map a saved graph into memory, page by page as searches need it.

        A file that somebody changed is refused, or safe to search but may find fewer of the
        nearest: only its owner may have written it.

        Args:
            path: Written by `save`.
            points: Those that it was built over.
            expansion: As of the class.

        Raises:
            BundleError: If the file is missing, damaged, or no graph over the points.
            SettingsError: If usearch is not installed.
        """
        usearch = _usearch()
        try:
            check_graph(path, points)
            index = usearch.Index.restore(str(path), view=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise BundleError(
                f"{path} is no graph over {len(points)} points of size {points.size}: {error}. "
                "Build it again."
            ) from None
        return cls(index, expansion=expansion)

    def save(self, path: Path) -> None:
        """Write the graph with its points."""
        self._index.save(str(path))

    def candidates(self, queries: FloatArray, *, count: int) -> IntArray:
        """Points that are probably the nearest.

        Args:
            queries: ``[q, d]`` in the space of the points.
            count: Number of points, at least 1.

        Returns:
            Numbers of points, ``[q, min(count, m)]``, nearest first; -1 where the search found
            fewer.
        """
        vectors = np.clip(queries, -_FARTHEST, _FARTHEST).astype(np.float32)
        found = self._index.search(vectors, min(count, len(self)), threads=1)
        # Of a single query usearch drops the first dimension.
        keys = np.asarray(found.keys).reshape(len(vectors), -1).astype(np.int64)
        counts = np.atleast_1d(found.counts) if len(vectors) > 1 else np.array([len(found)])
        return np.where(np.arange(keys.shape[1]) < counts[:, None], keys, -1)


def _usearch() -> Any:
    try:
        return importlib.import_module("usearch.index")
    except ImportError:
        raise SettingsError(
            "index.backend is usearch, which is not installed. Run: pip install "
            "'bigrec[usearch]', or set index.backend: exact."
        ) from None
