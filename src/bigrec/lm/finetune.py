"""Step 1: fine-tuning of the base model on histories and their targets, by LoRA or in full.

transformers' Trainer runs the optimization, checkpoints and early stopping; the adapter is peft's.
Our additions: logits are computed only at the positions that the loss covers, an interrupted run
is resumed, and a checkpoint that was not completely written is ignored.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from bigrec.data.examples import TitleExample
from bigrec.errors import DataError
from bigrec.lm.batches import (
    BranchingNodes,
    BranchingTokens,
    Collator,
    LossTarget,
    TitleLabels,
    TokenizedExample,
    TrieLoss,
    every_token,
    kept_positions_loss,
    tokenize_examples,
)
from bigrec.lm.checkpoints import CheckpointCallback, keeps_tokens, last_complete_checkpoint
from bigrec.lm.distributed import is_sharding, main_process_first, whole_weights
from bigrec.lm.hardware import attention_by_products
from bigrec.lm.model import LanguageModel, quiet_transformers
from bigrec.lm.prompts import PromptRenderer
from bigrec.lm.title_logits import TitleLogits, logits_of
from bigrec.lm.title_tokens import TitleTokens
from bigrec.lm.trackers import check_trackers
from bigrec.lm.trained import load_trained, make_trainable, save_trained, trained_folder
from bigrec.lm.trainer import DivergenceCallback, FinetuneTrainer
from bigrec.printable import get_logger
from bigrec.settings.generative import FinetuneSettings
from bigrec.storage import read_json, write_json
from bigrec.types import ProgressCallback

logger = get_logger(__name__)

_FIGURE = "eval_loss"


@dataclass(frozen=True)
class FinetuneResult:
    """Result of a fine-tuning run.

    Attributes:
        trained: Folder with the adapter in peft's layout, or with all weights.
        log: Training and validation losses, one entry for each report, by ``step``.
        seconds: Wall-clock time of this call, without the time before a resumption.
    """

    trained: Path
    log: list[dict[str, float]]
    seconds: float


def finetune(
    lm: LanguageModel,
    renderer: PromptRenderer,
    *,
    settings: FinetuneSettings,
    train: Sequence[TitleExample],
    valid: Sequence[TitleExample],
    titles: Sequence[str] = (),
    folder: Path,
    seed: int,
    stop_after: int | None = None,
    progress: ProgressCallback | None = None,
) -> FinetuneResult:
    """Fine-tune a LoRA adapter or all weights, and attach them to ``lm``.

    The learning rate rises linearly over the warm-up steps and falls linearly to 0. With
    ``loss: completion`` and ``loss: titles`` the validation loss covers the target only, as in
    recommending, so that both are comparable; with ``loss: full`` it covers every token (paper).

    Args:
        lm: The base model. Its own weights do not change: full fine-tuning trains a copy, in
            float32, and rounds it to the model's precision in the end.
        renderer: Renders every example to tokens.
        settings: Training arguments. ``batch_size`` counts the examples of all processes,
            ``per_device_batch_size`` those of one. ``window`` has no effect here: it decides how
            ``train`` is prepared.
        train: Training examples.
        valid: Validation examples. The epoch with the lowest loss on them is kept; without any,
            the last epoch.
        titles: Titles that can be recommended; those of the examples can in any case. They decide
            what ``softmax`` and ``loss_tokens`` mean.
        folder: Folder for checkpoints, ``loss.json`` and ``adapter/`` or ``weights/``. A run whose
            checkpoints are there is resumed; a complete one is loaded.
        seed: Decides initialization, order and dropout. On a CPU, the same seed gives the same
            weights bit for bit.
        stop_after: Train exactly so many epochs without validation and keep the last weights. The
            learning rate follows the schedule of all ``epochs`` of the settings all the same.
        progress: Called with (steps done, steps in all).

    Raises:
        DataError: If there are no training examples.
        ValueError: If ``batch_size`` is no multiple of ``per_device_batch_size`` times the number
            of processes.
        ModelError: If the target modules do not exist in the model, or all weights are to be
            trained and are quantized, or if training diverges.
        SettingsError: If a tracker is not installed.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint is written. Call again to resume.

    Source: arXiv 2308.08434, section 4.1.
    """
    check_trackers(settings.report_to)
    if not train:
        raise DataError("there are no training examples: expected at least one. Check the split.")
    trained = trained_folder(folder, settings.method)
    if trained.is_dir():
        load_trained(lm, folder, method=settings.method)
        return FinetuneResult(trained, read_json(folder / "loss.json"), 0.0)
    started = time.monotonic()
    set_seed(seed)
    make_trainable(lm, settings)
    if settings.epochs == 0:
        # What was attached changes nothing.
        write_json(folder / "loss.json", [])
        save_trained(lm, folder)
        load_trained(lm, folder, method=settings.method)
        return FinetuneResult(trained, [], time.monotonic() - started)
    if stop_after is not None:
        valid = ()
    arguments = _training_arguments(
        settings,
        output_dir=folder / "checkpoints",
        lm=lm,
        n_train=len(train),
        has_valid=bool(valid),
        stop_after=stop_after,
        seed=seed,
    )
    tokens = None
    if settings.reads_catalog:
        written = (example.titles for example in chain(train, valid))
        tokens = TitleTokens.of(renderer, list(dict.fromkeys(chain(titles, *written))))
    title_labels = _title_labels(settings, tokens)
    trainer = _train(
        lm,
        arguments,
        train=tokenize_examples(renderer, train, loss=settings.loss, title_labels=title_labels),
        valid=_validation_examples(renderer, valid, loss=settings.loss, title_labels=title_labels),
        softmax=tokens if settings.softmax != "vocabulary" else None,
        settings=settings,
        progress=progress,
    )
    # Not the summary at the end, which in a resumed training is of its last steps alone.
    losses = (entry for entry in trainer.state.log_history if "train_runtime" not in entry)
    log = [_finite_numbers(entry) for entry in losses]
    weights = whole_weights(lm.model)
    if trainer.is_world_process_zero():
        write_json(folder / "loss.json", log)
        save_trained(lm, folder, weights=weights)
    trainer.accelerator.wait_for_everyone()
    if lm.pretrained is not None:
        # Rounded as they are stored, and without what Trainer wraps the model in.
        load_trained(lm, folder, method=settings.method)
    return FinetuneResult(trained, log, time.monotonic() - started)


def selected_epoch(log: Sequence[Mapping[str, float]]) -> int | None:
    """The epoch whose weights `finetune` kept, from its log; None without validation."""
    validated = [entry for entry in log if _FIGURE in entry]
    if not validated:
        return None
    return round(min(validated, key=lambda entry: entry[_FIGURE])["epoch"])


def training_steps(n_train: int, settings: FinetuneSettings) -> int:
    """Optimizer steps of all epochs for so many training examples, at least 1."""
    return max(1, math.ceil(n_train / settings.batch_size) * settings.epochs)


def _train(
    lm: LanguageModel,
    arguments: TrainingArguments,
    *,
    train: Sequence[TokenizedExample],
    valid: Sequence[TokenizedExample],
    softmax: TitleTokens | None,
    settings: FinetuneSettings,
    progress: ProgressCallback | None,
) -> FinetuneTrainer:
    """Train what is attached, from the last complete checkpoint if there is one."""
    compute_loss: Callable[..., torch.Tensor] = kept_positions_loss
    if softmax is not None and settings.softmax == "trie":
        compute_loss = TrieLoss(softmax)
    elif softmax is not None:
        train, valid = ([_relabel(example, softmax) for example in part] for part in (train, valid))
    checkpoints = CheckpointCallback(
        save_every_s=settings.save_every_s,
        progress=progress,
        single_process=arguments.world_size == 1,
    )
    callbacks: list[TrainerCallback] = [DivergenceCallback(), checkpoints]
    if valid:
        callbacks.append(EarlyStoppingCallback(settings.early_stopping_patience))
    trainer = FinetuneTrainer(
        schedule_epochs=settings.epochs,
        model=lm.model,
        args=arguments,
        data_collator=Collator(lm),
        train_dataset=train,
        eval_dataset=valid or None,
        compute_loss_func=compute_loss,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    longest = max(len(example["input_ids"]) for example in chain(train, valid))
    with (
        checkpoints.saving_on_interrupt(),
        attention_by_products(lm.base, longest=longest, dtype=_computing_dtype(lm)),
        quiet_transformers(),
        _head_of_titles(lm, softmax, chain(train, valid), arguments) as trainer.head,
    ):
        trainer.train(resume_from_checkpoint=_resumed_from(arguments))
    lm.model.eval()
    return trainer


def _head_of_titles(
    lm: LanguageModel,
    softmax: TitleTokens | None,
    examples: Iterable[TokenizedExample],
    arguments: TrainingArguments,
) -> AbstractContextManager[TitleLogits | None]:
    """The output layer of titles' tokens; None for the whole vocabulary."""
    if softmax is None:
        return nullcontext()
    read = None
    # A shard of the embeddings could not be put back.
    if lm.base.get_input_embeddings().weight.requires_grad and not is_sharding():
        padding = lm.tokenizer.pad_token_id or 0
        rows = [[padding], *(example["input_ids"] for example in examples)]
        read = np.unique(np.concatenate(rows))
        with main_process_first():
            if not keeps_tokens(Path(str(arguments.output_dir)), np.union1d(read, softmax.ids)):
                read = None
    return logits_of(lm.base, softmax.ids, read=read)


