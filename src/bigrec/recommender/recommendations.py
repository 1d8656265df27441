"""The items that a list may hold, and recommended lists as callers know the items."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.grounding.ranked_lists import RankedLists
from bigrec.types import GeneratedText, IntArray, Recommendation

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


@dataclass(frozen=True, eq=False)
class Candidates:
    """The items that a list may hold.

    Items that share a title share one place in the ranking, so a title is excluded only if all of
    its items are, and the most frequent candidate stands for it.

    Attributes:
        excluded_items: One item number of every title without a candidate.
        shown: Item number that stands for each title, ``[t]``; -1 for titles without a candidate.
    """

    excluded_items: IntArray = field(repr=False)
    shown: IntArray = field(repr=False)

    @classmethod
    def select(
        cls,
        catalog: Catalog,
        counts: IntArray,
        *,
        items: Iterable[str] | None,
        exclude: Iterable[str],
    ) -> Self:
        """Resolve candidates.

        Args:
            catalog: The items.
            counts: Occurrences of each item in the training split, ``[n]``.
            items: Ids or titles of the only items that may be listed; None for all.
            exclude: Ids or titles of items that must not be listed.

        Raises:
            DataError: If an item is not in the catalog, or missing.
            TypeError: If an item is not text.
        """
        allowed = np.ones(catalog.n_items, dtype=np.bool_)
        if items is not None:
            allowed[:] = False
            allowed[catalog.resolve(items)] = True
        allowed[catalog.resolve(exclude, name="exclude")] = False
        candidates = np.flatnonzero(allowed)
        # The most frequent candidate last, so that it is the one that stays.
        order = candidates[np.lexsort((-candidates, counts[candidates]))]
        shown = np.full(catalog.n_titles, -1, dtype=np.int64)
        shown[catalog.title_ids[order]] = order
        return cls(np.flatnonzero(shown[catalog.title_ids] < 0), shown)


class Recommendations(Sequence[Recommendation]):
    """One recommended list, best first."""

    def __init__(self, items: Sequence[Recommendation]) -> None:
        self._items = list(items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Recommendation: ...

    @overload
    def __getitem__(self, index: slice) -> "Recommendations": ...

    def __getitem__(self, index: int | slice) -> "Recommendation | Recommendations":
        found = self._items[index]
        return Recommendations(found) if isinstance(found, list) else found

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Recommendations | list):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment] # a sequence of values, compared by them

    def __repr__(self) -> str:
        return f"Recommendations({self._items!r})"

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
) -> Recommendations:
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
    return Recommendations(
        [
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
    )
