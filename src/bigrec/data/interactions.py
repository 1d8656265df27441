"""Interactions of users with items, sorted by user and time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from bigrec.data.arguments import check_least, check_type
from bigrec.data.catalog import Catalog
from bigrec.data.columns import Frame, collecting
from bigrec.data.interaction_cleaning import clean_interactions
from bigrec.data.interaction_rows import read_interactions
from bigrec.data.lazy import lazy_source
from bigrec.data.repairs import Repairs
from bigrec.data.row_blocks import blocks_of, counts_of
from bigrec.errors import BundleError
from bigrec.storage import atomic_file
from bigrec.storage.forks import check_threads
from bigrec.types import FloatArray, IntArray

_TYPES = {"item": pl.Int32(), "time": pl.Int64(), "rating": pl.Float32(), "split": pl.Int8()}


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
        user_ids = clean_interactions(
            rows, catalog, min_rating=min_rating, tie_seed=tie_seed, repairs=repairs
        )
        columns = rows.columns
        counts = counts_of(columns.pop("user"), len(user_ids))
        return cls(
            user_ids=user_ids.to_list(),
            user_start=np.concatenate([[0], np.cumsum(counts)]),
            items=columns["item"],
            times=columns.get("time"),
            ratings=rows.ratings,
            splits=columns.get("split"),
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
            "item": self.items,
            "time": self.times,
            "rating": self.ratings,
            "split": self.splits,
        }
        known = {name: values for name, values in columns.items() if values is not None}
        schema = {"user_id": pl.String(), **{name: _TYPES[name] for name in known}}

        def batches(selected: Sequence[str]) -> Iterator[pl.DataFrame]:
            for rows in blocks_of(len(self)):
                starts = self.user_start.clip(rows.start, rows.stop)
                ids = users.gather(np.repeat(np.arange(len(users)), np.diff(starts)))
                block = {name: values[rows] for name, values in known.items()}
                yield pl.DataFrame({"user_id": ids, **block}, schema=schema).select(selected)

        with atomic_file(path) as temporary:
            lazy_source(schema, batches).sink_parquet(temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: If the file is missing or damaged.
        """
        check_threads()
        try:
            return cls._of_table(pl.scan_parquet(path, glob=False))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise BundleError(
                f"{path} could not be read as interactions: {error}. Write it again with the "
                "command that made it."
            ) from error

    @classmethod
    def _of_table(cls, table: pl.LazyFrame) -> Self:
        columns: dict[str, list[np.ndarray]] = {"item": []}
        runs = []
        for batch in table.collect_batches(maintain_order=True):
            runs.append(batch["user_id"].rle().struct.unnest())
            for name in _TYPES.keys() & {"item", *batch.columns}:
                values = batch[name].cast(_TYPES[name]).to_numpy()
                columns.setdefault(name, []).append(values)
        # A user may go on in the next batch.
        users = pl.concat(runs).group_by(pl.col("value").rle_id().alias("run"), maintain_order=True)
        counts = users.agg(pl.col("value").first(), pl.col("len").sum())
        arrays = {name: np.concatenate(columns.pop(name)) for name in list(columns)}
        return cls(
            user_ids=counts["value"].to_list(),
            user_start=np.concatenate([[0], np.cumsum(counts["len"].to_numpy(), dtype=np.int64)]),
            items=arrays["item"],
            times=arrays.get("time"),
            ratings=arrays.get("rating"),
            splits=arrays.get("split"),
        )
