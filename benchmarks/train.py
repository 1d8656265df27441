"""Time of fine-tuning, against transformers' Trainer with logits at every position."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import OURS, REFERENCE, Measured, figures, take_turns
from benchmarks.inputs import dtype_name, few_shot, load_inputs
from benchmarks.references import response_loss, train_plainly
from bigrec.data.examples import TitleExample
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.recommender.factory import Drawn, load_model, make_renderer, train_adapter
from bigrec.settings import Settings

# In nats per token. The sides see the examples in orders of their own, with dropouts of their own.
LARGEST_DIFFERENCE = 0.1
_TITLES = "titles"


def bench_train(
    lm: LanguageModel,
    drawn: Drawn,
    *,
    settings: Settings,
    plain: LanguageModel | None = None,
    n_examples: int = 48,
    n_held_out: int = 24,
    turns: int = 2,
) -> dict[str, Any]:
    """Fine-tune over the same examples once, with the same adapter, both ways.

    A third side learns every title of history and target (``loss_on: titles``) where the reference
    learns the target alone.

    Args:
        lm: The base model that we train; bare afterwards.
        drawn: Examples to learn and, of the validation part, to hold out.
        settings: How; of ``train``, ``epochs`` and ``loss_on`` are set here.
        plain: The base model that the reference trains, in float32; bare afterwards. It computes
            the held-out losses, whichever side an adapter comes from. None: ``lm``.
        n_examples: Training examples, at most.
        n_held_out: Examples on which the adapters are compared, at most.
        turns: Times that each side trains.

    Returns:
        Among others ``ratio``; ``titles_ratio``, the titles learned a second against the
        reference's; the loss of the last half of the steps of either side; and ``agree``, whether
        the mean loss of the held-out responses differs by less than 0.1 nats between the adapters.
    """
    plain = plain or lm
    renderer = make_renderer(lm.tokenizer, settings)
    examples = drawn.train[:n_examples]
    held_out = rows_of(renderer, drawn.valid[:n_held_out])
    pad_id = lm.tokenizer.pad_token_id or 0
    plain.drop_adapter()
    untrained = response_loss(plain.model, held_out, pad_id=pad_id)
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(lm, plain, drawn, settings, folder=Path(folder))
        measured = take_turns(
            {
                OURS: lambda some: sides.ours(some, loss_on="response"),
                _TITLES: lambda some: sides.ours(some, loss_on="titles"),
                REFERENCE: sides.reference,
            },
            examples,
            turns=turns,
            warm_up=settings.train.micro_batch_size,
        )
        losses = sides.held_out_losses(measured, held_out)
    difference = losses[OURS] - losses[REFERENCE]
    titles = sum(len(example.history) + 1 for example in examples)
    faster = np.divide(measured[REFERENCE].seconds, measured[_TITLES].seconds)
    return {
        **figures(measured, units=len(examples), unit="examples"),
        "ours_dtype": dtype_name(lm),
        "reference_dtype": dtype_name(plain),
        "titles_ratio": float(np.median(faster)) * titles / len(examples),
        "titles_peak_mib": measured[_TITLES].peak_mib,
        "ours_last_loss": _last_half(measured[OURS].result[1]),
        "reference_last_loss": _last_half(measured[REFERENCE].result[1]),
        "untrained_held_out_loss": untrained,
        **{f"{name}_held_out_loss": loss for name, loss in losses.items()},
        "agree": abs(difference) < LARGEST_DIFFERENCE,
    }


def bench_train_stage() -> dict[str, Any]:
    """Fine-tune SmolLM2 on MovieLens-100K, as `bench_train` by default, in steps of 16 examples.

    Ours is in the precision that ``auto`` chooses here, the reference in float32.
    """
    inputs = load_inputs(few_shot(["train.batch_size=16", "model.dtype=auto"]))
    plain = load_model(few_shot())
    return bench_train(inputs.lm, inputs.drawn, settings=inputs.settings, plain=plain)


class Sides:
    """Both ways of training; each call gives the adapter's folder and the losses of its steps.

    Args:
        lm: The base model that we train.
        plain: The base model that the reference trains.
        drawn: The examples of a run.
        settings: How to train.
        folder: Where each call makes a folder of its own.
    """

    def __init__(
        self,
        lm: LanguageModel,
        plain: LanguageModel,
        drawn: Drawn,
        settings: Settings,
        *,
        folder: Path,
    ) -> None:
        self._lm = lm
        self._plain = plain
        self._drawn = drawn
        self._settings = settings
        # finetune goes on with a folder that it finds, so every call needs one of its own.
        self._folders = (folder / str(number) for number in count())

    def ours(self, examples: Sequence[TitleExample], *, loss_on: str) -> tuple[Path, list[float]]:
        """Our fine-tuning, over the examples once."""
        train = self._settings.train.model_copy(update={"epochs": 1, "loss_on": loss_on})
        found = train_adapter(
            self._lm,
            replace(self._drawn, train=list(examples), valid=[]),
            self._settings.model_copy(update={"train": train}),
            folder=next(self._folders),
        )
        return found.adapter, [entry["loss"] for entry in found.log if "loss" in entry]

    def reference(self, examples: Sequence[TitleExample]) -> tuple[Path, list[float]]:
        """The usual way, over the examples once."""
        self._plain.drop_adapter()
        folder = next(self._folders)
        options = self._settings.train.model_dump(
            include={
                "rank",
                "alpha",
                "dropout",
                "target_modules",
                "learning_rate",
                "batch_size",
                "micro_batch_size",
            }
        )
        losses = train_plainly(
            self._plain.model,
            rows_of(make_renderer(self._plain.tokenizer, self._settings), examples),
            folder=folder,
            pad_id=self._plain.tokenizer.pad_token_id or 0,
            seed=self._settings.seed,
            **options,
        )
        return folder, losses

    def held_out_losses(
        self, measured: Mapping[str, Measured], held_out: Sequence[tuple[list[int], list[int]]]
    ) -> dict[str, float]:
        """Mean loss of held-out responses with each side's adapter; the models are bare after it.

        Args:
            measured: What the calls of each side gave.
            held_out: From `rows_of`.
        """
        losses = {}
        for name, side in measured.items():
            self._plain.load_adapter(side.result[0])
            losses[name] = response_loss(
                self._plain.model, held_out, pad_id=self._plain.tokenizer.pad_token_id or 0
            )
        self._plain.drop_adapter()
        self._lm.drop_adapter()
        return losses


def rows_of(
    renderer: PromptRenderer, examples: Sequence[TitleExample]
) -> list[tuple[list[int], list[int]]]:
    """Tokens of the prompt and of the response of every example."""
    return [
        (renderer.prompt_ids(one.history, one.noun), renderer.response_ids(one.target))
        for one in examples
    ]


def _last_half(losses: Sequence[float]) -> float:
    return float(np.mean(losses[len(losses) // 2 :]))
