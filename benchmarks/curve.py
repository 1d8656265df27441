"""The loss over a hundred steps of fine-tuning, against transformers' Trainer."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, figures, take_turns
from benchmarks.inputs import dtype_name, load_inputs, paper_small
from benchmarks.train import LARGEST_DIFFERENCE, Sides, token_rows
from bigrec.lm.model import LanguageModel
from bigrec.recommender.factory import load_base_model, make_renderer
from bigrec.recommender.training_data import PreparedData
from bigrec.settings import Settings

_PARTS = 10


def bench_curve(
    lm: LanguageModel,
    prepared: PreparedData,
    *,
    settings: Settings,
    reference_lm: LanguageModel,
    n_steps: int = 100,
    n_held_out: int = 100,
) -> dict[str, Any]:
    """Fine-tune on the same examples for one epoch on either side, each in another order.

    Args:
        lm: Our base model, without adapter afterwards.
        prepared: Training examples, and validation examples to hold out.
        settings: Settings of prompt and fine-tuning; the loss is on the response.
        reference_lm: Base model of the reference, in float32, without adapter afterwards. It
            computes the held-out losses of both adapters.
        n_steps: Maximum steps.
        n_held_out: Maximum held-out examples.

    Returns:
        Among others each side's mean loss in each tenth of the steps, the largest difference of
        these in standard errors, and ``agree``: that difference is below 3, and the held-out losses
        differ by less than 0.1 nats.
    """
    renderer = make_renderer(lm.tokenizer, settings)
    examples = prepared.train[: n_steps * settings.generative.finetune.batch_size]
    held_out = token_rows(renderer, prepared.valid[:n_held_out])
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(lm, reference_lm, prepared, settings, folder=Path(folder))
        timings = take_turns(
            {
                OURS: lambda batch: sides.ours(batch, loss="completion"),
                REFERENCE: sides.reference,
            },
            examples,
            turns=1,
            warm_up=settings.generative.finetune.per_device_batch_size,
        )
        held_out_losses = sides.held_out_losses(timings, held_out)
    curves, largest_gap = _compare_curves({name: side.result[1] for name, side in timings.items()})
    difference = abs(held_out_losses[OURS] - held_out_losses[REFERENCE])
    return {
        **figures(timings, units=len(examples), unit="examples"),
        **curves,
        "ours_dtype": dtype_name(lm),
        **{f"{name}_held_out_loss": loss for name, loss in held_out_losses.items()},
        "largest_gap_in_standard_errors": largest_gap,
        "agree": largest_gap < 3 and difference < LARGEST_DIFFERENCE,
    }


def bench_curve_stage() -> dict[str, Any]:
    """Fine-tune SmolLM2 on MovieLens-100K with `bench_curve`, in a hundred steps of 8 examples.

    Our side is in the precision of ``dtype: auto``, the reference in float32.
    """
    inputs = load_inputs(paper_small(["generative.finetune.batch_size=8", "model.dtype=auto"]))
    reference_lm = load_base_model(paper_small())
    return bench_curve(
        inputs.lm, inputs.prepared, settings=inputs.settings, reference_lm=reference_lm
    )


def _compare_curves(losses: Mapping[str, Sequence[float]]) -> tuple[dict[str, float], float]:
    """Mean losses by part of the steps, and their largest difference in standard errors."""
    # A part needs two steps for a standard deviation.
    n_parts = max(1, min(_PARTS, len(losses[OURS]) // 2))
    parts = {name: np.array_split(of_side, n_parts) for name, of_side in losses.items()}
    means: dict[str, float] = {}
    largest_gap = 0.0
    step = 0
    for ours, reference in zip(parts[OURS], parts[REFERENCE], strict=True):
        step += len(ours)
        means[f"ours_loss_to_step_{step}"] = float(ours.mean())
        means[f"reference_loss_to_step_{step}"] = float(reference.mean())
        error = np.sqrt(ours.var(ddof=1) / len(ours) + reference.var(ddof=1) / len(reference))
        largest_gap = max(largest_gap, float(abs(ours.mean() - reference.mean()) / error))
    return means, largest_gap
