"""The training interactions of one catalog, and the gradients of their batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bigrec.lm.distributed import Processes
from bigrec.lm.hardware import ROWS
from bigrec.models.neural.arguments import TrainingArguments
from bigrec.models.neural.dataset import digest
from bigrec.models.neural.gradients import sum_gradients
from bigrec.models.neural.losses import (
    all_candidates,
    robust_loss,
    sampled_candidates,
    softmax_loss,
)
from bigrec.models.neural.networks import SequenceNetwork
from bigrec.models.neural.sequences import Windows, batches_by_length
from bigrec.storage import fingerprint
from bigrec.types import IntArray

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class TrainingSource:
    """Sequences over one catalog, with the network that scores its items.

    Attributes:
        network: Scores the items of the catalog, on its device.
        users: ``[m]`` user number of every training interaction, ascending.
        items: ``[m]`` int64 item numbers, each user's in time order.
        n_negatives: Number of the catalog's items that a target is compared with; None is all.
    """

    network: SequenceNetwork = field(repr=False)
    users: IntArray = field(repr=False)
    items: IntArray = field(repr=False)
    n_negatives: int | None

    @property
    def n_targets(self) -> int:
        """Targets in an epoch: every interaction but a user's first is one, once."""
        return len(self.users) - len(np.unique(self.users))

    def digest(self) -> str:
        """Identifies the catalog's size, the interactions and the number of negatives."""
        arrays = digest(self.users, self.items)
        return fingerprint([self.network.n_items, arrays, self.n_negatives])

    @cached_property
    def log_popularity(self) -> Tensor:
        """Logarithm of every item's share of the training interactions, ``[n]``."""
        counts = torch.bincount(torch.from_numpy(self.items), minlength=self.network.n_items)
        # One more for every item, so that popularity can shift to any of them.
        shares = (counts + 1).double() / (counts + 1).sum()
        return shares.log().float().to(self.network.device)

    def batches(self, *, batch_size: int) -> tuple[Windows, list[Tensor]]:
        """Windows of an epoch, and their numbers in batches.

        Randomness comes from torch's global generator.

        Args:
            batch_size: Approximate number of targets in a batch.
        """
        windows = self._windows()
        n_targets = torch.ones(len(windows), dtype=torch.long)
        if self.network.predicts_all_positions:
            n_targets = windows.end - windows.first - 1
        lengths = windows.end - windows.first
        return windows, batches_by_length(lengths, n_targets, batch_size=batch_size)

    def _windows(self) -> Windows:
        max_length = self.network.max_length
        if not self.network.predicts_all_positions:
            return Windows.sliding(self.users, self.items, max_length=max_length)
        # Cut differently in every epoch, so that a target follows histories of many lengths.
        shift = int(torch.randint(max_length, ()))
        return Windows.chunks(self.users, self.items, max_length=max_length, shift=shift)

    def set_gradients(
        self, batch: Tensor, arguments: TrainingArguments, processes: Processes
    ) -> tuple[float, int]:
        """Set the gradients of the mean loss of a batch.

        Args:
            batch: ``[b, h]`` item numbers, padded on the left; the same in all processes.
            arguments: Hyperparameters.
            processes: Each computes those of a share of the rows, and all get the sum.

        Returns:
            The summed loss, and the number of targets.
        """
        network = self.network
        positions = batch.shape[1] - 1 if network.predicts_all_positions else 1
        n_targets = int((batch[:, -1 - positions : -1] != network.n_items).sum())
        loss = 0.0
        own = batch[processes.index :: processes.count]
        forward_size = arguments.forward_size or batch.numel()
        for rows in torch.split(own, max(1, forward_size // positions)) if len(own) else ():
            loss += self._add_gradients(rows, arguments, n_targets=n_targets)
        if processes.count > 1:
            loss = sum_gradients(network, loss, processes)
        return loss, n_targets

    def _add_gradients(
        self, batch: Tensor, arguments: TrainingArguments, *, n_targets: int
    ) -> float:
        """Add the gradients of some rows of a batch; returns their summed loss."""
        inputs = batch[:, :-1]
        hidden = self.network(inputs)
        has_target = inputs[:, -hidden.shape[1] :] != self.network.n_items
        targets = batch[:, -hidden.shape[1] :][has_target]
        seen = _items_before_targets(inputs, has_target, padding=self.network.n_items)
        return self._backward(hidden[has_target], targets, seen, arguments, n_targets=n_targets)

    def _backward(
        self,
        hidden: Tensor,
        targets: Tensor,
        seen: Tensor,
        arguments: TrainingArguments,
        *,
        n_targets: int,
    ) -> float:
        """Add the gradients of the mean loss over ``n_targets``; returns the summed loss.

        Scores are computed for some of the targets at a time: those of all can fill the memory,
        and are slower outside of the caches.
        """
        n_items, negatives = self.network.n_items, None
        if self.n_negatives is not None:
            negatives = torch.randint(n_items, (self.n_negatives,)).to(self.network.device)
        # Sampled scores are few, and every block adds up gradients of all embeddings.
        block = len(hidden) if negatives is not None else self.network.scores_at_once // n_items
        rows = max(ROWS, block // ROWS * ROWS)
        leaf = hidden.detach().requires_grad_()
        total = 0.0
        blocks = zip(
            *(torch.split(all_rows, rows) for all_rows in (leaf, targets, seen)), strict=True
        )
        for states, next_items, before in blocks:
            loss = self._loss(states, next_items, before, arguments, negatives=negatives)
            torch.autograd.backward(loss / n_targets)
            total += float(loss.detach())
        torch.autograd.backward(hidden, leaf.grad)
        return total

    def _loss(
        self,
        hidden: Tensor,
        targets: Tensor,
        seen: Tensor,
        arguments: TrainingArguments,
        *,
        negatives: Tensor | None,
    ) -> Tensor:
        options: dict[str, Any] = {
            "log_popularity": self.log_popularity,
            "seen": seen if arguments.exclude_seen else None,
        }
        candidates = (
            all_candidates(self.network, hidden, targets, **options)
            if negatives is None
            else sampled_candidates(self.network, hidden, targets, negatives=negatives, **options)
        )
        loss = softmax_loss(candidates)
        if arguments.robust_weight:
            robust = robust_loss(candidates, temperature=arguments.robust_temperature)
            loss = loss + arguments.robust_weight * robust
        return loss


def spread_evenly(lists: Sequence[Sequence[_Value]]) -> list[_Value]:
    """Merge lists, each in its own order and spread evenly over the result.

    Each of several catalogs has the same share of the batches at every learning rate.
    """
    places = [
        ((position + 0.5) / len(values), value)
        for values in lists
        for position, value in enumerate(values)
    ]
    return [value for _, value in sorted(places, key=lambda place: place[0])]


def _items_before_targets(inputs: Tensor, has_target: Tensor, *, padding: int) -> Tensor:
    """The items of a sequence before each of its targets, ``[m, h]``.

    Args:
        inputs: ``[b, h]`` item numbers.
        has_target: ``[b, c]`` whether each of the last ``c`` positions has a target, ``m`` in all.
        padding: Number that stands for no item.
    """
    width = inputs.shape[1]
    row, position = has_target.nonzero(as_tuple=True)
    newest = position + width - has_target.shape[1]
    later = torch.arange(width, device=inputs.device) > newest[:, None]
    return inputs[row].masked_fill(later, padding)
