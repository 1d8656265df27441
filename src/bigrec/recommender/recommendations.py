"""Recommended lists as callers know the items."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.grounding.ranked_lists import RankedLists
from bigrec.types import GeneratedText, IntArray, Recommendation, Source

if TYPE_CHECKING:
    import pandas as pd

_SCHEMA = {
    "rank": pl.Int64,
    "item_id": pl.String,
    "title": pl.String,
    "score": pl.Float64,
    "distance": pl.Float64,
    "generated_text": pl.String,
}


class Recommendations(Sequence[Recommendation]):
    """One recommended list, best first.

    Args:
        items: The list.
        source: What ranked it.
        unknown: Ids and titles of the history that the catalog lacks, each once.
        ignored: Those among the items to list and to exclude.
        version: Identifies the fitted model and its catalog.
    """

    def __init__(
        self,
        items: Sequence[Recommendation],
        *,
        source: Source,
        unknown: tuple[str, ...] = (),
        ignored: tuple[str, ...] = (),
        version: str,
    ) -> None:
        self._items = list(items)
        self.source = source
        self.unknown = unknown
        self.ignored = ignored
        self.version = version

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Recommendation: ...

    @overload
    def __getitem__(self, index: slice) -> "Recommendations": ...

    def __getitem__(self, index: int | slice) -> "Recommendation | Recommendations":
        found = self._items[index]
        if not isinstance(found, list):
            return found
        return Recommendations(
            found,
            source=self.source,
            unknown=self.unknown,
            ignored=self.ignored,
            version=self.version,
        )

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Recommendations | list):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment] # a sequence of values, compared by them

    def __repr__(self) -> str:
        return f"Recommendations({self._items!r}, source={self.source!r})"

    @overload
    def to_frame(self) -> pl.DataFrame: ...

    @overload
    def to_frame(self, kind: Literal["polars"]) -> pl.DataFrame: ...

    @overload
    def to_frame(self, kind: Literal["pandas"]) -> "pd.DataFrame": ...

    def to_frame(self, kind: Literal["polars", "pandas"] = "polars") -> Any:
        """The list as a frame of one row for each item.

        Args:
            kind: ``polars``, or ``pandas`` where it is installed (``bigrec[pandas]``).

        Raises:
            ValueError: If the kind is another one.
        """
        if kind not in {"polars", "pandas"}:
            raise ValueError(f"kind is {kind!r}: expected 'polars' or 'pandas'.")
        frame = pl.DataFrame([asdict(item) for item in self._items], schema=_SCHEMA)
        return frame if kind == "polars" else frame.to_pandas()


def to_recommendations(
    catalog: Catalog,
    lists: RankedLists,
    query: int,
    *,
    texts: Sequence[GeneratedText],
    shown: IntArray | None = None,
) -> list[Recommendation]:
    """The list of one query.

    Args:
        catalog: The items.
        lists: Ranked lists.
        query: Row of the list.
        texts: The query's generated texts; none in retrieval mode.
        shown: Item number that stands for each title, ``[t]``; the ranker's by default.
    """
    items = lists.items[query]
    if shown is not None:
        title_ids = lists.title_ids[query]
        items = np.where(title_ids >= 0, shown[title_ids], -1)
    return [
        Recommendation(
            rank=place + 1,
            item_id=catalog.item_ids[item],
            title=catalog.titles[item],
            score=float(lists.scores[query, place]),
            distance=float(lists.distances[query, place]),
            generated_text=texts[lists.beams[query, place]].text if texts else None,
        )
        for place, item in enumerate(items)
        if item >= 0
    ]
