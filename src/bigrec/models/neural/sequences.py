"""Training interactions cut into windows, and windows and histories as padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from bigrec.models.base import history_rows
from bigrec.types import IntArray

# Batches whose windows are sorted by length together: enough for batches of one length nearly,
# few enough to leave their company to chance.
_POOLED = 50


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of consecutive interactions of one user each.

    Attributes:
        items: ``[m]`` item numbers of all training interactions, each user's in time order.
        first: ``[w]`` row of every window's first interaction.
        end: ``[w]`` row behind every window's last interaction, at least ``first + 2``.
    """

    items: Tensor
    first: Tensor
    end: Tensor

    @classmethod
    def chunks(cls, users: IntArray, items: IntArray, *, length: int, shift: int = 0) -> Self:
        """Cut every user's interactions into windows of at most ``length + 1``.

        Neighbouring windows share one interaction, the target of the older one and the input of
        the newer one, so that every interaction but a user's first is a target exactly once.

        Args:
            users: ``[m]`` user number of every interaction, ascending.
            items: ``[m]`` item numbers.
            length: Most inputs of a window.
            shift: Targets by which the newest window is shorter than ``length``, from 0, where it
                is full, to ``length - 1``.
        """
        first, end = _user_bounds(users)
        targets = end - first - 1
        counts = np.where(targets > 0, -(-(targets + shift) // length), 0)
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        # Cut backwards from a place beyond the user's end, then clipped to what is the user's.
        ends = np.repeat(end + shift, counts) - number * length
        begins = np.maximum(ends - length - 1, np.repeat(first, counts))
        ends = np.minimum(ends, np.repeat(end, counts))
        return cls(*(torch.from_numpy(rows) for rows in (items, begins, ends)))

    @classmethod
    def sliding(cls, users: IntArray, items: IntArray, *, length: int) -> Self:
        """A window for every interaction but a user's first: it and up to ``length`` before it.

        Args:
            users: ``[m]`` user number of every interaction, ascending.
            items: ``[m]`` item numbers.
            length: Most inputs of a window.
        """
        first, end = _user_bounds(users)
        first_of = np.repeat(first, end - first)
        targets = np.flatnonzero(np.arange(len(users)) > first_of)
        begins = np.maximum(targets - length, first_of[targets])
        return cls(*(torch.from_numpy(rows) for rows in (items, begins, targets + 1)))

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, chosen: Tensor, *, padding: int) -> Tensor:
        """Items of some windows, ``[b, widest]``, oldest first, padded on the left.

        Args:
            chosen: ``[b]`` numbers of windows.
            padding: Item number that stands for no item.
        """
        first, end = self.first[chosen, None], self.end[chosen, None]
        places = end - torch.arange(int((end - first).max()), 0, -1)
        # Clipped only to stay inside the array: what is clipped is masked.
        return torch.where(places >= first, self.items[places.clamp(min=0)], padding)


def batches_by_length(lengths: Tensor, targets: Tensor, *, batch_size: int) -> list[Tensor]:
    """Windows in batches of similar length, so that little of a batch is padding.

    Windows are shuffled, sorted by length among the neighbours of some batches, cut into batches,
    and these are shuffled. Drawn from torch's own random state.

    Args:
        lengths: ``[w]`` items of every window.
        targets: ``[w]`` targets of every window, at least 1.
        batch_size: Targets of a batch, about.

    Returns:
        Numbers of the windows of each batch, every window once.
    """
    order = torch.randperm(len(lengths))
    pool = (targets[order].cumsum(0) - 1) // (batch_size * _POOLED)
    longest = int(lengths.max()) + 1
    order = order[torch.argsort(pool * longest + lengths[order], stable=True)]
    batch_of = (targets[order].cumsum(0) - 1) // batch_size
    counts = torch.unique_consecutive(batch_of, return_counts=True)[1]
    batches = torch.split(order, counts.tolist())
    return [batches[number] for number in torch.randperm(len(batches)).tolist()]


def padded_histories(
    histories: Sequence[IntArray], *, n_items: int, length: int
) -> tuple[Tensor, Tensor]:
    """The newest items of every history that has any.

    Args:
        histories: Item numbers, oldest first; -1 is padding.
        n_items: Items of the catalog, and the number that stands for no item in the result.
        length: Most items that are kept of a history.

    Returns:
        Numbers of the histories that are not empty, ``[r]``, and their items, ``[r, widest]``,
        padded on the left.

    Raises:
        ValueError: If an item number is out of range.
    """
    starts, items, ages = history_rows(histories, n_items=n_items)
    lengths = np.diff(starts)
    filled = np.flatnonzero(lengths)
    width = min(int(lengths.max(initial=0)), length)
    kept = ages < width
    rows = np.repeat(np.arange(len(filled)), lengths[filled])[kept]
    result = np.full((len(filled), width), n_items)
    result[rows, width - 1 - ages[kept]] = items[kept]
    return torch.from_numpy(filled), torch.from_numpy(result)


def _user_bounds(users: IntArray) -> tuple[IntArray, IntArray]:
    """First row of every user, and the row behind the last one."""
    first = np.flatnonzero(np.diff(users, prepend=-1))
    return first, np.append(first[1:], len(users))
