"""Time of ranking the catalog for generated texts, against sorting all distances twice."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, figures, take_turns
from benchmarks.references import rank_plainly
from bigrec.grounding.beams import Queries
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.types import FloatArray, IntArray

_LOWEST_SHARE = 0.999


def bench_ground_stage(
    *, n_queries: int = 5000, n_items: int = 10_681, size: int = 576, turns: int = 3, k: int = 10
) -> dict[str, Any]:
    """Rank made-up items for made-up queries both ways: every target's rank, and the lists.

    Args:
        n_queries: Queries, each near its target.
        n_items: Items, all with titles of their own.
        size: Size of an embedding.
        turns: Times that each side ranks for all queries.
        k: Length of the lists.

    Returns:
        Among others ``ratio`` and ``agree``, whether 99.9 % of the ranks are the same. The rest is
        rounding: the reference's distances are float32 throughout.
    """
    items, queries, targets = made_up(n_queries, n_items, size=size)
    ranker = made_up_ranker(items)

    def ours(rows: Sequence[int]) -> tuple[IntArray, IntArray]:
        found = ranker.evaluate(
            single_beams(queries[: len(rows)]), targets[: len(rows)], k=k, modes=("first",)
        )[0]
        return found.ranks, found.lists.groups

    def reference(rows: Sequence[int]) -> tuple[IntArray, IntArray]:
        return rank_plainly(queries[: len(rows)], items, targets[: len(rows)], k=k)

    measured = take_turns(
        {OURS: ours, REFERENCE: reference}, range(n_queries), turns=turns, warm_up=64
    )
    (ranks, lists), (plain_ranks, plain_lists) = (
        measured[side].result for side in (OURS, REFERENCE)
    )
    share = float((ranks == plain_ranks).mean())
    return {
        **figures(measured, units=n_queries, unit="queries"),
        "items": n_items,
        "embedding_size": size,
        "same_rank_share": share,
        "same_list_share": float((lists == plain_lists).mean()),
        "median_rank": float(np.median(ranks)) + 1,
        "agree": share >= _LOWEST_SHARE,
    }


def made_up(n_queries: int, n_items: int, *, size: int) -> tuple[FloatArray, FloatArray, IntArray]:
    """Items ``[n, d]``, queries ``[q, d]`` and each query's target ``[q]``.

    As a language model's embeddings do, they vary much in a few directions and little in most.
    """
    rng = np.random.default_rng(0)
    spread = (1 + np.arange(size, dtype=np.float32)) ** np.float32(-0.5)
    items = rng.standard_normal((n_items, size), dtype=np.float32) * spread
    targets = rng.integers(n_items, size=n_queries)
    # Twice the items' own spread puts half of the targets first and the others at all ranks.
    noise = 2 * rng.standard_normal((n_queries, size), dtype=np.float32) * spread
    return items, items[targets] + noise, targets


def made_up_ranker(items: FloatArray) -> Ranker:
    """A ranker of items that are called by their numbers."""
    numbers = np.arange(len(items))
    index = ItemIndex(tuple(map(str, numbers)), items, embedder_fingerprint="made up")
    return Ranker(index, numbers, counts=np.zeros(len(items), dtype=np.int64))


def single_beams(vectors: FloatArray) -> Queries:
    """Queries of one generated text each."""
    count = len(vectors)
    return Queries(
        vectors=vectors,
        vector_of=np.arange(count),
        log_probs=np.zeros(count),
        offsets=np.arange(count + 1),
    )
