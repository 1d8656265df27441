"""One row per query with the target ranks of every method, from which any metric follows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from bigrec.errors import BundleError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.stored import from_json, to_json
from bigrec.storage import atomic_file
from bigrec.types import UNRANKED, GeneratedText, IntArray

_FORMAT = 3
_METADATA_KEY = "bigrec.query_table"
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


@dataclass(frozen=True, slots=True)
class _Metadata:
    """Metadata of the Parquet file; see ``QueryTable.methods``."""

    methods: Mapping[str, tuple[MethodId, bool]]


@dataclass(frozen=True, slots=True, eq=False)
class QueryTable:
    """The queries of an evaluation and the target ranks of every method.

    Attributes:
        frame: Columns ``user_id``, ``history`` and ``target`` (item ids), ``target_title``,
            ``texts`` and ``log_probs`` (generated texts, most probable first), and for each method
            ``rank:<label>:seen`` (seen items included, as in the paper) or
            ``rank:<label>:excluded``. A target that its ranking excludes has no rank, null.
        methods: Method of each rank column with its ``exclude_seen``, by the name of the column.
    """

    frame: pl.DataFrame = field(repr=False)
    methods: Mapping[str, tuple[MethodId, bool]] = field(default_factory=dict)

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
            user_ids: User of each query.
            histories: Item ids of each history, oldest first.
            targets: Item id of each target.
            target_titles: Title of each target.
            texts: Generated texts of each query, most probable first.

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
        """The table with the ranks of one more method, or with the ranks of that method replaced.

        Raises:
            ValueError: If the result is over another number of queries.
        """
        if len(result.ranks) != len(self.frame):
            raise ValueError(
                f"{result.method.label} has {len(result.ranks)} ranks for {len(self.frame)} "
                "queries; expected one for each query."
            )
        name = _column(result.method, exclude_seen=result.exclude_seen)
        ranks = pl.Series(name, result.ranks, dtype=pl.Int64).replace(UNRANKED, None)
        methods = {**self.methods, name: (result.method, result.exclude_seen)}
        return replace(self, frame=self.frame.with_columns(ranks), methods=methods)

    def ranks(self, method: MethodId, *, exclude_seen: bool) -> IntArray:
        """0-based target ranks of one method, ``[q]``; `UNRANKED` where the target has none.

        Raises:
            ValueError: If the table does not hold them.
        """
        name = _column(method, exclude_seen=exclude_seen)
        if name not in self.methods:
            there = ", ".join(self.methods) or "none"
            raise ValueError(f"There is no column {name}; there are {there}.")
        return self.frame[name].fill_null(UNRANKED).to_numpy().astype(np.int64)

    def results(self) -> list[MethodResult]:
        """Target ranks of every method, in the order in which they were added."""
        return [
            MethodResult(method, exclude_seen, self.ranks(method, exclude_seen=exclude_seen))
            for method, exclude_seen in self.methods.values()
        ]

    def save(self, path: Path) -> None:
        """Write the table as a Parquet file, whole or not at all.

        Raises:
            StorageError: If the file cannot be written.
        """
        metadata = json.dumps(to_json(_Metadata(self.methods), version=_FORMAT))
        with atomic_file(path) as temporary:
            self.frame.write_parquet(temporary, metadata={_METADATA_KEY: metadata})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a saved table.

        Raises:
            BundleError: If the file is missing, damaged or of another version.
        """
        cure = "Run the evaluation again."
        try:
            metadata = json.loads(pl.read_parquet_metadata(path).get(_METADATA_KEY, "null"))
            frame = pl.read_parquet(path, glob=False)
        except FileNotFoundError:
            raise BundleError(f"{path} is missing. {cure}") from None
        except (pl.exceptions.PolarsError, json.JSONDecodeError) as error:
            raise BundleError(f"{path} is damaged: {error}. {cure}") from None
        methods = from_json(_Metadata, metadata, version=_FORMAT, what=str(path), cure=cure).methods
        expected = {**_SCHEMA, **dict.fromkeys(methods, pl.Int64())}
        wrong = [name for name, kind in expected.items() if frame.schema.get(name) != kind]
        if wrong:
            raise BundleError(
                f"{path} is damaged: the columns {', '.join(wrong)} are missing or of another "
                f"type. {cure}"
            )
        return cls(frame, methods)


def _column(method: MethodId, *, exclude_seen: bool) -> str:
    return f"rank:{method.label}:{_PROTOCOLS[exclude_seen]}"
