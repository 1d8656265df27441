"""Training sequences and validation queries of a network."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from bigrec.errors import DataError
from bigrec.models.neural.inference import padded_histories
from bigrec.types import IntArray


@dataclass(frozen=True, eq=False)
class SequenceDataset:
    """Training interactions and validation queries.

    Attributes:
        users: ``[m]`` user number of every training interaction, ascending.
        items: ``[m]`` int64 item numbers, each user's in time order.
        histories: ``[r, h]`` validation histories with at least one item, padded on the left.
        targets: ``[r]`` their targets.
    """

    users: IntArray = field(repr=False)
    items: IntArray = field(repr=False)
    histories: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)

    @classmethod
    def build(
        cls,
        users: IntArray,
        items: IntArray,
        *,
        histories: Sequence[IntArray],
        targets: IntArray,
        n_items: int,
        max_length: int,
    ) -> Self:
        """Check the arrays and pad the histories.

        Args:
            users: ``[m]`` user number of every training interaction, ascending.
            items: ``[m]`` item numbers, each user's in time order.
            histories: Validation histories, ``q`` of them.
            targets: Item number of each one's target, ``[q]``.
            n_items: Items of the catalog.
            max_length: Maximum items of a history, the newest ones.

        Raises:
            DataError: If there are fewer than two items, or no user has two training interactions.
            ValueError: If a number is out of range, the lengths differ, or no history has an item.
        """
        check_trainable(users, n_items=n_items)
        targets = np.asarray(targets)
        if targets.ndim != 1 or (targets.size and targets.dtype.kind not in "iu"):
            raise ValueError(
                f"valid_targets is {targets.dtype} of shape {targets.shape}; expected whole "
                "numbers of shape [q], the item number of each target."
            )
        if len(histories) != len(targets):
            raise ValueError(
                f"Got {len(histories)} validation histories and {len(targets)} targets; expected "
                "a target for each."
            )
        invalid = targets[(targets < 0) | (targets >= n_items)]
        if invalid.size:
            raise ValueError(f"valid_targets holds {invalid[0]}; expected 0 to {n_items - 1}.")
        rows, padded = padded_histories(histories, n_items=n_items, max_length=max_length)
        if not len(rows):
            raise ValueError(
                f"valid_histories are {len(histories)} without an item; expected at least one "
                "with an item, for early stopping."
            )
        return cls(users, items, padded, torch.from_numpy(targets.astype(np.int64))[rows])

    def digest(self) -> str:
        """SHA-256 of all arrays."""
        return digest(self.users, self.items, self.histories.numpy(), self.targets.numpy())


def check_trainable(users: IntArray, *, n_items: int) -> None:
    """Check that there is something to learn.

    Args:
        users: ``[m]`` user number of every training interaction, ascending.
        n_items: Items of the catalog.

    Raises:
        DataError: If there are fewer than two items, or no user has two training interactions.
    """
    if n_items < 2:
        raise DataError(
            f"there is nothing to choose from: the catalog has {n_items} item or title. A "
            "network needs at least two."
        )
    if not (users[1:] == users[:-1]).any():
        raise DataError(
            "there is no next item to train a network on: no user has two training "
            "interactions. Use another split, or popularity, which needs no order."
        )


def digest(*arrays: IntArray) -> str:
    """SHA-256 of arrays, their types and their shapes."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
