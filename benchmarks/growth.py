"""How time grows with the catalog, the history and the beams."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.ground import made_up, made_up_ranker, single_beams
from benchmarks.harness import OURS, take_turns
from benchmarks.inputs import Inputs, attach_adapter, few_shot, load_inputs
from bigrec.lm.generation.transformers import Generator
from bigrec.recommender.factory import make_generator

# What making embeddings, checking them and ranking hold at once, as copies of the embeddings.
_COPIES = 3
_USUAL_LENGTH = 10
_LISTED = 10


def bench_growth_stage(*, adapter: Path | None = None, n_tuning: int = 128) -> dict[str, Any]:
    """Time of ranking by catalog size, and of generation by history length and by beams.

    Args:
        adapter: A saved adapter; without one the model is fine-tuned briefly first, untimed.
        n_tuning: Examples of that fine-tuning.

    Returns:
        As `grow_catalog` and `grow_generation`.
    """
    by_catalog = grow_catalog()
    # All histories have 40 titles, so that each can be cut to any of the lengths.
    longer = ("data.history_length=40", "data.min_history=40", "prompt.max_tokens=1024")
    inputs = load_inputs(few_shot(longer))
    examples = inputs.drawn.train[:n_tuning]
    attach_adapter(
        inputs.lm,
        inputs.renderer,
        [replace(one, history=one.history[-_USUAL_LENGTH:]) for one in examples],
        adapter=adapter,
        learning_rate=inputs.settings.train.learning_rate,
    )
    return {**by_catalog, **grow_generation(inputs)}


def grow_catalog(
    n_items: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000),
    *,
    n_queries: int = 64,
    size: int = 576,
    turns: int = 3,
) -> dict[str, float | None]:
    """Time of ranking made-up catalogs for queries of one text each.

    Args:
        n_items: Sizes of the catalog.
        n_queries: Queries.
        size: Size of an embedding.
        turns: Times that each size is measured.

    Returns:
        Milliseconds a query, by items; None where the embeddings do not fit the memory.
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
    beams: Sequence[int] = (1, 4, 10, 20),
    n_prompts: int = 8,
    turns: int = 2,
) -> dict[str, float]:
    """Time of generation with the default generator.

    Args:
        inputs: Model with its adapter, and test histories of the longest length.
        lengths: Titles of a history, at the usual number of beams.
        beams: Texts written at once for a prompt, with histories of the usual length.
        n_prompts: Prompts.
        turns: Times that each is measured.

    Returns:
        Milliseconds a prompt, by titles of the history and by beams.
    """
    histories = inputs.test_histories(n_prompts)
    usual = _generator(inputs, beams=inputs.settings.generate.beams)
    prompts = {
        length: inputs.prompts([one[-length:] for one in histories])
        for length in {*lengths, _USUAL_LENGTH}
    }
    by_length = {
        f"titles_{length}_ms_per_prompt": _writing_ms(usual, prompts[length], turns=turns)
        for length in lengths
    }
    by_beams = {
        f"beams_{number}_ms_per_prompt": _writing_ms(
            _generator(inputs, beams=number), prompts[_USUAL_LENGTH], turns=turns
        )
        for number in beams
    }
    return by_length | by_beams


def _generator(inputs: Inputs, *, beams: int) -> Generator:
    generate = inputs.settings.generate.model_copy(update={"beams": beams})
    return make_generator(
        inputs.lm,
        inputs.renderer,
        inputs.dataset.catalog.group_titles,
        settings=inputs.settings.model_copy(update={"generate": generate}),
    )


def _ranking_ms(n_items: int, n_queries: int, *, size: int, turns: int) -> float:
    items, vectors, _ = made_up(n_queries, n_items, size=size)
    ranker = made_up_ranker(items)

    def rank(rows: Sequence[int]) -> None:
        ranker.rank(single_beams(vectors[: len(rows)]), k=_LISTED, beams="first")

    measured = take_turns({OURS: rank}, range(n_queries), turns=turns, warm_up=1)
    return 1000 * measured[OURS].median_s / n_queries


def _writing_ms(generator: Generator, prompts: Sequence[list[int]], *, turns: int) -> float:
    measured = take_turns({OURS: generator.generate}, prompts, turns=turns, warm_up=1)
    return 1000 * measured[OURS].median_s / len(prompts)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
