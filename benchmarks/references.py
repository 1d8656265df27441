"""Reference implementations of the stages, as they are commonly written.

They compute in float32, on batches in the order of the inputs, padded to the longest row.
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


def reference_train(
    model: Any,
    rows: Sequence[tuple[list[int], list[int]]],
    *,
    folder: Path,
    pad_id: int,
    lora_r: int,
    lora_alpha: int,
    lora_dropout: float,
    target_modules: Sequence[str] | str | None,
    learning_rate: float,
    batch_size: int,
    per_device_batch_size: int,
    seed: int,
) -> list[float]:
    """Fine-tune a LoRA adapter for one epoch, with logits at every position.

    Args:
        model: The base model; unchanged afterwards.
        rows: Token ids of every prompt and its response. The loss covers the response.
        folder: Folder of the adapter.
        pad_id: Padding token.
        lora_r: LoRA rank.
        lora_alpha: LoRA scale.
        lora_dropout: LoRA dropout.
        target_modules: Modules with an adapter; None takes peft's default.
        learning_rate: Peak learning rate, decayed linearly.
        batch_size: Rows in an optimizer step.
        per_device_batch_size: Rows in a forward pass.
        seed: Seed of initialization, order and dropout.

    Returns:
        Loss of each step.
    """
    set_seed(seed)
    config = LoraConfig(
        r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
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
            per_device_train_batch_size=per_device_batch_size,
            gradient_accumulation_steps=batch_size // per_device_batch_size,
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
    """Pad prompts and responses on the right to one batch, with labels on the responses."""
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
    """Mean cross-entropy of all response tokens, in nats, lower is better."""
    total, count = 0.0, 0
    for batch_rows in _batches(rows, batch_size):
        batch = collate(batch_rows, pad_id=pad_id)
        labels = batch.pop("labels")[:, 1:].flatten()
        logits = model(**{name: ids.to(model.device) for name, ids in batch.items()}).logits
        flat = logits[:, :-1].flatten(0, 1).cpu()
        total += float(cross_entropy(flat, labels, ignore_index=_IGNORED, reduction="sum"))
        count += int((labels != _IGNORED).sum())
    return total / count


@torch.inference_mode()
def reference_generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    end_ids: Sequence[int],
    num_beams: int = 4,
    batch_size: int = 8,
    max_new_tokens: int = 128,
) -> list[list[int]]:
    """Token ids of the top beam of every prompt, by transformers' beam search.

    A text ends at the first of ``end_ids``.
    """
    generated: list[list[int]] = []
    for batch_prompts in _batches(prompts, batch_size):
        batch = tokenizer.pad(
            {"input_ids": batch_prompts}, padding_side="left", return_tensors="pt"
        )
        ids = model.generate(
            input_ids=batch["input_ids"].to(model.device),
            attention_mask=batch["attention_mask"].to(model.device),
            num_beams=num_beams,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=list(end_ids),
            pad_token_id=tokenizer.pad_token_id,
        )
        generated.extend(ids[:, batch["input_ids"].shape[1] :].tolist())
    return generated


@torch.inference_mode()
def reference_embed(
    model: Any, tokenizer: Any, texts: Sequence[str], *, batch_size: int = 16
) -> FloatArray:
    """Last hidden state of every text's last token, ``[q, d]``, by the whole causal model."""
    embeddings = []
    for batch_texts in _batches(texts, batch_size):
        batch = tokenizer(
            list(batch_texts), padding=True, padding_side="right", return_tensors="pt"
        )
        mask = batch["attention_mask"]
        states = model(
            input_ids=batch["input_ids"].to(model.device),
            attention_mask=mask.to(model.device),
            output_hidden_states=True,
        ).hidden_states[-1]
        embeddings.append(states[torch.arange(len(states)), mask.sum(dim=1) - 1].cpu())
    rows: FloatArray = torch.cat(embeddings).numpy()
    return rows


def reference_rank(
    queries: FloatArray, items: FloatArray, targets: IntArray, *, k: int
) -> tuple[IntArray, IntArray]:
    """0-based rank of every target ``[q]`` and nearest items ``[q, k]``, from two full sorts."""
    distances = torch.cdist(torch.from_numpy(queries), torch.from_numpy(items))
    order = distances.argsort(dim=1)
    ranks = order.argsort(dim=1)
    target_ranks = ranks.gather(1, torch.from_numpy(targets)[:, None])[:, 0]
    return target_ranks.numpy(), order[:, :k].numpy()


def _batches(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
