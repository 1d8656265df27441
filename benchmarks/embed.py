"""Time of embedding titles, against the whole causal model on unsorted batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, figures, take_turns
from benchmarks.inputs import load_inputs, paper_small
from benchmarks.references import reference_embed
from bigrec.lm.model import LanguageModel
from bigrec.recommender.factory import make_embedder
from bigrec.types import TextEmbedder

_LOWEST_COSINE = 0.9999


def bench_embed(
    lm: LanguageModel,
    texts: Sequence[str],
    *,
    embedder: TextEmbedder,
    turns: int = 3,
    warm_up: int = 16,
) -> dict[str, Any]:
    """Embed texts with our embedder and with the reference.

    Args:
        lm: The base model, with or without an adapter.
        texts: Texts to embed, possibly repeated.
        embedder: Our embedder, on the same model.
        turns: Turns of each side.
        warm_up: Texts embedded before the timing.

    Returns:
        Among others ``ratio`` and ``agree``, whether the cosine similarity of both vectors is above
        0.9999 for every text.
    """
    with lm.base_only() as base:
        timings = take_turns(
            {
                OURS: embedder.embed,
                REFERENCE: lambda batch: reference_embed(base, lm.tokenizer, batch),
            },
            texts,
            turns=turns,
            warm_up=warm_up,
        )
    lowest = float(_cosines(timings[OURS].result, timings[REFERENCE].result).min())
    return {
        **figures(timings, units=len(texts), unit="texts"),
        "different_texts": len(set(texts)),
        "lowest_cosine": lowest,
        "agree": lowest > _LOWEST_COSINE,
    }


def bench_embed_stage(
    *, n_titles: int = 300, n_targets: int = 100, turns: int = 3
) -> dict[str, Any]:
    """Embed titles of the catalog, as for the index, and of test targets, as generated texts.

    Args:
        n_titles: Distinct titles, spread over the catalog.
        n_targets: Titles of the first test targets, which repeat as generated titles do.
        turns: As in `bench_embed`.

    Returns:
        As `bench_embed` for the titles of the catalog, and with the prefix ``targets_`` for those
        of the targets.
    """
    inputs = load_inputs(paper_small())
    catalog = inputs.dataset.catalog
    embedder = make_embedder(inputs.lm, inputs.settings)
    title_ids = np.linspace(0, catalog.n_titles - 1, min(n_titles, catalog.n_titles)).astype(int)
    targets = [catalog.titles[item] for item in inputs.prepared.test_queries.targets[:n_targets]]
    titles = [catalog.unique_titles[title_id] for title_id in title_ids]
    catalog_figures = bench_embed(inputs.lm, titles, embedder=embedder, turns=turns)
    target_figures = bench_embed(inputs.lm, targets, embedder=embedder, turns=turns)
    return {
        **catalog_figures,
        **{f"targets_{name}": value for name, value in target_figures.items()},
        "agree": catalog_figures["agree"] and target_figures["agree"],
    }


def _cosines(ours: np.ndarray, reference: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(reference, axis=1)
    return np.asarray(np.einsum("ij,ij->i", ours, reference) / lengths)
