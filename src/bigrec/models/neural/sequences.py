"""Windows of training interactions, and padded batches of windows and histories."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from bigrec.types import IntArray

# Number of batches whose windows are sorted by length together: enough that a batch has windows of
# nearly one length, few enough that its windows are still a random choice.
_POOL_BATCHES = 50


@dataclass(frozen=True, eq=False)
class Windows:
    """Runs of consecutive interactions of one user each.

    Attributes:
        items: ``[m]`` item numbers of all training interactions, each user's in time order.
        first: ``[w]`` row of every window's first interaction.
        end: ``[w]`` row after every window's last interaction, at least ``first + 2``.
    """

    items: Tensor
    first: Tensor
    end: Tensor

    @classmethod
    def chunks(cls, users: IntArray, items: IntArray, *, max_length: int, shift: int = 0) -> Self:
        """Cut every user's interactions into windows of at most ``max_length + 1``.

        Neighboring windows share one interaction, the target of the older one and the input of
        the newer one, so that every interaction but a user's first is a target exactly once.

        Args:
            users: ``[m]`` user number of every interaction, ascending.
            items: ``[m]`` item numbers.
            max_length: Maximum inputs of a window.
            shift: Number of targets that the newest window lacks, from 0, where it is full, to
                ``max_length - 1``.
        """
        first, end = _user_bounds(users)
        targets = end - first - 1
        counts = np.where(targets > 0, -(-(targets + shift) // max_length), 0)
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        # Cut backwards from beyond the user's end, then clipped to the user's interactions.
        ends = np.repeat(end + shift, counts) - number * max_length
        begins = np.maximum(ends - max_length - 1, np.repeat(first, counts))
        ends = np.minimum(ends, np.repeat(end, counts))
        return cls(*(torch.from_numpy(rows) for rows in (items, begins, ends)))

    @classmethod
    def sliding(cls, users: IntArray, items: IntArray, *, max_length: int) -> Self:
        """A window for every interaction but a user's first: it and up to ``max_length`` before it.

        Args:
            users: ``[m]`` user number of every interaction, ascending.
            items: ``[m]`` item numbers.
            max_length: Maximum inputs of a window.
        """
        first, end = _user_bounds(users)
        user_first = np.repeat(first, end - first)
        targets = np.flatnonzero(np.arange(len(users)) > user_first)
        begins = np.maximum(targets - max_length, user_first[targets])
        return cls(*(torch.from_numpy(rows) for rows in (items, begins, targets + 1)))

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, numbers: Tensor, *, padding: int) -> Tensor:
        """Items of some windows, ``[b, widest]``, oldest first, padded on the left.

        Args:
            numbers: ``[b]`` numbers of windows.
            padding: Item number that stands for no item.
        """
        first, end = self.first[numbers, None], self.end[numbers, None]
        rows = end - torch.arange(int((end - first).max()), 0, -1)
        # Rows are clipped only to stay inside the array: the clipped ones are masked.
        return torch.where(rows >= first, self.items[rows.clamp(min=0)], padding)


def batches_by_length(lengths: Tensor, targets: Tensor, *, batch_size: int) -> list[Tensor]:
    """Batch windows of similar length, so that little of a batch is padding.

    Windows are shuffled, sorted by length within pools of some batches, and cut into batches,
    which are shuffled. Randomness comes from torch's global generator.

    Args:
        lengths: ``[w]`` items of every window.
        targets: ``[w]`` targets of every window, at least 1.
        batch_size: Approximate number of targets in a batch.

    Returns:
        Numbers of the windows of each batch, every window once.
    """
    order = torch.randperm(len(lengths))
    pool = (targets[order].cumsum(0) - 1) // (batch_size * _POOL_BATCHES)
    longest = int(lengths.max()) + 1
    order = order[torch.argsort(pool * longest + lengths[order], stable=True)]
    batch_of = (targets[order].cumsum(0) - 1) // batch_size
    counts = torch.unique_consecutive(batch_of, return_counts=True)[1]
    batches = torch.split(order, counts.tolist())
    return [batches[number] for number in torch.randperm(len(batches)).tolist()]


def _user_bounds(users: IntArray) -> tuple[IntArray, IntArray]:
    """First row of every user, and the row after the last one."""
    first = np.flatnonzero(np.diff(users, prepend=-1))
    return first, np.append(first[1:], len(users))
