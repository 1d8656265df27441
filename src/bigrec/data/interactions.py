"""Interactions of users with items, sorted by user and time."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from bigrec.data.arguments import check_least, check_type
from bigrec.data.catalog import Catalog
from bigrec.data.columns import Frame, collecting
from bigrec.data.interaction_rows import clean_interactions, read_interactions
from bigrec.data.repairs import Repairs
from bigrec.errors import BundleError
from bigrec.storage import atomic_file
from bigrec.storage.forks import check_threads
from bigrec.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Interactions:
    """``m`` interactions of ``u`` users, sorted by user, then by time, then by position.

    Attributes:
        user_ids: ``[u]`` user ids in order of first appearance.
        user_start: ``[u + 1]`` int64. The rows of user ``j`` are
            ``user_start[j]:user_start[j + 1]``, at least one.
        items: ``[m]`` int32 item numbers.
        times: ``[m]`` int64 timestamps; None if only the order is known.
        ratings: ``[m]`` float32, NaN for a missing one; None if the data has none.
        splits: ``[m]`` int8 predefined split: 0 train, 1 valid, 2 test; None if the data has none.
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
        tie_seed: int = 0,
        repairs: Repairs | None = None,
    ) -> Self:
        """Read interactions from a frame and repair them.

        Rows without user, item or time, rows with items that are not in the catalog, and repeats
        of a user, item and time are dropped. Ids of all types are read alike: 12, 12.0,
        "12.0" and " 12" are one id; empty ids, NaN and words such as "NULL" are missing.

        Args:
            frame: A polars or pandas frame, one row for each interaction.
            catalog: The items.
            user_id: Column of the user.
            item_id: Column of the item id.
            time: Column of the timestamp: numbers, dates, or text of either. The default column
                may be absent if ``order`` is given.
            order: Column of the position in the user's history. It orders data without timestamps
                and breaks ties between equal ones. ``"row"`` is the order of the rows.
            rating: Column of the rating. The default column may be absent.
            split: Column of the split: train, valid (validation, val, dev) or test. The default
                column may be absent.
            min_rating: Drop interactions with a lower rating or none.
            tie_seed: Seed of the random order of interactions that tie in time and, if there is
                one, in position. The order of the rows may be that of the items.
            repairs: Records every check, if given.

        Raises:
            DataError: If a column is missing or holds invalid values, or no row remains.
        """
        check_type(catalog, Catalog, name="catalog", cure="Make one with Catalog.from_frame.")
        if min_rating is not None and not isinstance(min_rating, int | float | np.number):
            raise TypeError(f"min_rating is {min_rating!r}; expected a number.")
        check_least(tie_seed, 0, name="tie_seed")
        repairs = Repairs() if repairs is None else repairs
        with collecting("interactions"):
            rows = read_interactions(
                frame,
                user_id=user_id,
                item_id=item_id,
                time=time,
                order=order,
                rating=rating,
                split=split,
            )
        rows = clean_interactions(
            rows, catalog, min_rating=min_rating, tie_seed=tie_seed, repairs=repairs
        )
        return cls._build(rows)

    @classmethod
    def _build(cls, rows: pl.DataFrame) -> Self:
        """Build from rows as `clean_interactions` returns them."""
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

    def users(self) -> IntArray:
        """User number of every interaction, ``[m]`` int64, ascending."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.user_start))

    def save(self, path: Path) -> None:
        """Write a Parquet file, atomically."""
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
        check_threads()
        try:
            return cls._build(pl.read_parquet(path, glob=False))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise BundleError(
                f"{path} could not be read as interactions: {error}. Write it again with the "
                "command that made it."
            ) from error
