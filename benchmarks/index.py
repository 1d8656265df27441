"""Approximate search beside exact search: throughput, latency and recall in one large catalog."""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, figures, take_turns, timed
from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.neighbors.candidates import CandidateRanker
from bigrec.grounding.neighbors.usearch import UsearchGraph
from bigrec.grounding.ranked_lists import RankedLists
from bigrec.grounding.ranker import Ranker
from bigrec.recommender.approximate import found_shares
from bigrec.types import FloatArray, IntArray

_BATCH = 64
_PER_CLUSTER = 100
_WITHIN = np.float32(0.5)
_EXPANSIONS = (64, 128, 256, 512)
_ALONE = 15


def bench_index_stage(
    *,
    n_items: int = 1_000_000,
    size: int = 576,
    n_queries: int = 1024,
    turns: int = 3,
    k: int = 10,
    n_candidates: int = 100,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Lists from an HNSW graph beside those of the exact search, for clustered synthetic items.

    Args:
        n_items: Items, each with another title.
        size: Embedding dimensions.
        n_queries: Queries, each near an item.
        turns: Turns of each side.
        k: Length of the lists.
        n_candidates: Candidates of the graph.
        folder: Keeps the graph, which takes longest; a temporary one by default.

    Returns:
        Among others ``ratio``, the exact search's time over that of the first expansion that finds
        0.99 of its lists, of the largest one if none does.
    """
    items, queries = clustered_embeddings(n_items, n_queries, size=size)
    numbers = np.arange(n_items)
    index = ItemIndex(tuple(map(str, numbers)), items, embedder_fingerprint="synthetic")
    ranker = Ranker(index, numbers, counts=np.zeros(n_items, dtype=np.int64))
    encoded = EncodedQueries.from_vectors(queries)
    expected = ranker.rank(encoded, k=k, beams="top1").title_ids
    results: dict[str, Any] = {"items": n_items, "embedding_size": size}
    with tempfile.TemporaryDirectory() as temporary:
        path = (folder or Path(temporary)) / f"graph-{n_items}.usearch"
        if not path.is_file():
            results |= _build(index, path)
        results["graph_mib"] = path.stat().st_size / 2**20

        def searched(expansion: int) -> Callable[[EncodedQueries], RankedLists]:
            graph = UsearchGraph.view(path, index.l2, expansion=expansion)
            return _ranked(CandidateRanker(ranker, graph, n_candidates=n_candidates), k=k)

        for expansion in _EXPANSIONS:
            lists = searched(expansion)(encoded).title_ids
            recall = float(np.mean(found_shares(lists, expected)))
            results[f"recall_expansion_{expansion}"] = recall
            if recall >= 0.99:
                break
        search = searched(expansion)
        results |= _compared(search, ranker, queries, k=k, turns=turns)
    return {**results, "expansion": expansion, f"recall_at_{k}": recall}


def clustered_embeddings(
    n_items: int, n_queries: int, *, size: int
) -> tuple[FloatArray, FloatArray]:
    """Items ``[n, d]`` in clusters of about a hundred, and queries ``[q, d]`` near some of them."""
    rng = np.random.default_rng(0)
    spread = (1 + np.arange(size, dtype=np.float32)) ** np.float32(-0.5)
    n_clusters = max(1, n_items // _PER_CLUSTER)
    centers = rng.standard_normal((n_clusters, size), dtype=np.float32) * spread
    items = np.empty((n_items, size), dtype=np.float32)
    for start in range(0, n_items, 1 << 15):
        block = items[start : start + (1 << 15)]
        rng.standard_normal(out=block, dtype=np.float32)
        block *= _WITHIN * spread
        block += centers[rng.integers(n_clusters, size=len(block))]
    noise = rng.standard_normal((n_queries, size), dtype=np.float32) * (_WITHIN * spread)
    return items, items[rng.integers(n_items, size=n_queries)] + noise


def _build(index: ItemIndex, path: Path) -> dict[str, float]:
    points, processor = index.l2, time.process_time()
    seconds, graph = timed(lambda: UsearchGraph.build(points, expansion=_EXPANSIONS[0]))
    used = time.process_time() - processor
    graph.save(path)
    return {"build_s": seconds, "build_processor_s": used}


def _ranked(search: CandidateRanker, *, k: int) -> Callable[[EncodedQueries], RankedLists]:
    def rank(queries: EncodedQueries) -> RankedLists:
        nothing: list[IntArray] = [np.zeros(0, dtype=np.int64)] * len(queries)
        lists = search.rank(queries, k=k, exclude=nothing)
        if lists is None:
            raise RuntimeError(f"the graph found fewer than {k} candidates of a query.")
        return lists

    return rank


def _compared(
    search: Callable[[EncodedQueries], RankedLists],
    ranker: Ranker,
    queries: FloatArray,
    *,
    k: int,
    turns: int,
) -> dict[str, Any]:
    def in_batches(
        rank: Callable[[EncodedQueries], RankedLists], size: int
    ) -> Callable[[Sequence[int]], None]:
        def run(rows: Sequence[int]) -> None:
            for start in range(0, len(rows), size):
                rank(EncodedQueries.from_vectors(queries[start : start + size]))

        return run

    def exact(encoded: EncodedQueries) -> RankedLists:
        return ranker.rank(encoded, k=k, beams="top1")

    sides = {OURS: in_batches(search, _BATCH), REFERENCE: in_batches(exact, _BATCH)}
    timings = take_turns(sides, range(len(queries)), turns=turns, warm_up=1)
    results = figures(timings, units=len(queries), unit="queries")
    for name, rank in (("approximate", search), ("exact", exact)):
        results[f"{name}_one_p50_ms"] = _median_ms(rank, queries, size=1)
        results[f"{name}_batch_p50_ms"] = _median_ms(rank, queries, size=_BATCH)
    return results


def _median_ms(
    rank: Callable[[EncodedQueries], RankedLists], queries: FloatArray, *, size: int
) -> float:
    """Milliseconds of the median call, each for other queries: the same would be in the cache."""
    batches = [queries[start : start + size] for start in range(0, len(queries), size)][:_ALONE]
    encoded = [EncodedQueries.from_vectors(batch) for batch in batches]
    return 1000 * float(np.median([timed(partial(rank, batch))[0] for batch in encoded]))
