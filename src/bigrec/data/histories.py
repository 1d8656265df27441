"""Histories of many users from a file: a row for each interaction, or for each user a list."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl

from bigrec.data.columns import as_text, require_columns
from bigrec.data.files import reading, suffix_of
from bigrec.data.id_columns import check_exact, check_unrounded, id_text
from bigrec.data.json_rows import iter_objects
from bigrec.data.remote import on_disk
from bigrec.data.tables import JSON_SUFFIXES, scan_table
from bigrec.data.times import whole_times
from bigrec.errors import DataError
from bigrec.storage import fingerprint
from bigrec.storage.forks import check_threads
from bigrec.types import IntArray

_WHAT = "histories"
_TIME = "timestamp"
_BATCH_ROWS = 50_000
_NO_IDS = pl.Series("id", [], dtype=pl.String)


@dataclass(frozen=True, eq=False)
class Histories:
    """Histories of ``u`` users, four bytes for each of their ``m`` items.

    Attributes:
        user_ids: ``[u]`` text, in order of first appearance.
        starts: ``[u + 1]`` int64. User ``j`` has the items ``starts[j]:starts[j + 1]``.
        items: ``[m]`` int32 positions in ``item_ids``, oldest first.
        item_ids: Different ids or titles.
        n_dropped: Rows without a user or an item.
    """

    user_ids: pl.Series = field(repr=False)
    starts: IntArray = field(repr=False)
    items: IntArray = field(repr=False)
    item_ids: list[str] = field(repr=False)
    n_dropped: int

    def __len__(self) -> int:
        return len(self.user_ids)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the users and their histories."""
        arrays = [hashlib.sha256(array.data).hexdigest() for array in (self.starts, self.items)]
        return fingerprint([self.user_ids.to_list(), self.item_ids, *arrays])

    @property
    def n_bytes(self) -> int:
        """Memory of the histories."""
        ids = self.user_ids.estimated_size() + sum(map(len, self.item_ids))
        return int(self.starts.nbytes + self.items.nbytes + ids)

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        user_id: str = "user_id",
        item_id: str = "item_id",
        time: str | None = None,
    ) -> Self:
        """Read histories.

        Args:
            path: CSV, TSV, JSON lines or an array of objects (each also ``.gz``), or Parquet, on
                disk or at an address such as ``s3://``. Its rows are interactions; or, where the
                items are a list, users.
            user_id: Column of the user.
            item_id: Column of the item's id or title, or of a list of them, oldest first.
            time: Column of the timestamp, which orders a user's interactions; those that tie, and
                all without a timestamp, are in the order of the rows. ``timestamp`` by default, if
                there is one.

        Raises:
            DataError: If the file cannot be read, a column is missing or no row can be used.
        """
        check_threads()
        with on_disk(path) as (copy, _):
            return cls._read(copy, user_id=user_id, item_id=item_id, time=time)

    @classmethod
    def _read(cls, path: Path, *, user_id: str, item_id: str, time: str | None) -> Self:
        with reading(path):
            if suffix_of(path) in JSON_SUFFIXES and _has_lists(path, item_id):
                return cls._of_lists(_lists_of_json(path, user_id=user_id, item_id=item_id))
            table = scan_table(path)
            schema = table.collect_schema()
            named = {"user_id": user_id, "item_id": item_id}
            named |= {} if time is None else {"time": time}
            require_columns(schema.names(), named, what=_WHAT)
            if isinstance(schema[item_id], pl.List):
                return cls._of_lists(_lists_of_table(table, user_id=user_id, item_id=item_id))
            if time is None and _TIME in schema:
                time = _TIME
            return cls._of_interactions(table, user_id=user_id, item_id=item_id, time=time)

    @classmethod
    def _of_interactions(
        cls, table: pl.LazyFrame, *, user_id: str, item_id: str, time: str | None
    ) -> Self:
        names = {"user_id": user_id, "item_id": item_id}
        rows = table.select(
            **{option: _id(table, name) for option, name in names.items()},
            **({} if time is None else {"time": pl.col(time)}),
        ).collect()
        for option, name in names.items():
            check_unrounded(rows[option], name, what=_WHAT)
        n_rows = rows.height
        rows = rows.drop_nulls(["user_id", "item_id"])
        firsts = rows.select(pl.col("user_id").unique(maintain_order=True)).with_row_index("user")
        rows = rows.join(firsts, on="user_id", how="left", maintain_order="left")
        if time is not None:
            times = whole_times(rows["time"].alias(time))
            rows = rows.with_columns(times.alias("time")).sort(
                "user", "time", maintain_order=True, nulls_last=False
            )
        else:
            rows = rows.sort("user", maintain_order=True)
        lengths = np.bincount(rows["user"].to_numpy(), minlength=firsts.height)
        codes, item_ids = _coded(rows["item_id"])
        if item_ids and all(item.startswith("[") and item.endswith("]") for item in item_ids):
            raise DataError(
                f"column {item_id!r} of the {_WHAT} holds texts such as {item_ids[0]!r:.100}, "
                "lists that a text file cannot hold. Write JSON lines or Parquet, or a row for "
                "each interaction."
            )
        return cls._build(firsts["user_id"], lengths, codes, item_ids, n_rows - rows.height)

    @classmethod
    def _of_lists(cls, rows: "_Lists") -> Self:
        repeated = rows.user_ids.filter(rows.user_ids.is_duplicated())
        if len(repeated):
            raise DataError(
                f"user {repeated[0]!r} has {(repeated == repeated[0]).sum()} lists, and "
                f"{repeated.n_unique()} users have several: expected one list for each. Join them, "
                "or write a row for each interaction."
            )
        codes, item_ids = _coded(rows.items)
        known = codes >= 0
        n_before = np.concatenate([[0], np.cumsum(known)])
        starts = np.concatenate([[0], np.cumsum(rows.lengths, dtype=np.int64)])
        lengths = np.diff(n_before[starts])
        n_dropped = rows.n_without_user + len(known) - int(known.sum())
        return cls._build(rows.user_ids, lengths, codes[known], item_ids, n_dropped)

    @classmethod
    def _build(
        cls,
        user_ids: pl.Series,
        lengths: IntArray,
        items: IntArray,
        item_ids: list[str],
        n_dropped: int,
    ) -> Self:
        if not len(user_ids):
            raise DataError("there are no histories: expected rows with a user.")
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(user_ids, starts, items, item_ids, n_dropped)


