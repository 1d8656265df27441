"""Training examples as tokens and labels, their batches, and the loss over a batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypedDict

import torch
from torch.nn import functional
from torch.utils.data import Sampler

from bigrec.data.examples import TitleExample
from bigrec.lm.model import LanguageModel
from bigrec.lm.padding import left_padded
from bigrec.lm.prompts import PromptRenderer
from bigrec.lm.title_tokens import TitleTokens, allowed_logits
from bigrec.printable import get_logger

logger = get_logger(__name__)

LossTarget = Literal["completion", "titles", "full"]

IGNORED = -100
"""Label of a token that the loss does not cover."""


TitleLabels = Callable[[Sequence[int], Sequence[int]], Sequence[int]]
"""Labels of a line, from its tokens and those of its title: a line is a title and what ends it."""


def every_token(line: Sequence[int], title: Sequence[int]) -> Sequence[int]:
    """Labels of all tokens of a line."""
    del title
    return line


@dataclass(frozen=True)
class BranchingTokens:
    """Labels of the tokens of a title where several could stand.

    Args:
        titles: The titles.
    """

    titles: TitleTokens

    def __call__(self, line: Sequence[int], title: Sequence[int]) -> list[int]:
        """See `TitleLabels`."""
        branches = self.titles.branches(title)
        return [
            token if branches[min(place, len(title))] else IGNORED
            for place, token in enumerate(line)
        ]


@dataclass(frozen=True)
class BranchingNodes:
    """As `BranchingTokens`, with the node of the trie that a token leads to as its label.

    What ends a line in another way than it ends a title that is generated has no node.

    Args:
        titles: The titles.
    """

    titles: TitleTokens

    def __call__(self, line: Sequence[int], title: Sequence[int]) -> list[int]:
        """See `TitleLabels`."""
        ended = [*title, self.titles.trie.end]
        labels = [
            node if branches and token == ended[place] else IGNORED
            for place, (token, branches, node) in enumerate(
                zip(line, self.titles.branches(title), self.titles.nodes(title), strict=False)
            )
        ]
        return [*labels, *_ignored(line[len(labels) :])]


class TokenizedExample(TypedDict):
    """An example as the model reads it.

    Attributes:
        input_ids: Tokens of prompt and response.
        labels: The same where the loss covers a token, -100 elsewhere. The first label is always
            -100: nothing predicts the first token.
    """

    input_ids: list[int]
    labels: list[int]


def tokenize_examples(
    renderer: PromptRenderer,
    examples: Sequence[TitleExample],
    *,
    loss: LossTarget,
    title_labels: TitleLabels = every_token,
) -> list[TokenizedExample]:
    """Tokenize examples, with labels where the loss covers them.

    Args:
        renderer: Renders histories and targets.
        examples: Histories and targets.
        loss: ``completion`` covers the target. ``titles`` covers the titles of history and target
            (all-position targets), each with the token that ends it if that is part of the title
            (see `PromptRenderer.prompt_parts`). ``full`` covers every token. The first title of a
            history has no title before it: the model learns from it which titles are popular.
        title_labels: Labels of a title's line. Has no effect with ``full``.
    """
    tokenized = []
    n_truncated = 0
    for example in examples:
        before, lines, after = renderer.prompt_parts(example.history, example.item_type)
        response = renderer.response_ids(example.target)
        n_truncated += len(lines) < len(example.history)
        ids = [*before, *chain.from_iterable(lines), *after, *response]
        if loss == "full":
            labels = [IGNORED, *ids[1:]]
        else:
            titles = example.titles[-1 - len(lines) :]
            *history, target = (
                title_labels(line, renderer.title_token_ids(title))
                for title, line in zip(titles, [*lines, response], strict=True)
            )
            if loss == "completion":
                history = [_ignored(line) for line in lines]
            labels = [*_ignored(before), *chain.from_iterable(history), *_ignored(after), *target]
        tokenized.append(TokenizedExample(input_ids=ids, labels=labels))
    if n_truncated and loss == "titles":
        logger.warning(
            "%d of %d training examples are longer than %d tokens: their oldest titles are "
            "dropped and not learned. Use a shorter window or more max_tokens.",
            n_truncated,
            len(examples),
            renderer.max_tokens,
        )
    return tokenized


def _ignored(ids: Sequence[int]) -> list[int]:
    return [IGNORED] * len(ids)


class Collator:
    """Pads examples on the left, so that every row ends at the last position.

    The loss then covers trailing positions of all rows, and ``logits_to_keep`` saves the
    vocabulary-sized product at all others.

    Args:
        lm: The language model that is trained.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm

    def __call__(self, examples: Sequence[TokenizedExample]) -> dict[str, Any]:
        """One batch, for the model and for `kept_positions_loss`.

        Args:
            examples: At least one.

        Returns:
            ``input_ids`` and ``attention_mask``, ``[b, width]``, without each row's last token,
            which predicts nothing; ``labels``, ``[b, keep + 1]``; and those of
            `LanguageModel.forward_options` that the architecture supports.
        """
        input_ids, mask = left_padded(
            [example["input_ids"][:-1] for example in examples],
            pad=self._lm.tokenizer.pad_token_id or 0,
        )
        tails = [_from_first_label(example["labels"]) for example in examples]
        keep = max(map(len, tails))
        # One column more than is kept: Trainer drops the first column when it counts labels of
        # causal models, because their own loss shifts labels against logits.
        labels = torch.full((len(examples), keep + 1), IGNORED)
        for row, tail in enumerate(tails):
            labels[row, keep + 1 - len(tail) :] = torch.tensor(tail)
        return {
            "input_ids": input_ids,
            "attention_mask": mask,
            "labels": labels,
            **self._lm.forward_options(mask, keep=keep),
        }


