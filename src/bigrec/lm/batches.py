"""What training reads: examples as tokens and labels, batches of them, and their loss."""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal, TypedDict

import torch
from torch.nn import functional
from torch.utils.data import Sampler

from bigrec.data.examples import TitleExample
from bigrec.lm.model import LanguageModel
from bigrec.lm.padding import left_padded
from bigrec.lm.prompts import PromptRenderer

logger = logging.getLogger(__name__)

LossOn = Literal["response", "titles", "all"]

_IGNORED = -100


class Row(TypedDict):
    """An example as the model reads it.

    Attributes:
        input_ids: Tokens of prompt and response.
        labels: The same where the loss covers a token, -100 elsewhere. Never the first token,
            which nothing predicts.
    """

    input_ids: list[int]
    labels: list[int]


def render(
    renderer: PromptRenderer, examples: Sequence[TitleExample], *, loss_on: LossOn
) -> list[Row]:
    """Examples as tokens, with labels where the loss covers them.

    Args:
        renderer: Renders histories and targets.
        examples: What to render.
        loss_on: ``response`` covers the target; ``titles`` also every title of the history, each
            with the token that ends it where it is the title's own (see
            `PromptRenderer.prompt_parts`); ``all`` every token. The first title of a history
            follows no other: what is learned from it is which titles are popular.
    """
    rows = []
    cut = 0
    for example in examples:
        before, lines, after = renderer.prompt_parts(example.history, example.noun)
        history = list(chain.from_iterable(lines))
        response = renderer.response_ids(example.target)
        cut += len(lines) < len(example.history)
        ids = [*before, *history, *after, *response]
        if loss_on == "all":
            labels = [_IGNORED, *ids[1:]]
        elif loss_on == "titles":
            labels = [*_ignored(before), *history, *_ignored(after), *response]
        else:
            labels = [*_ignored(ids[: -len(response)]), *response]
        rows.append(Row(input_ids=ids, labels=labels))
    if cut and loss_on == "titles":
        logger.warning(
            "%d of %d training examples are longer than %d tokens: their oldest titles are left "
            "out and not learned. Use a shorter window or more max_tokens.",
            cut,
            len(examples),
            renderer.max_tokens,
        )
    return rows


def _ignored(ids: Sequence[int]) -> list[int]:
    return [_IGNORED] * len(ids)


class Collator:
    """Pads on the left, so that every row ends at the last position.

    The loss then covers trailing positions of all rows, and ``logits_to_keep`` saves the
    vocabulary-sized product at all others.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """One batch, for the model and for `kept_positions_loss`.

        Args:
            rows: At least one.

        Returns:
            ``input_ids`` and ``attention_mask``, ``[b, width]``, without each row's last token,
            after which nothing is learned; ``labels``, ``[b, keep + 1]``; what the architecture
            takes of `LanguageModel.forward_options`.
        """
        input_ids, mask = left_padded(
            [row["input_ids"][:-1] for row in rows], pad=self._lm.tokenizer.pad_token_id or 0
        )
        learned = [_learned(row["labels"]) for row in rows]
        keep = max(map(len, learned))
        # One column more than is kept: Trainer leaves out the first column as it counts labels
        # of causal models, because their own loss shifts labels against logits.
        labels = torch.full((len(rows), keep + 1), _IGNORED)
        for row, tail in enumerate(learned):
            labels[row, keep + 1 - len(tail) :] = torch.tensor(tail)
        return {
            "input_ids": input_ids,
            "attention_mask": mask,
            "labels": labels,
            **self._lm.forward_options(mask, keep=keep),
        }


def _learned(labels: Sequence[int]) -> Sequence[int]:
    """Labels from the first that the loss covers on."""
    first = next(place for place, label in enumerate(labels) if label != _IGNORED)
    return labels[first:]


def kept_positions_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy over the learned tokens of all micro-batches of an optimizer step.

    Args:
        outputs: Of the model, ``logits`` for the trailing ``keep`` positions or for all.
        labels: ``[b, keep + 1]`` from `Collator`.
        num_items_in_batch: What to divide by; None divides by the labels there are.
    """
    targets = labels[:, 1:]
    logits = outputs["logits"][:, -targets.shape[1] :]
    # One row a position: with the vocabulary in another place than the last, torch is many times
    # slower.
    total = functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=_IGNORED, reduction="sum"
    )
    return total / (
        (targets != _IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    )


class SortedBatches(Sampler[int]):
    """A new random order for each epoch, the longest first within each optimizer step.

    Which examples make up a step is left to chance as ever, and so is the step's gradient up to
    rounding; but micro-batches, a step's parts, hold rows of similar length and little padding.

    Args:
        rows: What is drawn from.
        batch_size: Examples in an optimizer step, over all processes.
        seed: Decides the order, together with the epoch.
    """

    def __init__(self, rows: Sequence[Row], *, batch_size: int, seed: int) -> None:
        self._lengths = [len(row["input_ids"]) for row in rows]
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; called by Trainer, also as a run resumes."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Places in ``rows``."""
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        for start in range(0, len(order), self._batch_size):
            step = order[start : start + self._batch_size]
            yield from sorted(step, key=lambda place: -self._lengths[place])
