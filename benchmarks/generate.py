"""Time of writing titles, against transformers' own beam search on batches as they come."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, Measured, figures, take_turns, timed
from benchmarks.inputs import attach_adapter, dtype_name, few_shot, load_inputs
from benchmarks.references import generate_plainly
from bigrec.lm.generation.transformers import Generator
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.recommender.factory import load_model, make_generator

_LOWEST_SHARE = 0.99
_BATCH = 8
_LOW = "low"


def bench_generate(
    lm: LanguageModel,
    prompts: Sequence[list[int]],
    *,
    renderer: PromptRenderer,
    generator: Generator,
    low: Generator | None = None,
    beams: int = 4,
    turns: int = 3,
) -> dict[str, Any]:
    """Write texts both ways.

    Args:
        lm: The model with its adapter, which the reference leaves beside the weights.
        prompts: Tokens of each prompt.
        renderer: Reads back what was written, on either side.
        generator: Ours, of the same model.
        low: Ours in a lower precision, timed beside the others.
        beams: The reference's beams, as many as the generator's.
        turns: Times that each side writes all texts.

    Returns:
        Among others ``ratio`` and ``agree``, whether the best text is the same for 99 % of the
        prompts whose text the reference ends; it goes on for up to 128 tokens with one that has no
        end, ours for as many as a title has. Weights that the generator copied when it was made are
        not in ``ours_peak_mib``.
        With ``low``, its ratio and share of the same texts are ``low_ratio`` and
        ``low_same_text_share``; they decide nothing.
    """

    def reference(some: Sequence[list[int]]) -> list[str | None]:
        written = generate_plainly(
            lm.model,
            lm.tokenizer,
            some,
            end_ids=renderer.stop_ids,
            beams=beams,
            batch_size=_BATCH,
        )
        stops = set(renderer.stop_ids)
        return [renderer.read(ids) if stops & set(ids) else None for ids in written]

    sides: dict[str, Callable[[Sequence[list[int]]], Any]] = {
        OURS: _best(generator),
        REFERENCE: reference,
    }
    if low is not None:
        sides[_LOW] = _best(low)
    measured = take_turns(sides, prompts, turns=turns, warm_up=_BATCH)
    same = _same_share(measured[OURS], measured[REFERENCE])
    found = {
        **figures(measured, units=len(prompts), unit="prompts"),
        "beams": beams,
        "backend": type(generator).__name__,
        "same_text_share": same,
        "unended_share": float(np.mean([text is None for text in measured[REFERENCE].result])),
        "agree": same >= _LOWEST_SHARE,
    }
    if low is not None:
        ratios = np.divide(measured[REFERENCE].seconds, measured[_LOW].seconds)
        found["low_ratio"] = float(np.median(ratios))
        found["low_same_text_share"] = _same_share(measured[_LOW], measured[REFERENCE])
    return found


def bench_generate_stage(
    *,
    adapter: Path | None = None,
    n_prompts: int = 32,
    n_tuning: int = 128,
    turns: int = 2,
) -> dict[str, Any]:
    """Write titles for the first test histories with the default generator.

    Where ``auto`` chooses a lower precision than float32 here, that is timed too.

    Args:
        adapter: A saved adapter; without one the model is fine-tuned briefly first, untimed.
        n_prompts: Histories.
        n_tuning: Examples of that fine-tuning.
        turns: As in `bench_generate`.

    Returns:
        As `bench_generate`, and ``setup_s``, the time of making the generator.
    """
    inputs = load_inputs(few_shot())
    settings, lm = inputs.settings, inputs.lm
    quick = load_model(few_shot(["model.dtype=auto"]))
    with tempfile.TemporaryDirectory() as folder:
        if adapter is None:
            adapter = Path(folder) / "adapter"
            attach_adapter(
                quick,
                inputs.renderer,
                inputs.drawn.train[:n_tuning],
                adapter=None,
                learning_rate=settings.train.learning_rate,
            )
            quick.save_adapter(adapter)
        for one in (lm, quick):
            one.load_adapter(adapter)
    titles = inputs.dataset.catalog.group_titles
    make = partial(make_generator, renderer=inputs.renderer, titles=titles, settings=settings)
    setup_s, generator = timed(lambda: make(lm))
    found = bench_generate(
        lm,
        inputs.prompts(inputs.test_histories(n_prompts)),
        renderer=inputs.renderer,
        generator=generator,
        low=None if quick.model.dtype == lm.model.dtype else make(quick),
        beams=settings.generate.beams,
        turns=turns,
    )
    return {**found, "low_dtype": dtype_name(quick), "setup_s": setup_s}


def _best(generator: Generator) -> Callable[[Sequence[list[int]]], list[str]]:
    return lambda some: [texts[0].text for texts in generator.generate(some)]


def _same_share(one: Measured, reference: Measured) -> float:
    pairs = zip(one.result, reference.result, strict=True)
    same = [ours == theirs for ours, theirs in pairs if theirs is not None]
    return float(np.mean(same)) if same else 0.0
