"""The validated interaction table: who interacted with what, in order."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.columns import Frame
from bigrec.data.interaction_rows import clean_interactions, read_interactions
from bigrec.data.repairs import Repairs
from bigrec.errors import BundleError, DataError
from bigrec.storage import atomic_file
from bigrec.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions sorted by user, then by time; the order they came in breaks ties.

    ``u`` users and ``m`` interactions.

    Attributes:
        user_ids: ``[u]`` users as the caller knows them, by first appearance.
        user_start: ``[u + 1]`` int64; the rows of user ``j`` are
            ``user_start[j]:user_start[j + 1]``, at least one.
        items: ``[m]`` int32 item numbers.
        times: ``[m]`` int64 timestamps, None where only an order is known.
        ratings: ``[m]`` float32, NaN where one is missing; None where none are known.
        splits: ``[m]`` int8 labels the caller gave: 0 train, 1 valid, 2 test; None without.
    """

    user_ids: list[str] = field(repr=False)
    user_start: IntArray = field(repr=False)
    items: IntArray = field(repr=False)
    times: IntArray | None = field(repr=False)
    ratings: FloatArray | None = field(repr=False)
    splits: IntArray | None = field(repr=False)

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        catalog: Catalog,
        *,
        user_id: str = "user_id",
        item_id: str = "item_id",
        time: str | None = "timestamp",
        order: str | None = None,
        rating: str | None = "rating",
        split: str | None = "split",
        min_rating: float | None = None,
        repairs: Repairs | None = None,
    ) -> Self:
        """Read interactions from a frame and repair them.

        Rows without user, item or time, and rows of items that the catalog does not hold, are left
        out; the same user, item and time is read once.

        Args:
            frame: A polars or pandas frame, one row for each interaction.
            catalog: The items.
            user_id: Column of the user.
            item_id: Column of the item, as the catalog knows it.
            time: Column of the timestamp: numbers, dates, or text of either. Optional under its
                default name where ``order`` is given.
            order: Column of the position in the user's history, for data without timestamps;
                beside them it breaks ties. ``"row"`` takes the order of the rows.
            rating: Column of the rating. Optional under its default name.
            split: Column that says train, valid (validation, val, dev) or test. Optional under its
                default name.
            min_rating: Leave out interactions rated lower or not at all.
            repairs: Where every check is recorded, if that is of interest.

        Raises:
            DataError: If a column is missing or holds what it should not, or no row is left.
        """
        repairs = Repairs() if repairs is None else repairs
        rows = read_interactions(
            frame,
            user_id=user_id,
            item_id=item_id,
            time=time,
            order=order,
            rating=rating,
            split=split,
        )
        rows = clean_interactions(rows, catalog, min_rating=min_rating, repairs=repairs)
        return cls._build(rows)

    @classmethod
    def _build(cls, rows: pl.DataFrame) -> Self:
        """From sorted rows, every user's in one run."""
        runs = rows["user_id"].rle().struct.unnest()
        start = np.concatenate([[0], np.cumsum(runs["len"].to_numpy(), dtype=np.int64)])

        def column(name: str, dtype: type[pl.DataType]) -> np.ndarray | None:
            return rows[name].cast(dtype).to_numpy() if name in rows else None

        return cls(
            user_ids=runs["value"].to_list(),
            user_start=start,
            items=rows["item"].cast(pl.Int32).to_numpy(),
            times=column("time", pl.Int64),
            ratings=column("rating", pl.Float32),
            splits=column("split", pl.Int8),
        )

    def __len__(self) -> int:
        return len(self.items)

    @property
    def has_global_time(self) -> bool:
        """Whether interactions of different users can be told apart in time."""
        return self.times is not None

    def users(self) -> IntArray:
        """User number of every interaction, ``[m]`` int64, ascending."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.user_start))

    def history_of(self, user_id: str) -> IntArray:
        """All item numbers of a user, oldest first.

        Raises:
            DataError: If the user has no interaction.
        """
        user = self._number_of.get(user_id)
        if user is None:
            raise DataError(
                f"user {user_id!r} is not among the {len(self.user_ids)} users of the data, such "
                f"as {self.user_ids[0]!r}. Give the id as text, or a history instead of a user."
            )
        return self.items[self.user_start[user] : self.user_start[user + 1]].copy()

    def save(self, path: Path) -> None:
        """Write a Parquet file, whole or not at all."""
        users = pl.Series(self.user_ids, dtype=pl.String)
        columns = {
            "user_id": users.gather(self.users()),
            "item": self.items,
            "time": self.times,
            "rating": self.ratings,
            "split": self.splits,
        }
        known = {name: values for name, values in columns.items() if values is not None}
        with atomic_file(path) as temporary:
            pl.DataFrame(known).write_parquet(temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: If the file is missing or damaged.
        """
        try:
            return cls._build(pl.read_parquet(path))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise BundleError(
                f"{path} could not be read as interactions: {error}. Write it again with the "
                "command that made it."
            ) from error

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {user: number for number, user in enumerate(self.user_ids)}