def _coded(items: pl.Series) -> tuple[IntArray, list[str]]:
    """Items as int32 positions among different ids, -1 for missing ones, and these ids.

    Only the different values become text.
    """
    values = items.drop_nulls().unique(maintain_order=True).alias("item_id").to_frame()
    known = values.with_columns(id=_id(values.lazy(), "item_id")).drop_nulls("id")
    ids = known["id"].unique(maintain_order=True)
    numbers = pl.DataFrame([ids]).with_row_index("code")
    of_value = known.join(numbers, on="id", how="left").select("item_id", "code")
    codes = (
        items.alias("item_id")
        .to_frame()
        .join(of_value, on="item_id", how="left", maintain_order="left")["code"]
    )
    return codes.cast(pl.Int32).fill_null(-1).to_numpy(), ids.to_list()


def _id(table: pl.LazyFrame, name: str) -> pl.Expr:
    dtype = table.collect_schema()[name]
    check_exact(table, name, dtype, what=_WHAT)
    return id_text(name, dtype, what=_WHAT)


class _Lists(NamedTuple):
    """Users, the number of items of each, all items as they are, and rows without a user."""

    user_ids: pl.Series
    lengths: IntArray
    items: pl.Series
    n_without_user: int


def _lists_of_table(table: pl.LazyFrame, *, user_id: str, item_id: str) -> _Lists:
    rows = table.select(user_id=_id(table, user_id), item_id=pl.col(item_id)).collect()
    kept = rows.drop_nulls("user_id")
    lengths = kept["item_id"].list.len().fill_null(0).cast(pl.Int64).to_numpy()
    items = kept["item_id"].explode(empty_as_null=False, keep_nulls=False)
    return _Lists(kept["user_id"], lengths, items, rows.height - kept.height)


def _has_lists(path: Path, item_id: str) -> bool:
    return any(isinstance(row.get(item_id), list) for row in iter_objects(path))


def _lists_of_json(path: Path, *, user_id: str, item_id: str) -> _Lists:
    """Lists of a file in which a value may change its type from line to line."""
    users, items = [_NO_IDS], [_NO_IDS]
    lengths: list[int] = []
    n_rows = 0
    objects = iter_objects(path)
    while batch := list(islice(objects, _BATCH_ROWS)):
        for row, of_row in enumerate(batch, start=n_rows + 1):
            listed = of_row.get(item_id)
            if not isinstance(listed, list | None):
                raise DataError(
                    f"object {row} has {listed!r:.40} as {item_id!r}: expected a list of items, as "
                    "in another one."
                )
            nested = next((item for item in listed or () if isinstance(item, list | dict)), None)
            if nested is not None:
                raise DataError(
                    f"object {row} has {nested!r:.40} in its list {item_id!r}: expected ids or "
                    "titles."
                )
        of_batch = _texts([row.get(user_id) for row in batch])
        check_unrounded(of_batch, user_id, what=_WHAT, first_row=n_rows + 1)
        n_rows += len(batch)
        lists = [
            row.get(item_id) or []
            for row, user in zip(batch, of_batch, strict=True)
            if user is not None
        ]
        lengths += map(len, lists)
        users.append(of_batch.drop_nulls())
        items.append(_texts([item for of_row in lists for item in of_row]))
    return _Lists(pl.concat(users), np.array(lengths), pl.concat(items), n_rows - len(lengths))


def _texts(values: Sequence[Any]) -> pl.Series:
    texts = pl.Series("id", [as_text(value) for value in values], dtype=pl.String).to_frame()
    return texts.select(id_text("id", pl.String(), what=_WHAT))["id"]
