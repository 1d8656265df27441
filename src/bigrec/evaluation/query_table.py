"""One row per query with everything a metric needs, kept so that any can be computed again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from bigrec.errors import BundleError
from bigrec.evaluation.protocol import MethodResult
from bigrec.storage import atomic_file
from bigrec.types import GeneratedText, IntArray

_FORMAT = "1"
_FORMAT_KEY = "bigrec.query_table"
_RANK = "rank:"
_PROTOCOLS = {False: "seen", True: "excluded"}
_SCHEMA = pl.Schema(
    {
        "user_id": pl.String(),
        "history": pl.List(pl.String()),
        "target": pl.String(),
        "target_title": pl.String(),
        "texts": pl.List(pl.String()),
        "log_probs": pl.List(pl.Float64()),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class QueryTable:
    """The queries of an evaluation and every method's target ranks.

    Attributes:
        frame: Columns ``user_id``, ``history`` and ``target`` (item ids), ``target_title``,
            ``texts`` and ``log_probs`` (generated texts, most probable first), and for each method
            ``rank:<method>:seen`` (seen items kept, as published) or ``rank:<method>:excluded``.
    """

    frame: pl.DataFrame = field(repr=False)

    @classmethod
    def build(
        cls,
        *,
        user_ids: Sequence[str],
        histories: Sequence[Sequence[str]],
        targets: Sequence[str],
        target_titles: Sequence[str],
        texts: Sequence[Sequence[GeneratedText]],
    ) -> Self:
        """Start a table without ranks.

        Args:
            user_ids: Each query's user.
            histories: Item ids of each history, oldest first.
            targets: Item id of each target.
            target_titles: Its title.
            texts: Each query's generated texts, most probable first.

        Raises:
            ValueError: If the lengths differ.
        """
        columns = (user_ids, histories, targets, target_titles, texts)
        if len({len(column) for column in columns}) > 1:
            raise ValueError(
                f"The columns have {', '.join(str(len(column)) for column in columns)} rows; "
                "expected one entry for each query in all of them."
            )
        data = {
            "user_id": list(user_ids),
            "history": [list(history) for history in histories],
            "target": list(targets),
            "target_title": list(target_titles),
            "texts": [[text.text for text in beams] for beams in texts],
            "log_probs": [[text.log_prob for text in beams] for beams in texts],
        }
        return cls(pl.DataFrame(data, schema=_SCHEMA))

    def with_ranks(self, result: MethodResult) -> Self:
        """The table with one more method's ranks, or with that method's ranks replaced.

        Raises:
            ValueError: If the result is over another number of queries.
        """
        if len(result.ranks) != len(self.frame):
            raise ValueError(
                f"{result.name} has {len(result.ranks)} ranks for {len(self.frame)} queries; "
                "expected one for each query."
            )
        name = _column(result.name, exclude_seen=result.exclude_seen)
        return type(self)(self.frame.with_columns(pl.Series(name, result.ranks, dtype=pl.Int64)))

    def ranks(self, method: str, *, exclude_seen: bool) -> IntArray:
        """0-based target ranks of one method, ``[q]``.

        Raises:
            ValueError: If the table does not hold them.
        """
        name = _column(method, exclude_seen=exclude_seen)
        if name not in self.frame.columns:
            there = [name for name in self.frame.columns if name.startswith(_RANK)]
            raise ValueError(f"There is no column {name}; there are {', '.join(there) or 'none'}.")
        return self.frame[name].to_numpy().astype(np.int64)

    def results(self) -> list[MethodResult]:
        """Every method's ranks, in the order in which they were added."""
        found = []
        for name in self.frame.columns:
            if name.startswith(_RANK):
                method, protocol = name.removeprefix(_RANK).rsplit(":", 1)
                exclude_seen = protocol == _PROTOCOLS[True]
                ranks = self.ranks(method, exclude_seen=exclude_seen)
                found.append(MethodResult(method, exclude_seen, ranks))
        return found

    def save(self, path: Path) -> None:
        """Write the table as a Parquet file, whole or not at all.

        Raises:
            StorageError: If the file cannot be written.
        """
        with atomic_file(path) as temporary:
            self.frame.write_parquet(temporary, metadata={_FORMAT_KEY: _FORMAT})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a saved table.

        Raises:
            BundleError: If the file is missing, damaged or of another version.
        """
        advice = "Run the evaluation again."
        try:
            version = pl.read_parquet_metadata(path).get(_FORMAT_KEY)
            frame = pl.read_parquet(path)
        except FileNotFoundError:
            raise BundleError(f"{path} is missing. {advice}") from None
        except pl.exceptions.PolarsError as error:
            raise BundleError(f"{path} is damaged: {error}. {advice}") from None
        if version != _FORMAT:
            raise BundleError(
                f"{path} is a table of format {version}; this version of bigrec reads format "
                f"{_FORMAT}. {advice}"
            )
        wrong = [name for name, kind in _SCHEMA.items() if frame.schema.get(name) != kind]
        if wrong:
            raise BundleError(
                f"{path} is damaged: the columns {', '.join(wrong)} are missing or of another "
                f"type. {advice}"
            )
        return cls(frame)


def _column(method: str, *, exclude_seen: bool) -> str:
    return f"{_RANK}{method}:{_PROTOCOLS[exclude_seen]}"
