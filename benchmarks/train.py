"""Time of fine-tuning, against transformers' Trainer with logits at every position."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, Timing, figures, take_turns
from benchmarks.inputs import change_generative, dtype_name, load_inputs, paper_small
from benchmarks.references import reference_train, response_loss
from bigrec.data.examples import TitleExample
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.recommender.factory import load_base_model, make_renderer, train_model
from bigrec.recommender.training_data import PreparedData
from bigrec.settings import Settings

LARGEST_DIFFERENCE = 0.1
"""In nats per token. The sides differ in the order of examples and in dropout."""
_TITLES = "titles"
_LORA_OPTIONS = {
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "batch_size",
    "per_device_batch_size",
}


def bench_train(
    lm: LanguageModel,
    prepared: PreparedData,
    *,
    settings: Settings,
    reference_lm: LanguageModel | None = None,
    n_examples: int = 48,
    n_held_out: int = 24,
    turns: int = 2,
) -> dict[str, Any]:
    """Fine-tune the same adapter on the same examples for one epoch on either side.

    A third side trains on every title of history and target (``loss: titles``), the others on the
    target only.

    Args:
        lm: Our base model, without adapter afterwards.
        prepared: Training examples, and validation examples to hold out.
        settings: Settings of prompt and fine-tuning, except ``epochs`` and ``loss``.
        reference_lm: Base model of the reference, in float32, without adapter afterwards. It
            computes the held-out losses of all adapters. None takes ``lm``.
        n_examples: Maximum training examples.
        n_held_out: Maximum held-out examples.
        turns: Turns of each side.

    Returns:
        Among others ``ratio``; ``titles_ratio``, the titles trained on per second relative to the
        reference; each side's mean loss in the last half of the steps; and ``agree``, whether the
        mean losses of the held-out responses differ by less than 0.1 nats between the adapters.
    """
    reference_lm = reference_lm or lm
    renderer = make_renderer(lm.tokenizer, settings)
    examples = prepared.train[:n_examples]
    held_out = token_rows(renderer, prepared.valid[:n_held_out])
    reference_lm.restore_base()
    untrained = response_loss(
        reference_lm.model, held_out, pad_id=reference_lm.tokenizer.pad_token_id or 0
    )
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(lm, reference_lm, prepared, settings, folder=Path(folder))
        timings = take_turns(
            {
                OURS: lambda batch: sides.ours(batch, loss="completion"),
                _TITLES: lambda batch: sides.ours(batch, loss="titles"),
                REFERENCE: sides.reference,
            },
            examples,
            turns=turns,
            warm_up=settings.generative.finetune.per_device_batch_size,
        )
        losses = sides.held_out_losses(timings, held_out)
    n_titles = sum(len(example.history) + 1 for example in examples)
    speedup = np.divide(timings[REFERENCE].seconds, timings[_TITLES].seconds)
    return {
        **figures(timings, units=len(examples), unit="examples"),
        "ours_dtype": dtype_name(lm),
        "reference_dtype": dtype_name(reference_lm),
        "titles_ratio": float(np.median(speedup)) * n_titles / len(examples),
        "titles_peak_mib": timings[_TITLES].peak_mib,
        "ours_last_loss": _last_half_mean(timings[OURS].result[1]),
        "reference_last_loss": _last_half_mean(timings[REFERENCE].result[1]),
        "untrained_held_out_loss": untrained,
        **{f"{name}_held_out_loss": loss for name, loss in losses.items()},
        "agree": abs(losses[OURS] - losses[REFERENCE]) < LARGEST_DIFFERENCE,
    }


def bench_train_stage() -> dict[str, Any]:
    """Fine-tune SmolLM2 on MovieLens-100K with `bench_train`, in steps of 16 examples.

    Our side is in the precision of ``dtype: auto``, the reference in float32.
    """
    inputs = load_inputs(paper_small(["generative.finetune.batch_size=16", "model.dtype=auto"]))
    reference_lm = load_base_model(paper_small())
    return bench_train(
        inputs.lm, inputs.prepared, settings=inputs.settings, reference_lm=reference_lm
    )


class Sides:
    """Both sides of fine-tuning. A call returns the adapter's folder and the loss of each step.

    Args:
        lm: Our base model.
        reference_lm: Base model of the reference.
        prepared: Examples of the run.
        settings: Settings of prompt and fine-tuning.
        folder: Parent of the calls' folders.
    """

    def __init__(
        self,
        lm: LanguageModel,
        reference_lm: LanguageModel,
        prepared: PreparedData,
        settings: Settings,
        *,
        folder: Path,
    ) -> None:
        self._lm = lm
        self._reference_lm = reference_lm
        self._prepared = prepared
        self._settings = settings
        # finetune resumes from a folder with checkpoints, so every call has another folder.
        self._folders = (folder / str(number) for number in count())

    def ours(self, examples: Sequence[TitleExample], *, loss: str) -> tuple[Path, list[float]]:
        """Fine-tune with bigrec for one epoch."""
        result = train_model(
            self._lm,
            replace(self._prepared, train=list(examples), valid=[]),
            change_generative(self._settings, "finetune", epochs=1, loss=loss),
            folder=next(self._folders),
        )
        return result.trained, [entry["loss"] for entry in result.log if "loss" in entry]

    def reference(self, examples: Sequence[TitleExample]) -> tuple[Path, list[float]]:
        """Fine-tune with the reference for one epoch."""
        self._reference_lm.restore_base()
        folder = next(self._folders)
        tokenizer = self._reference_lm.tokenizer
        finetune = self._settings.generative.finetune
        losses = reference_train(
            self._reference_lm.model,
            token_rows(make_renderer(tokenizer, self._settings), examples),
            folder=folder,
            pad_id=tokenizer.pad_token_id or 0,
            seed=self._settings.seed,
            learning_rate=finetune.peak_learning_rate,
            **finetune.model_dump(include=_LORA_OPTIONS),
        )
        return folder, losses

    def held_out_losses(
        self, timings: Mapping[str, Timing], held_out: Sequence[tuple[list[int], list[int]]]
    ) -> dict[str, float]:
        """Mean loss of held-out responses with each side's adapter. Drops the adapters.

        Args:
            timings: Timings of the sides, with their adapters as results.
            held_out: Rows of `token_rows`.
        """
        losses = {}
        for name, timing in timings.items():
            self._reference_lm.load_adapter(timing.result[0])
            losses[name] = response_loss(
                self._reference_lm.model,
                held_out,
                pad_id=self._reference_lm.tokenizer.pad_token_id or 0,
            )
        self._reference_lm.restore_base()
        self._lm.restore_base()
        return losses


def token_rows(
    renderer: PromptRenderer, examples: Sequence[TitleExample]
) -> list[tuple[list[int], list[int]]]:
    """Token ids of the prompt and the response of every example."""
    return [
        (
            renderer.prompt_ids(example.history, example.item_type),
            renderer.response_ids(example.target),
        )
        for example in examples
    ]


def _last_half_mean(losses: Sequence[float]) -> float:
    return float(np.mean(losses[len(losses) // 2 :]))