def _from_first_label(labels: Sequence[int]) -> Sequence[int]:
    """Labels from the first one that the loss covers."""
    first = next(place for place, label in enumerate(labels) if label != IGNORED)
    return labels[first:]


@dataclass(frozen=True)
class TrieLoss:
    """As `kept_positions_loss`, relative to the tokens that lead from the same node to some title.

    The losses of a title's tokens then sum to its negative log-probability among all titles.

    Args:
        titles: The titles; labels are those of `BranchingNodes`, and logits those of their tokens.
    """

    titles: TitleTokens

    def __call__(
        self,
        outputs: Any,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """See `kept_positions_loss`."""
        labeled = labeled_positions(labels)
        nodes = labels[:, 1:][labeled].cpu().numpy()
        tokens = self.titles.trie.tokens(nodes)
        logits = outputs["logits"]
        if logits.dim() == 3:
            logits = logits[:, -labeled.shape[1] :][labeled]
        total = functional.cross_entropy(
            allowed_logits(logits.float(), nodes, self.titles),
            torch.tensor(self.titles.places(tokens.tolist()), device=logits.device),
            reduction="sum",
        )
        return total / (len(nodes) if num_items_in_batch is None else num_items_in_batch)


def kept_positions_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy over the labeled tokens of all batches of an optimizer step.

    Args:
        outputs: Output of the model; ``logits`` for the trailing ``keep`` positions, for all, or
            for the labeled ones alone, ``[n, v]``.
        labels: ``[b, keep + 1]`` from `Collator`.
        num_items_in_batch: Divisor of the summed loss. None divides by the number of labels.
    """
    targets = labels[:, 1:]
    logits = outputs["logits"]
    if logits.dim() == 2:
        targets = targets[targets != IGNORED]
    else:
        # One row for each position: torch is many times slower unless the vocabulary is the last
        # dimension.
        logits, targets = logits[:, -targets.shape[1] :].flatten(0, 1), targets.flatten()
    total = functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return total / (
        (targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    )


def labeled_positions(labels: torch.Tensor) -> torch.Tensor:
    """Which of the trailing positions have a label, ``[b, keep]``.

    Args:
        labels: ``[b, keep + 1]`` from `Collator`.
    """
    return labels[:, 1:] != IGNORED


class SortedBatches(Sampler[int]):
    """A new random order for each epoch, longest examples first within each optimizer step.

    The examples of a step are random, and its gradient is that of a random order up to rounding.
    The batches within a step have examples of similar length and little padding.

    Args:
        examples: Tokenized examples.
        batch_size: Examples in an optimizer step, over all processes.
        seed: Decides the order, together with the epoch.
    """

    def __init__(self, examples: Sequence[TokenizedExample], *, batch_size: int, seed: int) -> None:
        self._lengths = [len(example["input_ids"]) for example in examples]
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next order. Trainer calls it, also for a resumed run."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Positions in ``examples``."""
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        for start in range(0, len(order), self._batch_size):
            step = order[start : start + self._batch_size]
            yield from sorted(step, key=lambda place: -self._lengths[place])
