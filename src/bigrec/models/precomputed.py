"""Scores that another program wrote to a file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bigrec.data.files import check_regular, reading
from bigrec.data.id_columns import check_exact, check_unrounded, id_text
from bigrec.data.ids import read_ids
from bigrec.data.parquet import scan_parquet
from bigrec.errors import DataError
from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS
from bigrec.models.base import (
    FixedItems,
    StoredSettings,
    check_model_arrays,
    read_histories,
    read_model_folder,
    write_model_folder,
)
from bigrec.storage.arrays import Expected
from bigrec.types import FloatArray, IntArray

_USER, _ITEM, _SCORE = _LONG = ("user_id", "item_id", "score")
_WHAT = "scores"
_SHOWN = 3


@dataclass(frozen=True, slots=True, eq=False)
class PrecomputedScores(FixedItems):
    """Scores of a fixed list of queries, in their order. Histories are not read.

    Attributes:
        name: Name of the model in tables.
    """

    kind: ClassVar[str] = "precomputed"
    knows_cold_items: ClassVar[bool] = True
    gamma_grid: ClassVar[FloatArray] = COLLABORATIVE_GAMMAS

    name: str
    _scores: FloatArray = field(repr=False)  # [q, n]

    @classmethod
    def from_npy(cls, path: str | Path, *, name: str, n_queries: int, n_items: int) -> Self:
        """Read an array ``[q, n]``, a row for each query and a column for each item number.

        Args:
            path: A file that ``numpy.save`` wrote; higher is better.
            name: Name of the model in tables.
            n_queries: Number of evaluated queries.
            n_items: Items of the catalog.

        Raises:
            DataError: If the file cannot be read, is of another shape, or holds values that are
                not finite numbers.
        """
        path = Path(path)
        with reading(path):
            check_regular(path)
            # np.load would also open archives and pickles.
            try:
                with path.open("rb") as stream:
                    shape = _claimed_shape(stream)
                    # Before memory is taken for it.
                    if shape != (n_queries, n_items):
                        raise DataError(
                            f"the array has shape {shape}; expected ({n_queries}, {n_items}), a "
                            "row for each query in their order and a column for each item of the "
                            "catalog in its order. Export it for these queries and this catalog."
                        )
                    stream.seek(0)
                    scores = np.lib.format.read_array(stream, allow_pickle=False)
            except ValueError as error:
                raise DataError(
                    f"not an array of numbers: {error}. Write it with numpy.save."
                ) from error
            return cls(name, _as_scores(scores))

    @classmethod
    def from_parquet(
        cls, path: str | Path, *, name: str, item_ids: Iterable[str], user_ids: Iterable[str]
    ) -> Self:
        """Read a table of scores by user, wide or long.

        A wide table has a column ``user_id`` and one for every item id. A long table has the
        columns ``user_id``, ``item_id`` and ``score``. An item without a row in a long table gets
        the lowest of the user's scores, so that truncated lists can be read.

        Args:
            path: A Parquet file; higher is better.
            name: Name of the model in tables.
            item_ids: Ids of the catalog, in its order.
            user_ids: User of every query, possibly repeated. Other users of the table are ignored.

        Raises:
            TypeError: If an id is not text.
            DataError: If the file cannot be read, lacks a user, holds an unknown item or two
                scores for one user and item, or holds values that are not finite numbers.
        """
        path = Path(path)
        item_ids = read_ids(item_ids, name="item_ids")
        user_ids = read_ids(user_ids, name="user_ids")
        with reading(path):
            check_regular(path)
            frame = scan_parquet(path).collect()
            if set(frame.columns) == set(_LONG):
                users, scores = _long_scores(frame, item_ids)
            else:
                users, scores = _wide_scores(frame, item_ids)
            row_of = {user: row for row, user in enumerate(users)}
            missing = [user for user in dict.fromkeys(user_ids) if user not in row_of]
            if missing:
                raise DataError(
                    f"there are no scores for {_examples(missing)} of the queries' users. Export "
                    "scores for all of them."
                )
            rows = np.array([row_of[user] for user in user_ids], dtype=np.int64)
            return cls(name, _as_scores(scores[rows]))

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return int(self._scores.shape[1])

    def at_queries(self, positions: slice | IntArray) -> Self:
        """The scores of some of the queries, in the order of ``positions``."""
        return type(self)(self.name, self._scores[positions])

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """The scores in the file.

        Args:
            histories: One for each query of the file. Only their number matters.

        Returns:
            ``[q, n]``, higher is better; not to be written to.

        Raises:
            ValueError: If the number of histories is not the number of queries.
        """
        histories = read_histories(histories)
        if len(histories) != len(self._scores):
            raise ValueError(
                f"Got {len(histories)} histories, but {self.name} has scores for "
                f"{len(self._scores)} queries; expected the same queries in the same order. "
                "Select some of them with at_queries."
            )
        return self._scores

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        write_model_folder(
            folder, self.kind, settings={"name": self.name}, arrays={"scores": self._scores}
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        scores = Expected(("q", "n"), dtypes=("float32", "float64"))
        check_model_arrays(folder, arrays, {"scores": scores})
        return cls(settings.name, arrays["scores"])


class _Stored(StoredSettings):
    name: str


def _claimed_shape(stream: BinaryIO) -> tuple[int, ...]:
    """The shape in the header of a file of numpy.save.

    Raises:
        ValueError: If there is none.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)[0]
    return np.lib.format.read_array_header_2_0(stream)[0]