def _resumed_from(arguments: TrainingArguments) -> str | None:
    """The checkpoint to resume from; where training had ended, ``arguments`` say so."""
    checkpoint = last_complete_checkpoint(
        Path(str(arguments.output_dir)), is_main_process=arguments.process_index == 0
    )
    if checkpoint is None:
        return None
    if checkpoint.ends_training:
        # Trainer forgets that it stopped early and would train for another epoch.
        arguments.max_steps = checkpoint.step
    return str(checkpoint.folder)


def _computing_dtype(lm: LanguageModel) -> torch.dtype:
    """The precision of products: that of the base model's weights."""
    dtype: torch.dtype = (lm.base if lm.pretrained is None else lm.pretrained).dtype
    return dtype


def _title_labels(settings: FinetuneSettings, tokens: TitleTokens | None) -> TitleLabels:
    """The labels of a title's line by the settings."""
    if tokens is not None and settings.softmax == "trie":
        return BranchingNodes(tokens)
    if tokens is not None and settings.loss_tokens == "branching":
        return BranchingTokens(tokens)
    return every_token


def _relabel(example: TokenizedExample, softmax: TitleTokens) -> TokenizedExample:
    """The example with labels that count among the tokens of titles."""
    return {**example, "labels": softmax.places(example["labels"])}


