"""What a network is trained and judged on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from bigrec.errors import DataError
from bigrec.models.neural.sequences import padded_histories
from bigrec.types import IntArray


@dataclass(frozen=True, eq=False)
class Lessons:
    """Training interactions and validation queries.

    Attributes:
        users: ``[m]`` user number of every training interaction, ascending.
        items: ``[m]`` int64 item numbers, each user's in time order.
        histories: ``[r, h]`` validation histories that have an item, padded on the left.
        targets: ``[r]`` their targets.
    """

    users: IntArray = field(repr=False)
    items: IntArray = field(repr=False)
    histories: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)

    @classmethod
    def of(
        cls,
        users: IntArray,
        items: IntArray,
        *,
        histories: Sequence[IntArray],
        targets: IntArray,
        n_items: int,
        length: int,
    ) -> Self:
        """Check and pad.

        Args:
            users: ``[m]`` user number of every training interaction, ascending.
            items: ``[m]`` item numbers, each user's in time order.
            histories: Validation histories, ``q`` of them.
            targets: Item number of each one's target, ``[q]``.
            n_items: Items of the catalog.
            length: Most items that are kept of a history.

        Raises:
            DataError: If no user has two training interactions.
            ValueError: If a number is out of range, the lengths differ, or no history has an item.
        """
        if not (users[1:] == users[:-1]).any():
            raise DataError(
                "a network has nothing to learn from: no user has two training interactions. Use "
                "another split, or popularity, which needs no order."
            )
        if len(histories) != len(targets):
            raise ValueError(
                f"Got {len(histories)} validation histories and {len(targets)} targets; expected "
                "a target for each."
            )
        wrong = targets[(targets < 0) | (targets >= n_items)]
        if wrong.size:
            raise ValueError(f"valid_targets holds {wrong[0]}; expected 0 to {n_items - 1}.")
        filled, padded = padded_histories(histories, n_items=n_items, length=length)
        if not len(filled):
            raise ValueError(
                f"valid_histories are {len(histories)} without an item; expected at least one "
                "with an item, to choose the best epoch by."
            )
        return cls(users, items, padded, torch.from_numpy(targets.astype(np.int64))[filled])

    def digest(self) -> str:
        """Changes with anything in them."""
        arrays = (self.users, self.items, self.histories.numpy(), self.targets.numpy())
        total = hashlib.sha256()
        for array in arrays:
            total.update(f"{array.dtype}{array.shape}".encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()