def _wide_scores(frame: pl.DataFrame, item_ids: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Users and their scores ``[users, n]`` from one column per item."""
    if _USER not in frame.columns:
        raise DataError(
            f"there is no column 'user_id' among the {len(frame.columns)} columns, such as "
            f"{_examples(frame.columns)}. Expected user_id, item_id and score, or user_id and a "
            "column for every item id."
        )
    items = [column for column in frame.columns if column != _USER]
    _check_items(items, item_ids)
    missing = sorted(set(item_ids) - set(items))
    if missing:
        raise DataError(
            f"there is no column for {_examples(missing)} of the catalog's items. Export scores "
            "for all of them."
        )
    users = _ids(frame, _USER)
    repeated = users.filter(users.is_duplicated())
    if len(repeated):
        raise DataError(f"user {repeated[0]!r} has more than one row. Expected one for each user.")
    numbers = frame.select(_number(frame, item) for item in item_ids)
    return users.to_list(), numbers.to_numpy()


def _long_scores(frame: pl.DataFrame, item_ids: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Users and their scores ``[users, n]`` from one row per user and item."""
    users, items = _ids(frame, _USER), _ids(frame, _ITEM)
    _check_items(items.unique(maintain_order=True).to_list(), item_ids)
    values = _as_scores(frame.select(_number(frame, _SCORE)).to_numpy()[:, 0])
    names = users.unique(maintain_order=True).to_list()
    # The physical value of an Enum is the position of its category.
    row, column = (
        ids.cast(pl.Enum(known)).to_physical().to_numpy().astype(np.int64)
        for ids, known in ((users, names), (items, item_ids))
    )
    n_items = len(item_ids)
    cells, first, counts = np.unique(row * n_items + column, return_index=True, return_counts=True)
    if len(cells) < len(frame):
        repeated = int(first[counts > 1][0])
        raise DataError(
            f"user {users[repeated]!r} has more than one score for item {items[repeated]!r}. "
            "Expected one for each user and item."
        )
    lowest = np.full(len(names), np.inf, dtype=values.dtype)
    np.minimum.at(lowest, row, values)
    scores = np.repeat(lowest[:, None], n_items, axis=1)
    scores[row, column] = values
    return names, scores


def _ids(frame: pl.DataFrame, name: str) -> pl.Series:
    check_exact(frame.lazy(), name, frame.schema[name], what=_WHAT)
    ids = frame.select(id_text(name, frame.schema[name], what=_WHAT)).to_series()
    check_unrounded(ids, name, what=_WHAT)
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


def _check_items(scored: Sequence[str], item_ids: Sequence[str]) -> None:
    unknown = sorted(set(scored) - set(item_ids))
    if unknown:
        raise DataError(
            f"there are scores for {_examples(unknown)}, which the catalog does not hold. Expected "
            f"the catalog's ids, such as {item_ids[0]!r}."
        )


def _as_scores(numbers: NDArray[Any]) -> FloatArray:
    """Floats as they are, whole numbers as float64.

    Raises:
        DataError: If a value is not a finite number.
    """
    if numbers.dtype.kind not in "fiu":
        raise DataError(f"the scores are {numbers.dtype}: expected floats or whole numbers.")
    is_single = numbers.dtype in {np.dtype(np.float16), np.dtype(np.float32)}
    scores: FloatArray = (
        numbers.astype(np.float32, copy=False)
        if is_single
        else numbers.astype(np.float64, copy=False)
    )
    n_invalid = np.count_nonzero(~np.isfinite(scores))
    if n_invalid:
        raise DataError(
            f"{n_invalid} of {scores.size} scores are missing, NaN or infinite: expected finite "
            "numbers. Give items that must not be recommended the lowest score instead."
        )
    return scores


def _examples(names: Sequence[str]) -> str:
    """``'a', 'b', 'c' and 4 more``."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
