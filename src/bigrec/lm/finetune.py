"""Step 1: LoRA fine-tuning of the base model on histories and their targets.

The optimization loop, checkpoints and early stopping are transformers' Trainer; the adapter is
peft's. What is ours: logits are computed only at the positions that the loss covers, an
interrupted run goes on where it was, and a run that was killed while saving is not trusted.
"""

import importlib.util
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from bigrec.data.examples import TitleExample
from bigrec.errors import DataError, SettingsError
from bigrec.lm.adapter import attach_adapter
from bigrec.lm.batches import Collator, LossOn, Row, SortedBatches, kept_positions_loss, render
from bigrec.lm.checkpoints import Keeper, last_whole_checkpoint
from bigrec.lm.hardware import attention_by_products
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.storage import read_json, write_json
from bigrec.types import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning run left.

    Attributes:
        adapter: Folder with the adapter in peft's own layout.
        log: Training and validation losses, one entry for each report, by ``step``.
        seconds: Wall-clock time of this call; a resumed run counts from its resumption.
    """

    adapter: Path
    log: list[dict[str, float]]
    seconds: float


def finetune(
    lm: LanguageModel,
    renderer: PromptRenderer,
    *,
    train: Sequence[TitleExample],
    valid: Sequence[TitleExample],
    folder: Path,
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.05,
    target_modules: Sequence[str] | str | None = None,
    learning_rate: float = 1e-4,
    warmup_steps: int = 20,
    batch_size: int = 128,
    micro_batch_size: int = 8,
    epochs: int = 50,
    patience: int = 5,
    loss_on: LossOn = "response",
    seed: int = 0,
    save_every_s: float = 300.0,
    report_to: Sequence[str] = (),
    progress: Progress | None = None,
) -> FinetuneResult:
    """Fine-tune a LoRA adapter; ``lm`` carries it afterwards.

    Args:
        lm: The base model. Its own weights stay as they are.
        renderer: Renders every example to tokens.
        train: Training examples.
        valid: Validation examples; their loss chooses the epoch that is kept. None: the last.
        folder: Where checkpoints, ``loss.json`` and ``adapter/`` go. A folder that holds
            checkpoints of the same call is gone on with; a finished one is read back.
        rank: LoRA rank.
        alpha: LoRA scale, applied as ``alpha / rank``.
        dropout: LoRA dropout, in [0, 1).
        target_modules: Module names, ``"all-linear"``, or None for peft's choice for the
            architecture (the query and value projections of the Llama family, as published).
        learning_rate: Peak of the linear schedule.
        warmup_steps: Steps from zero to the peak; at most a tenth of all steps.
        batch_size: Examples in an optimizer step, over all processes.
        micro_batch_size: Examples in a forward pass of one process. Lower it to save memory.
        epochs: Passes over the examples, at most.
        patience: Epochs without a better validation loss after which training stops.
        loss_on: Learn the target only; every title of history and target; or every token of
            prompt and response (as published). Validation is on what is asked when recommending,
            the target only, so that the losses of the first two compare; with ``all`` it is on
            every token, as published.
        seed: Decides initialization, order and dropout; on a CPU it repeats a run bit for bit.
        save_every_s: Longest time between two checkpoints, in seconds.
        report_to: transformers' experiment trackers: tensorboard, mlflow, wandb, trackio.
        progress: Called with (steps done, steps in all).

    Raises:
        DataError: If there are no training examples.
        ValueError: If the batch size is no multiple of the micro-batch size times processes.
        ModelError: If the target modules do not exist in the model.
        SettingsError: If a tracker is not installed.
        KeyboardInterrupt: On Ctrl-C, once a checkpoint is written; call again to go on.

    Source: arXiv 2308.08434, section 4.1 (published settings).
    """
    _check_trackers(report_to)
    if not train:
        raise DataError("there are no training examples: expected at least one. Check the split.")
    adapter = folder / "adapter"
    if adapter.is_dir():
        lm.load_adapter(adapter)
        return FinetuneResult(adapter, read_json(folder / "loss.json"), 0.0)
    started = time.monotonic()
    set_seed(seed)
    attach_adapter(lm, rank=rank, alpha=alpha, dropout=dropout, target_modules=target_modules)
    arguments = _arguments(
        folder,
        lm.device,
        has_valid=bool(valid),
        n_train=len(train),
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        epochs=epochs,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        seed=seed,
        report_to=report_to,
    )
    keeper = Keeper(save_every_s=save_every_s, progress=progress, alone=arguments.world_size == 1)
    rows = render(renderer, train, loss_on=loss_on)
    valid_rows = _validation(renderer, valid, loss_on=loss_on)
    longest = max(len(row["input_ids"]) for row in chain(rows, valid_rows))
    trainer = _Trainer(
        model=lm.model,
        args=arguments,
        data_collator=Collator(lm),
        train_dataset=rows,
        eval_dataset=valid_rows or None,
        compute_loss_func=kept_positions_loss,
        callbacks=[keeper, *([EarlyStoppingCallback(patience)] if valid else [])],
    )
    trainer.remove_callback(PrinterCallback)
    with keeper.listening(), attention_by_products(lm.base, longest=longest):
        trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder / "checkpoints"))
    lm.model.eval()
    log = [_numbers(entry) for entry in trainer.state.log_history]
    if trainer.is_world_process_zero():
        write_json(folder / "loss.json", log)
        lm.save_adapter(adapter)
    trainer.accelerator.wait_for_everyone()
    return FinetuneResult(adapter, log, time.monotonic() - started)


class _Trainer(Trainer):
    """Draws training batches with `SortedBatches`."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SortedBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        arguments = self.args
        return SortedBatches(
            rows,
            batch_size=arguments.per_device_train_batch_size
            * arguments.world_size
            * arguments.gradient_accumulation_steps,
            seed=arguments.seed,
        )


