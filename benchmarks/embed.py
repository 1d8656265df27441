"""Time of embedding titles, against the whole causal model on batches as they come."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, figures, take_turns
from benchmarks.inputs import few_shot, load_inputs
from benchmarks.references import embed_plainly
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
    """Embed texts both ways.

    Args:
        lm: The base model, with or without an adapter.
        texts: What is embedded; texts may repeat.
        embedder: Ours, on the same model.
        turns: Times that each side embeds all texts.
        warm_up: Texts embedded before anything is timed.

    Returns:
        Among others ``ratio`` and ``agree``, whether the cosine of our vector and the reference's
        is above 0.9999 for every text.
    """
    with lm.base_only() as base:
        measured = take_turns(
            {
                OURS: embedder.embed,
                REFERENCE: lambda some: embed_plainly(base, lm.tokenizer, some),
            },
            texts,
            turns=turns,
            warm_up=warm_up,
        )
    lowest = float(_cosines(measured[OURS].result, measured[REFERENCE].result).min())
    return {
        **figures(measured, units=len(texts), unit="texts"),
        "different_texts": len(set(texts)),
        "lowest_cosine": lowest,
        "agree": lowest > _LOWEST_COSINE,
    }


def bench_embed_stage(
    *, n_titles: int = 300, n_targets: int = 100, turns: int = 3
) -> dict[str, Any]:
    """Embed titles of the catalog, as indexing does, and test targets, as recommending does.

    Args:
        n_titles: Different titles, spread over the catalog.
        n_targets: Titles of the first test targets, which repeat as generated titles do.
        turns: As in `bench_embed`.

    Returns:
        As `bench_embed` for the catalog's titles; for the targets' under names that begin with
        ``targets_``.
    """
    inputs = load_inputs(few_shot())
    catalog = inputs.dataset.catalog
    embedder = make_embedder(inputs.lm, inputs.settings)
    chosen = np.linspace(0, catalog.n_groups - 1, min(n_titles, catalog.n_groups)).astype(int)
    targets = [catalog.titles[item] for item in inputs.drawn.test.targets[:n_targets]]
    titles = [catalog.group_titles[group] for group in chosen]
    of_catalog = bench_embed(inputs.lm, titles, embedder=embedder, turns=turns)
    of_targets = bench_embed(inputs.lm, targets, embedder=embedder, turns=turns)
    return {
        **of_catalog,
        **{f"targets_{name}": value for name, value in of_targets.items()},
        "agree": of_catalog["agree"] and of_targets["agree"],
    }


def _cosines(ours: np.ndarray, reference: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(reference, axis=1)
    return np.asarray(np.einsum("ij,ij->i", ours, reference) / lengths)
