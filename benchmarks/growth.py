"""Time of ranking by catalog size, and of generation by history length and number of beams."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.ground import synthetic_embeddings, synthetic_ranker
from benchmarks.harness import OURS, take_turns
from benchmarks.inputs import Inputs, attach_adapter, change_generative, load_inputs, paper_small
from bigrec.grounding.beams import EncodedQueries
from bigrec.lm.generation.base import Generator
from bigrec.recommender.factory import make_generator

# Copies of the embeddings in memory while they are made, checked and ranked.
_COPIES = 3
_DEFAULT_LENGTH = 10
_LIST_LENGTH = 10


def bench_growth_stage(*, adapter: Path | None = None, n_tuning: int = 128) -> dict[str, Any]:
    """Time ranking by catalog size, and generation by history length and number of beams.

    Args:
        adapter: A saved adapter; None fine-tunes one briefly before the timing.
        n_tuning: Examples of the fine-tuning.

    Returns:
        As `grow_catalog` and `grow_generation`.
    """
    by_catalog = grow_catalog()
    # All histories have 40 titles, so that each can be truncated to any of the lengths.
    longer = (
        "data.max_history_length=40",
        "data.min_history=40",
        "generative.prompt.max_tokens=1024",
    )
    inputs = load_inputs(paper_small(longer))
    examples = inputs.prepared.train[:n_tuning]
    attach_adapter(
        inputs.lm,
        inputs.renderer,
        [replace(example, history=example.history[-_DEFAULT_LENGTH:]) for example in examples],
        adapter=adapter,
        learning_rate=inputs.settings.generative.finetune.peak_learning_rate,
    )
    return {**by_catalog, **grow_generation(inputs)}


def grow_catalog(
    n_items: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000),
    *,
    n_queries: int = 64,
    size: int = 576,
    turns: int = 3,
) -> dict[str, float | None]:
    """Time ranking synthetic catalogs for queries of one vector each.

    Args:
        n_items: Sizes of the catalog.
        n_queries: Number of queries.
        size: Embedding dimensions.
        turns: Turns of each size.

    Returns:
        Milliseconds per query, by items; None if the embeddings do not fit the memory.
    """
    return {
        f"items_{count}_ms_per_query": _ranking_ms(count, n_queries, size=size, turns=turns)
        if 4 * _COPIES * count * size < _memory_bytes()
        else None
        for count in n_items
    }


def grow_generation(
    inputs: Inputs,
    *,
    lengths: Sequence[int] = (5, 10, 20, 40),
    num_beams: Sequence[int] = (1, 4, 10, 20),
    n_prompts: int = 8,
    turns: int = 2,
) -> dict[str, float]:
    """Time generation with the default generator.

    Args:
        inputs: Model with its adapter, and test histories of the longest length.
        lengths: Titles of a history, at the default number of beams.
        num_beams: Numbers of beams, at the default length of a history.
        n_prompts: Number of prompts.
        turns: Turns of each measurement.

    Returns:
        Milliseconds per prompt, by titles of the history and by beams.
    """
    histories = inputs.test_histories(n_prompts)
    default = _generator(inputs, num_beams=inputs.settings.generative.decoding.num_beams)
    prompts = {
        length: inputs.prompts([history[-length:] for history in histories])
        for length in {*lengths, _DEFAULT_LENGTH}
    }
    by_length = {
        f"titles_{length}_ms_per_prompt": _generation_ms(default, prompts[length], turns=turns)
        for length in lengths
    }
    by_beams = {
        f"beams_{number}_ms_per_prompt": _generation_ms(
            _generator(inputs, num_beams=number), prompts[_DEFAULT_LENGTH], turns=turns
        )
        for number in num_beams
    }
    return by_length | by_beams


def _generator(inputs: Inputs, *, num_beams: int) -> Generator:
    settings = change_generative(inputs.settings, "decoding", num_beams=num_beams)
    titles = inputs.dataset.catalog.unique_titles
    return make_generator(inputs.lm, inputs.renderer, titles, settings=settings)


def _ranking_ms(n_items: int, n_queries: int, *, size: int, turns: int) -> float:
    items, vectors, _ = synthetic_embeddings(n_queries, n_items, size=size)
    ranker = synthetic_ranker(items)

    def rank_first(rows: Sequence[int]) -> None:
        queries = EncodedQueries.from_vectors(vectors[: len(rows)])
        ranker.rank(queries, k=_LIST_LENGTH, beams="top1")

    timings = take_turns({OURS: rank_first}, range(n_queries), turns=turns, warm_up=1)
    return 1000 * timings[OURS].median_s / n_queries


def _generation_ms(generator: Generator, prompts: Sequence[list[int]], *, turns: int) -> float:
    timings = take_turns({OURS: generator.generate}, prompts, turns=turns, warm_up=1)
    return 1000 * timings[OURS].median_s / len(prompts)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
