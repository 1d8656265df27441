"""Scores that a model outside of bigrec wrote to a file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bigrec.data.columns import id_text
from bigrec.data.tables import reading
from bigrec.errors import DataError
from bigrec.models.base import load_signal, save_signal
from bigrec.models.scaling import minmax
from bigrec.types import FloatArray, IntArray

_KIND = "external"
_USER, _ITEM, _SCORE = _LONG = ("user_id", "item_id", "score")
_WHAT = "scores"
_SHOWN = 3


@dataclass(frozen=True, slots=True, eq=False)
class External:
    """Scores of a fixed list of queries, in their order; histories are not looked at.

    Attributes:
        name: What the model is called in tables.
    """

    name: str
    _scores: FloatArray = field(repr=False)  # [q, n]

    @classmethod
    def from_npy(cls, path: Path, *, name: str, n_queries: int, n_items: int) -> Self:
        """Read an array ``[q, n]``, a row for each query and a column for each item number.

        Args:
            path: A file that ``numpy.save`` wrote; higher is better.
            name: What the model is called in tables.
            n_queries: Queries that are asked about.
            n_items: Items of the catalog.

        Raises:
            DataError: If the file cannot be read, is of another shape, or holds what is no score.
        """
        # np.load would also open archives and pickles.
        with reading(path), path.open("rb") as stream:
            try:
                scores = np.lib.format.read_array(stream, allow_pickle=False)
            except ValueError as error:
                raise DataError(
                    f"not an array of numbers: {error}. Write it with numpy.save."
                ) from error
            if scores.shape != (n_queries, n_items):
                raise DataError(
                    f"the array has shape {scores.shape}; expected ({n_queries}, {n_items}), a row "
                    "for each query in their order and a column for each item of the catalog in "
                    "its order. Export it for these queries and this catalog."
                )
            return cls(name, _as_scores(scores))

    @classmethod
    def from_parquet(
        cls, path: Path, *, name: str, item_ids: Sequence[str], user_ids: Sequence[str]
    ) -> Self:
        """Read a table of scores by user, wide or long.

        Wide is a column ``user_id`` and one for every item id. Long is ``user_id``, ``item_id`` and
        ``score``; an item that a user has no row for gets the lowest of this user's scores, so that
        lists cut at some length can be read.

        Args:
            path: A Parquet file; higher is better.
            name: What the model is called in tables.
            item_ids: Ids of the catalog, in its order.
            user_ids: User of every query; one may be asked about more than once, and users that
                are not asked about are left out.

        Raises:
            DataError: If the file cannot be read, lacks a user, holds an unknown item or two
                scores for one thing, or holds what is no score.
        """
        with reading(path):
            frame = pl.read_parquet(path)
            if set(frame.columns) == set(_LONG):
                users, scores = _long_scores(frame, item_ids)
            else:
                users, scores = _wide_scores(frame, item_ids)
            row_of = {user: row for row, user in enumerate(users)}
            missing = [user for user in dict.fromkeys(user_ids) if user not in row_of]
            if missing:
                raise DataError(
                    f"there are no scores for {_some(missing)} of the users asked about. Export "
                    "scores for all of them."
                )
            asked = np.array([row_of[user] for user in user_ids], dtype=np.int64)
            return cls(name, _as_scores(scores[asked]))

    @property
    def n_items(self) -> int:
        """Items that are scored, ``n``."""
        return int(self._scores.shape[1])

    def take(self, positions: IntArray) -> Self:
        """The scores of some of the queries, in the order of ``positions``."""
        return type(self)(self.name, self._scores[positions])

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores as they were read.

        Args:
            histories: One for each query the scores were read for; only their number matters. For
                a part of the queries see ``take``.

        Returns:
            ``[q, n]``, higher is better; not to be written to.

        Raises:
            ValueError: If there are more or fewer histories than queries.
        """
        if len(histories) != len(self._scores):
            raise ValueError(
                f"Got {len(histories)} histories, but {self.name} has scores for "
                f"{len(self._scores)} queries; expected the same queries in the same order. Use "
                "take for a part of them."
            )
        return self._scores

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights for the injection: the scores of every query scaled to [0, 1], ``[q, n]``."""
        return minmax(self.scores(histories))

    def save(self, folder: Path) -> None:
        """Write the signal to a folder of its own, whole or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        save_signal(folder, _KIND, settings={"name": self.name}, arrays={"scores": self._scores})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = load_signal(folder, _KIND, settings=["name"], arrays=["scores"])
        return cls(settings["name"], arrays["scores"])


