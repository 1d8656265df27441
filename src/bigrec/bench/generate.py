"""Time of writing titles, against transformers' own beam search on batches as they come."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigrec.bench.harness import OURS, REFERENCE, figures, take_turns, timed
from bigrec.bench.inputs import attach_adapter, few_shot, load_inputs
from bigrec.bench.references import generate_plainly
from bigrec.lm.generate import Generator
from bigrec.lm.model import LanguageModel
from bigrec.prompts import PromptRenderer
from bigrec.steps import make_generator

_LOWEST_SHARE = 0.99
_BATCH = 8


def bench_generate(
    lm: LanguageModel,
    prompts: Sequence[list[int]],
    *,
    renderer: PromptRenderer,
    generator: Generator,
    beams: int = 4,
    turns: int = 3,
) -> dict[str, Any]:
    """Write texts both ways.

    Args:
        lm: The model with its adapter, which the reference leaves beside the weights.
        prompts: Tokens of each prompt.
        renderer: Reads back what was written, on either side.
        generator: Ours, of the same model.
        beams: The reference's beams, as many as the generator's.
        turns: Times that each side writes all texts.

    Returns:
        Among others ``ratio`` and ``agree``, whether the best text is the same for 99 % of the
        prompts. Weights that the generator copied when it was made are not in ``ours_peak_mib``.
    """
    measured = take_turns(
        {
            OURS: generator.generate,
            REFERENCE: lambda some: generate_plainly(
                lm.model,
                lm.tokenizer,
                some,
                stop_ids=renderer.stop_ids,
                beams=beams,
                batch_size=_BATCH,
            ),
        },
        prompts,
        turns=turns,
        warm_up=_BATCH,
    )
    ours = [texts[0].text for texts in measured[OURS].result]
    reference = [renderer.read(ids) for ids in measured[REFERENCE].result]
    same = sum(one == other for one, other in zip(ours, reference, strict=True))
    return {
        **figures(measured, units=len(prompts), unit="prompts"),
        "beams": beams,
        "backend": type(generator).__name__,
        "same_text_share": same / len(prompts),
        "agree": same / len(prompts) >= _LOWEST_SHARE,
    }


def bench_generate_stage(
    *,
    adapter: Path | None = None,
    n_prompts: int = 32,
    n_tuning: int = 128,
    turns: int = 2,
) -> dict[str, Any]:
    """Write titles for the first test histories with the default generator.

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
    attach_adapter(
        lm,
        inputs.renderer,
        inputs.drawn.train[:n_tuning],
        adapter=adapter,
        learning_rate=settings.train.learning_rate,
    )
    titles = inputs.dataset.catalog.group_titles
    setup_s, generator = timed(
        lambda: make_generator(lm, inputs.renderer, titles, settings=settings)
    )
    found = bench_generate(
        lm,
        inputs.prompts(inputs.test_histories(n_prompts)),
        renderer=inputs.renderer,
        generator=generator,
        beams=settings.generate.beams,
        turns=turns,
    )
    return {**found, "setup_s": setup_s}
