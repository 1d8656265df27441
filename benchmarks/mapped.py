"""Exact search over a mapped file of embeddings: latency, memory, and the same lists as float64."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.harness import timed
from bigrec.grounding.search.mapped import MappedL2, nearest
from bigrec.types import FloatArray, IntArray

_BATCH = 64
_PER_BLOCK = 1 << 15
_PER_CLUSTER = 100
_MIB = 1 << 20


def bench_mapped_stage(
    *,
    n_items: int = 1_000_000,
    size: int = 576,
    k: int = 10,
    alone: int = 9,
    batches: int = 3,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Search one file in float32 and one in float16, for one query and for 64 together.

    Args:
        n_items: Embeddings, in clusters of about a hundred.
        size: Their dimensions.
        k: Length of the lists.
        alone: Single queries, each another.
        batches: Batches of 64.
        folder: Keeps the files; a temporary one by default.
    """
    results: dict[str, Any] = {"items": n_items, "embedding_size": size}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in ("float32", "float16"):
            path = (folder or Path(temporary)) / f"{kind}-{n_items}.npy"
            if not path.is_file():
                write_clusters(path, n_items, size=size, kind=kind)
            figures = _searched(path, k=k, alone=alone, batches=batches)
            results |= {f"{kind}_{name}": value for name, value in figures.items()}
    return results


def write_clusters(path: Path, n_items: int, *, size: int, kind: str) -> None:
    """Write clustered embeddings, made block by block."""
    rng = np.random.default_rng(0)
    spread = (1 + np.arange(size, dtype=np.float32)) ** np.float32(-0.5)
    centers = rng.standard_normal((max(1, n_items // _PER_CLUSTER), size), dtype=np.float32)
    points = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(n_items, size))
    for start in range(0, n_items, _PER_BLOCK):
        count = min(_PER_BLOCK, n_items - start)
        block = rng.standard_normal((count, size), dtype=np.float32) / 2
        block += centers[rng.integers(len(centers), size=count)]
        points[start : start + count] = block * spread
    points.flush()


def _searched(path: Path, *, k: int, alone: int, batches: int) -> dict[str, float]:
    seconds, points = timed(lambda: MappedL2(path))
    content = np.load(path, mmap_mode="r")
    rng = np.random.default_rng(1)
    near = content[np.sort(rng.integers(len(content), size=alone + _BATCH * batches))]
    queries = near.astype(np.float32) + np.float32(0.02) * rng.standard_normal(near.shape).astype(
        np.float32
    )
    results = {"file_mib": path.stat().st_size / _MIB, "open_s": seconds}
    for name, count, per_call in (("one", alone, 1), ("batch", batches, _BATCH)):
        called, used = [], time.process_time()
        for number in range(count):
            asked = queries[number * per_call :][:per_call]
            called.append(timed(lambda asked=asked: nearest(points, asked, k=k))[0])  # type: ignore[misc]
        results[f"{name}_p50_ms"] = 1000 * float(np.median(called))
        results[f"{name}_processor_ms"] = 1000 * (time.process_time() - used) / count
    results["anonymous_mib"] = _anonymous_mib()
    found, expected = nearest(points, queries[:2], k=k)[1], _by_float64(content, queries[:2], k=k)
    results["lists_as_float64"] = float(np.mean(found == expected))
    return results


def _by_float64(points: FloatArray, queries: FloatArray, *, k: int) -> IntArray:
    squares = np.empty((len(queries), len(points)))
    for start in range(0, len(points), _PER_BLOCK // 8):
        rows = slice(start, start + _PER_BLOCK // 8)
        for row, query in enumerate(queries):
            difference = points[rows].astype(np.float64) - query
            squares[row, rows] = np.vecdot(difference, difference)
    return np.argsort(squares, axis=1, kind="stable")[:, :k]


def _anonymous_mib() -> float:
    """Memory that is no page of a file; pages of files the system drops where it needs memory."""
    memory = psutil.Process().memory_info()
    return float(memory.rss - memory.shared) / _MIB