def _wide_scores(frame: pl.DataFrame, item_ids: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Users and their scores ``[users, n]`` from one column per item."""
    if _USER not in frame.columns:
        raise DataError(
            f"there is no column 'user_id' among the {len(frame.columns)} columns, such as "
            f"{_some(frame.columns)}. Expected user_id, item_id and score, or user_id and a column "
            "for every item id."
        )
    items = [column for column in frame.columns if column != _USER]
    _check_items(items, item_ids)
    missing = sorted(set(item_ids) - set(items))
    if missing:
        raise DataError(
            f"there is no column for {_some(missing)} of the catalog's items. Export scores for "
            "all of them."
        )
    users = _ids(frame, _USER)
    twice = users.filter(users.is_duplicated())
    if len(twice):
        raise DataError(f"user {twice[0]!r} has more than one row. Expected one for each user.")
    numbers = frame.select(_number(frame, item) for item in item_ids)
    return users.to_list(), numbers.to_numpy()


def _long_scores(frame: pl.DataFrame, item_ids: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Users and their scores ``[users, n]`` from one row per user and item."""
    users, items = _ids(frame, _USER), _ids(frame, _ITEM)
    _check_items(items.unique(maintain_order=True).to_list(), item_ids)
    values = _as_scores(frame.select(_number(frame, _SCORE)).to_numpy()[:, 0])
    names = users.unique(maintain_order=True).to_list()
    # The physical value of an Enum is the place of its category.
    row, column = (
        ids.cast(pl.Enum(known)).to_physical().to_numpy().astype(np.int64)
        for ids, known in ((users, names), (items, item_ids))
    )
    n_items = len(item_ids)
    places, first, counts = np.unique(row * n_items + column, return_index=True, return_counts=True)
    if len(places) < len(frame):
        twice = int(first[counts > 1][0])
        raise DataError(
            f"user {users[twice]!r} has more than one score for item {items[twice]!r}. Expected "
            "one for each user and item."
        )
    lowest = np.full(len(names), np.inf, dtype=values.dtype)
    np.minimum.at(lowest, row, values)
    scores = np.repeat(lowest[:, None], n_items, axis=1)
    scores[row, column] = values
    return names, scores


def _ids(frame: pl.DataFrame, name: str) -> pl.Series:
    ids = frame.select(id_text(name, frame.schema[name], what=_WHAT)).to_series()
    if ids.null_count():
        raise DataError(f"{ids.null_count()} rows have no {name}. Expected one in every row.")
    return ids


def _number(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A column as floats, with null as NaN."""
    dtype = frame.schema[name]
    if not dtype.is_numeric():
        raise DataError(f"column {name!r} holds {dtype}: expected numbers.")
    column = pl.col(name) if dtype == pl.Float32 else pl.col(name).cast(pl.Float64)
    return column.fill_null(float("nan"))


def _check_items(found: Sequence[str], item_ids: Sequence[str]) -> None:
    unknown = sorted(set(found) - set(item_ids))
    if unknown:
        raise DataError(
            f"there are scores for {_some(unknown)}, which the catalog does not hold. Expected the "
            f"catalog's ids, such as {item_ids[0]!r}."
        )


def _as_scores(numbers: NDArray[Any]) -> FloatArray:
    """Floats as they are, whole numbers as float64.

    Raises:
        DataError: If there is something that cannot be ranked.
    """
    if numbers.dtype.kind not in "fiu":
        raise DataError(f"the scores are {numbers.dtype}: expected floats or whole numbers.")
    is_single = numbers.dtype in {np.dtype(np.float16), np.dtype(np.float32)}
    scores: FloatArray = (
        numbers.astype(np.float32, copy=False)
        if is_single
        else numbers.astype(np.float64, copy=False)
    )
    broken = np.count_nonzero(~np.isfinite(scores))
    if broken:
        raise DataError(
            f"{broken} of {scores.size} scores are missing, NaN or infinite: expected finite "
            "numbers. Give what must not be recommended the lowest score instead."
        )
    return scores


def _some(names: Sequence[str]) -> str:
    """``'a', 'b', 'c' and 4 more``."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
