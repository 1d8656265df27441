"""The loss of a hundred steps of fine-tuning, beside transformers' Trainer on the same examples."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, figures, take_turns
from benchmarks.inputs import dtype_name, few_shot, load_inputs
from benchmarks.train import LARGEST_DIFFERENCE, Sides, rows_of
from bigrec.lm.model import LanguageModel
from bigrec.recommender.factory import Drawn, load_model, make_renderer
from bigrec.settings import Settings

_PARTS = 10


def bench_curve(
    lm: LanguageModel,
    drawn: Drawn,
    *,
    settings: Settings,
    plain: LanguageModel,
    n_steps: int = 100,
    n_held_out: int = 100,
) -> dict[str, Any]:
    """Fine-tune over the same examples once, both ways, each in an order of its own.

    Args:
        lm: The base model that we train; bare afterwards.
        drawn: Examples to learn and, of the validation part, to hold out.
        settings: How; the loss is on the response.
        plain: The base model that the reference trains, in float32; bare afterwards. It computes
            the held-out losses of both adapters.
        n_steps: Steps, as far as there are examples.
        n_held_out: Examples on which the adapters are compared, at most.

    Returns:
        Among others the mean loss of each tenth of the steps by either side, the largest difference
        of these in standard errors, and ``agree``: that difference is below 3, and the held-out
        losses differ by less than 0.1 nats.
    """
    renderer = make_renderer(lm.tokenizer, settings)
    examples = drawn.train[: n_steps * settings.train.batch_size]
    held_out = rows_of(renderer, drawn.valid[:n_held_out])
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(lm, plain, drawn, settings, folder=Path(folder))
        measured = take_turns(
            {
                OURS: lambda some: sides.ours(some, loss_on="response"),
                REFERENCE: sides.reference,
            },
            examples,
            turns=1,
            warm_up=settings.train.micro_batch_size,
        )
        held_out_losses = sides.held_out_losses(measured, held_out)
    found: dict[str, Any] = figures(measured, units=len(examples), unit="examples")
    # Of fewer than two steps there is no deviation.
    parts = max(1, min(_PARTS, len(measured[OURS].result[1]) // 2))
    losses = {name: np.array_split(side.result[1], parts) for name, side in measured.items()}
    apart = 0.0
    done = 0
    for ours, reference in zip(losses[OURS], losses[REFERENCE], strict=True):
        done += len(ours)
        found[f"ours_loss_to_step_{done}"] = float(ours.mean())
        found[f"reference_loss_to_step_{done}"] = float(reference.mean())
        error = np.sqrt(ours.var(ddof=1) / len(ours) + reference.var(ddof=1) / len(reference))
        apart = max(apart, float(abs(ours.mean() - reference.mean()) / error))
    difference = abs(held_out_losses[OURS] - held_out_losses[REFERENCE])
    return {
        **found,
        "ours_dtype": dtype_name(lm),
        **{f"{name}_held_out_loss": loss for name, loss in held_out_losses.items()},
        "most_standard_errors_apart": apart,
        "agree": apart < 3 and difference < LARGEST_DIFFERENCE,
    }


def bench_curve_stage() -> dict[str, Any]:
    """SmolLM2 on MovieLens-100K, a hundred steps of 8 examples, ours as ``auto`` computes here."""
    inputs = load_inputs(few_shot(["train.batch_size=8", "model.dtype=auto"]))
    plain = load_model(few_shot())
    return bench_curve(inputs.lm, inputs.drawn, settings=inputs.settings, plain=plain)