def _validation(
    renderer: PromptRenderer, examples: Sequence[TitleExample], *, loss_on: LossOn
) -> list[Row]:
    rows = render(renderer, examples, loss_on="all" if loss_on == "all" else "response")
    # Similar lengths share a batch. The order is the same in every epoch and every run.
    return sorted(rows, key=lambda row: -len(row["input_ids"]))


def _check_trackers(names: Sequence[str]) -> None:
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise SettingsError(
                f"report_to names {name!r}, which is not installed. Run: pip install {name}, or "
                "leave it out."
            )


def _arguments(
    folder: Path,
    device: torch.device,
    *,
    has_valid: bool,
    n_train: int,
    batch_size: int,
    micro_batch_size: int,
    epochs: int,
    learning_rate: float,
    warmup_steps: int,
    seed: int,
    report_to: Sequence[str],
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        use_cpu=device.type == "cpu",
        num_train_epochs=epochs,
        per_device_train_batch_size=micro_batch_size,
        per_device_eval_batch_size=micro_batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        eval_strategy="epoch" if has_valid else "no",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=has_valid,
        metric_for_best_model="eval_loss" if has_valid else None,
        greater_is_better=False if has_valid else None,
        restore_callback_states_from_checkpoint=True,
        prediction_loss_only=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        report_to=list(report_to) or "none",
        seed=seed,
        data_seed=seed,
    )
    together = micro_batch_size * arguments.world_size
    if batch_size % together:
        raise ValueError(
            f"batch_size is {batch_size}: expected a multiple of micro_batch_size "
            f"({micro_batch_size}) times the number of processes ({arguments.world_size})."
        )
    arguments.gradient_accumulation_steps = batch_size // together
    steps = max(1, math.ceil(n_train / batch_size) * epochs)
    arguments.warmup_steps = min(warmup_steps, steps // 10)
    arguments.logging_steps = max(1, steps // 200)
    return arguments


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in entry.items() if math.isfinite(value)}
