"""What people run today, restated plainly: what our stages are timed and checked against.

Everything is in float32, batches are padded to their longest row and come in the order given.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from bigrec.lm.model import quiet_peft
from bigrec.types import FloatArray, IntArray

_IGNORED = -100


def train_plainly(
    model: Any,
    rows: Sequence[tuple[list[int], list[int]]],
    *,
    folder: Path,
    pad_id: int,
    rank: int,
    alpha: int,
    dropout: float,
    target_modules: Sequence[str] | str | None,
    learning_rate: float,
    batch_size: int,
    micro_batch_size: int,
    seed: int,
) -> list[float]:
    """Fine-tune a LoRA adapter over the rows once, with logits at every position.

    Args:
        model: The base model, which is as it was afterwards.
        rows: Tokens of every prompt and its response; the loss covers the response.
        folder: Where the adapter goes.
        pad_id: Token that fills shorter rows up.
        rank: LoRA rank.
        alpha: LoRA scale.
        dropout: LoRA dropout.
        target_modules: Modules with an adapter; None for peft's choice.
        learning_rate: Start of a linear decay.
        batch_size: Rows in a step.
        micro_batch_size: Rows in a forward pass.
        seed: Decides initialization, order and dropout.

    Returns:
        Loss of each step.
    """
    set_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules,  # type: ignore[arg-type]
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        adapted = get_peft_model(model, config)
    trainer = Trainer(
        model=adapted,
        args=TrainingArguments(
            output_dir=str(folder / "checkpoints"),
            use_cpu=model.device.type == "cpu",
            num_train_epochs=1,
            per_device_train_batch_size=micro_batch_size,
            gradient_accumulation_steps=batch_size // micro_batch_size,
            learning_rate=learning_rate,
            lr_scheduler_type="linear",
            logging_steps=1,
            save_strategy="epoch",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            report_to="none",
            seed=seed,
        ),
        train_dataset=list(rows),
        data_collator=lambda batch: collate(batch, pad_id=pad_id),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    adapted.save_pretrained(str(folder))
    adapted.unload()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def collate(rows: Sequence[tuple[list[int], list[int]]], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Prompts and responses as one batch padded on the right, labels on the responses."""
    shape = (len(rows), max(len(prompt) + len(response) for prompt, response in rows))
    batch = {
        "input_ids": torch.full(shape, pad_id),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
        "labels": torch.full(shape, _IGNORED),
    }
    for row, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        batch["input_ids"][row, :end] = torch.tensor(prompt + response)
        batch["attention_mask"][row, :end] = 1
        batch["labels"][row, len(prompt) : end] = torch.tensor(response)
    return batch


@torch.inference_mode()
def response_loss(
    model: Any, rows: Sequence[tuple[list[int], list[int]]], *, pad_id: int, batch_size: int = 8
) -> float:
    """Mean cross-entropy of all response tokens, in nats."""
    total, count = 0.0, 0
    for some in _batches(rows, batch_size):
        batch = collate(some, pad_id=pad_id)
        labels = batch.pop("labels")[:, 1:].flatten()
        logits = model(**{name: one.to(model.device) for name, one in batch.items()}).logits
        flat = logits[:, :-1].flatten(0, 1).cpu()
        total += float(cross_entropy(flat, labels, ignore_index=_IGNORED, reduction="sum"))
        count += int((labels != _IGNORED).sum())
    return total / count


@torch.inference_mode()
def generate_plainly(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    end_ids: Sequence[int],
    beams: int = 4,
    batch_size: int = 8,
    max_new_tokens: int = 128,
) -> list[list[int]]:
    """Tokens of the best beam of every prompt, by transformers' own beam search.

    ``end_ids`` end a text, whichever comes first.
    """
    written: list[list[int]] = []
    for some in _batches(prompts, batch_size):
        batch = tokenizer.pad({"input_ids": some}, padding_side="left", return_tensors="pt")
        ids = model.generate(
            input_ids=batch["input_ids"].to(model.device),
            attention_mask=batch["attention_mask"].to(model.device),
            num_beams=beams,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=list(end_ids),
            pad_token_id=tokenizer.pad_token_id,
        )
        written.extend(ids[:, batch["input_ids"].shape[1] :].tolist())
    return written


@torch.inference_mode()
def embed_plainly(
    model: Any, tokenizer: Any, texts: Sequence[str], *, batch_size: int = 16
) -> FloatArray:
    """Last layer's state of every text's last token, ``[q, d]``, by the whole causal model."""
    found = []
    for some in _batches(texts, batch_size):
        batch = tokenizer(list(some), padding=True, padding_side="right", return_tensors="pt")
        mask = batch["attention_mask"]
        states = model(
            input_ids=batch["input_ids"].to(model.device),
            attention_mask=mask.to(model.device),
            output_hidden_states=True,
        ).hidden_states[-1]
        found.append(states[torch.arange(len(some)), mask.sum(dim=1) - 1].cpu())
    rows: FloatArray = torch.cat(found).numpy()
    return rows


def rank_plainly(
    queries: FloatArray, items: FloatArray, targets: IntArray, *, k: int
) -> tuple[IntArray, IntArray]:
    """0-based rank of every target ``[q]`` and the nearest items ``[q, k]``: sort everything."""
    distances = torch.cdist(torch.from_numpy(queries), torch.from_numpy(items))
    order = distances.argsort(dim=1)
    ranks = order.argsort(dim=1)
    of_target = ranks.gather(1, torch.from_numpy(targets)[:, None])[:, 0]
    return of_target.numpy(), order[:, :k].numpy()


def _batches(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
