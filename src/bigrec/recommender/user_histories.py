"""Newest items of every user, to which later interactions are appended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.data.stored_tables import read_table
from bigrec.types import BoolArray, IntArray

USERS_FILE = "users.parquet"
"""The users' histories in a bundle."""


@dataclass(frozen=True, eq=False)
class UserHistories:
    """Newest items of every user.

    Attributes:
        length: Number of items that are kept of each.
        items: Item ids by user, oldest first. Items may have left the catalog.
    """

    length: int
    items: Mapping[str, Sequence[str]] = field(repr=False)

    @classmethod
    def of(
        cls, interactions: Interactions, rows: BoolArray, *, catalog: Catalog, length: int
    ) -> Self:
        """The newest items among some of the interactions.

        Args:
            interactions: All interactions, ``m`` of them.
            rows: Mask of those that count, ``[m]``.
            catalog: The items.
            length: Number of items that are kept of each user.
        """
        ids = catalog.item_ids
        starts = interactions.user_start
        items = {}
        for user, start, stop in zip(interactions.user_ids, starts, starts[1:], strict=False):
            newest = interactions.items[start:stop][rows[start:stop]][-length:]
            if len(newest):
                items[user] = tuple(ids[item] for item in newest)
        return cls(length, items)

    def followed_by(
        self, interactions: Interactions, catalog: Catalog
    ) -> tuple[list[IntArray], IntArray, Self]:
        """What came before each of some later interactions.

        Args:
            interactions: Later than all that is kept of their users, ``m`` of them.
            catalog: Their items.

        Returns:
            Item numbers before each interaction, oldest first, at most ``length`` that are in the
            catalog; the item number of each, ``[m]``; and the histories with them.
        """
        number_of = {item: number for number, item in enumerate(catalog.item_ids)}
        histories: list[IntArray] = []
        items = dict(self.items)
        starts = interactions.user_start
        for user, start, stop in zip(interactions.user_ids, starts, starts[1:], strict=False):
            before = [number_of[item] for item in items.get(user, ()) if item in number_of]
            sequence = np.array([*before, *interactions.items[start:stop]], dtype=np.int64)
            histories += [
                sequence[max(0, position - self.length) : position]
                for position in range(len(before), len(sequence))
            ]
            new = [catalog.item_ids[item] for item in interactions.items[start:stop]]
            items[user] = tuple([*items.get(user, ()), *new][-self.length :])
        return histories, interactions.items.astype(np.int64), type(self)(self.length, items)

    def save(self, path: Path) -> None:
        """Write a Parquet file: a row for each item of a user, oldest first."""
        users = [user for user, items in self.items.items() for _ in items]
        items = [item for items in self.items.values() for item in items]
        columns = {"user_id": users, "item_id": items}
        schema = {"user_id": pl.String, "item_id": pl.String}
        pl.DataFrame(columns, schema=schema).write_parquet(path)

    @classmethod
    def load(cls, path: Path, *, length: int) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: If the file is missing or damaged.
        """
        columns = {"user_id": pl.String, "item_id": pl.String}
        table = read_table(path, columns, what="histories of users")
        by_user = table.group_by("user_id", maintain_order=True).agg(pl.col("item_id"))
        items = dict(zip(by_user["user_id"], by_user["item_id"].to_list(), strict=True))
        return cls(length, {user: tuple(ids[-length:]) for user, ids in items.items()})
