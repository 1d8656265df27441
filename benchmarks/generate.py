"""Time of generating titles, against transformers' beam search on unsorted batches."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, Timing, figures, take_turns, timed
from benchmarks.inputs import attach_adapter, dtype_name, load_inputs, paper_small
from benchmarks.references import reference_generate
from bigrec.lm.generation.base import Generator
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.recommender.factory import load_base_model, make_generator

_LOWEST_SHARE = 0.99
_BATCH_SIZE = 8
_LOW_PRECISION = "low_precision"


def bench_generate(
    lm: LanguageModel,
    prompts: Sequence[list[int]],
    *,
    renderer: PromptRenderer,
    generator: Generator,
    low_precision: Generator | None = None,
    num_beams: int = 4,
    turns: int = 3,
) -> dict[str, Any]:
    """Generate texts with our generator and with the reference.

    Args:
        lm: The model with its adapter, which the reference does not merge into the weights.
        prompts: Token ids of each prompt.
        renderer: Decodes the texts of both sides.
        generator: Our generator, of the same model.
        low_precision: Our generator in a lower precision, timed along with the others.
        num_beams: Beams of the reference, equal to the generator's.
        turns: Turns of each side.

    Returns:
        Among others ``ratio`` and ``agree``, whether the top beam's text is the same for 99 % of
        the prompts whose text ends in the reference. A text without an end has up to 128 tokens in
        the reference, in ours at most as many as a title. ``ours_peak_mib`` does not include
        weights that the generator copied at its construction.
        With ``low_precision``, also ``low_precision_ratio`` and
        ``low_precision_same_text_share``, which do not affect ``agree``.
    """

    def reference(batch: Sequence[list[int]]) -> list[str | None]:
        generated = reference_generate(
            lm.model,
            lm.tokenizer,
            batch,
            end_ids=renderer.stop_ids,
            num_beams=num_beams,
            batch_size=_BATCH_SIZE,
        )
        stops = set(renderer.stop_ids)
        return [renderer.read(ids) if stops & set(ids) else None for ids in generated]

    sides: dict[str, Callable[[Sequence[list[int]]], Any]] = {
        OURS: _top_texts(generator),
        REFERENCE: reference,
    }
    if low_precision is not None:
        sides[_LOW_PRECISION] = _top_texts(low_precision)
    timings = take_turns(sides, prompts, turns=turns, warm_up=_BATCH_SIZE)
    same = _same_share(timings[OURS], timings[REFERENCE])
    values = {
        **figures(timings, units=len(prompts), unit="prompts"),
        "beams": num_beams,
        "backend": type(generator).__name__,
        "same_text_share": same,
        "unended_share": float(np.mean([text is None for text in timings[REFERENCE].result])),
        "agree": same >= _LOWEST_SHARE,
    }
    if low_precision is not None:
        low = timings[_LOW_PRECISION]
        ratios = np.divide(timings[REFERENCE].seconds, low.seconds)
        values["low_precision_ratio"] = float(np.median(ratios))
        values["low_precision_same_text_share"] = _same_share(low, timings[REFERENCE])
    return values


def bench_generate_stage(
    *,
    adapter: Path | None = None,
    n_prompts: int = 32,
    n_tuning: int = 128,
    turns: int = 2,
) -> dict[str, Any]:
    """Generate titles for the first test histories with the default generator.

    If ``dtype: auto`` is a lower precision than float32 on this machine, it is timed as well.

    Args:
        adapter: A saved adapter; None fine-tunes one briefly before the timing.
        n_prompts: Number of histories.
        n_tuning: Examples of the fine-tuning.
        turns: As in `bench_generate`.

    Returns:
        As `bench_generate`, and ``setup_s``, the time of constructing the generator.
    """
    inputs = load_inputs(paper_small())
    settings, lm = inputs.settings, inputs.lm
    auto_lm = load_base_model(paper_small(["model.dtype=auto"]))
    with tempfile.TemporaryDirectory() as folder:
        if adapter is None:
            adapter = Path(folder) / "adapter"
            attach_adapter(
                auto_lm,
                inputs.renderer,
                inputs.prepared.train[:n_tuning],
                adapter=None,
                learning_rate=settings.generative.finetune.peak_learning_rate,
            )
            auto_lm.save_adapter(adapter)
        for model in (lm, auto_lm):
            model.load_adapter(adapter)
    titles = inputs.dataset.catalog.unique_titles
    make = partial(make_generator, renderer=inputs.renderer, titles=titles, settings=settings)
    setup_s, generator = timed(lambda: make(lm))
    values = bench_generate(
        lm,
        inputs.prompts(inputs.test_histories(n_prompts)),
        renderer=inputs.renderer,
        generator=generator,
        low_precision=None if auto_lm.model.dtype == lm.model.dtype else make(auto_lm),
        num_beams=settings.generative.decoding.num_beams,
        turns=turns,
    )
    return {**values, "low_precision_dtype": dtype_name(auto_lm), "setup_s": setup_s}


def _top_texts(generator: Generator) -> Callable[[Sequence[list[int]]], list[str]]:
    return lambda prompts: [texts[0].text for texts in generator.generate(prompts)]


def _same_share(side: Timing, reference: Timing) -> float:
    """Share of equal texts, among those that end in the reference."""
    pairs = zip(side.result, reference.result, strict=True)
    same = [text == expected for text, expected in pairs if expected is not None]
    return float(np.mean(same)) if same else 0.0
