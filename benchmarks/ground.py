"""Time of ranking the catalog for query vectors, against sorting all distances twice."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, figures, take_turns
from benchmarks.references import reference_rank
from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.types import FloatArray, IntArray

_LOWEST_SHARE = 0.999


def bench_ground_stage(
    *, n_queries: int = 5000, n_items: int = 10_681, size: int = 576, turns: int = 3, k: int = 10
) -> dict[str, Any]:
    """Rank synthetic items for synthetic queries: the rank of every target, and the lists.

    Args:
        n_queries: Queries, each near its target.
        n_items: Items, each with another title.
        size: Embedding dimensions.
        turns: Turns of each side.
        k: Length of the lists.

    Returns:
        Among others ``ratio`` and ``agree``, whether 99.9 % of the ranks are equal. The others
        differ by rounding: the reference computes distances in float32 throughout.
    """
    items, queries, targets = synthetic_embeddings(n_queries, n_items, size=size)
    ranker = synthetic_ranker(items)

    def ours(rows: Sequence[int]) -> tuple[IntArray, IntArray]:
        encoded = EncodedQueries.from_vectors(queries[: len(rows)])
        (evaluation,) = ranker.evaluate(encoded, targets[: len(rows)], k=k, modes=("top1",))
        return evaluation.ranks, evaluation.lists.title_ids

    def reference(rows: Sequence[int]) -> tuple[IntArray, IntArray]:
        return reference_rank(queries[: len(rows)], items, targets[: len(rows)], k=k)

    timings = take_turns(
        {OURS: ours, REFERENCE: reference}, range(n_queries), turns=turns, warm_up=64
    )
    ranks, lists = timings[OURS].result
    reference_ranks, reference_lists = timings[REFERENCE].result
    share = float((ranks == reference_ranks).mean())
    return {
        **figures(timings, units=n_queries, unit="queries"),
        "items": n_items,
        "embedding_size": size,
        "same_rank_share": share,
        "same_list_share": float((lists == reference_lists).mean()),
        "median_rank": float(np.median(ranks)) + 1,
        "agree": share >= _LOWEST_SHARE,
    }


def synthetic_embeddings(
    n_queries: int, n_items: int, *, size: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Items ``[n, d]``, queries ``[q, d]`` and item numbers of their targets ``[q]``.

    Like embeddings of a language model, they vary much in a few directions and little in most.
    """
    rng = np.random.default_rng(0)
    spread = (1 + np.arange(size, dtype=np.float32)) ** np.float32(-0.5)
    items = rng.standard_normal((n_items, size), dtype=np.float32) * spread
    targets = rng.integers(n_items, size=n_queries)
    # Noise of twice the items' spread ranks half of the targets first and the others anywhere.
    noise = 2 * rng.standard_normal((n_queries, size), dtype=np.float32) * spread
    return items, items[targets] + noise, targets


def synthetic_ranker(items: FloatArray) -> Ranker:
    """A ranker of items whose titles are their numbers."""
    numbers = np.arange(len(items))
    index = ItemIndex(tuple(map(str, numbers)), items, embedder_fingerprint="synthetic")
    return Ranker(index, numbers, counts=np.zeros(len(items), dtype=np.int64))