def _validation_examples(
    renderer: PromptRenderer,
    examples: Sequence[TitleExample],
    *,
    loss: LossTarget,
    title_labels: TitleLabels,
) -> list[TokenizedExample]:
    tokenized = tokenize_examples(
        renderer,
        examples,
        loss="full" if loss == "full" else "completion",
        title_labels=title_labels,
    )
    # Similar lengths share a batch. The order is the same in every epoch and every run.
    return sorted(tokenized, key=lambda example: -len(example["input_ids"]))


def _training_arguments(
    settings: FinetuneSettings,
    *,
    output_dir: Path,
    lm: LanguageModel,
    n_train: int,
    has_valid: bool,
    stop_after: int | None,
    seed: int,
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        use_cpu=lm.device.type == "cpu",
        # All weights are float32 while they are trained. An adapter's products are as the base's.
        bf16=settings.method == "full" and _computing_dtype(lm) == torch.bfloat16,
        num_train_epochs=settings.epochs if stop_after is None else stop_after,
        per_device_train_batch_size=settings.per_device_batch_size,
        per_device_eval_batch_size=settings.per_device_batch_size,
        learning_rate=settings.peak_learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        eval_strategy="epoch" if has_valid else "no",
        save_strategy="epoch",
        load_best_model_at_end=has_valid,
        metric_for_best_model=_FIGURE if has_valid else None,
        greater_is_better=False if has_valid else None,
        restore_callback_states_from_checkpoint=True,
        prediction_loss_only=True,
        remove_unused_columns=False,
        dataloader_pin_memory=lm.device.type == "cuda",
        disable_tqdm=True,
        report_to=list(settings.report_to) or "none",
        seed=seed,
        data_seed=seed,
    )
    # One process, one device: DataParallel would split a batch whose labels the output layer knows.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    batch_size, per_device = settings.batch_size, settings.per_device_batch_size
    if batch_size % (per_device * arguments.world_size):
        raise ValueError(
            f"batch_size is {batch_size}: expected a multiple of per_device_batch_size "
            f"({per_device}) times the number of processes ({arguments.world_size})."
        )
    arguments.gradient_accumulation_steps = batch_size // (per_device * arguments.world_size)
    steps = training_steps(n_train, settings)
    arguments.warmup_steps = min(settings.warmup_steps, steps // 10)
    arguments.logging_steps = max(1, steps // 200)
    return arguments


def _finite_numbers(entry: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in entry.items() if math.isfinite(value)}
