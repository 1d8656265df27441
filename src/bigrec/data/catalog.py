"""The catalog: every item that can be recommended, with its title and its same-titled items."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from bigrec.data.columns import Frame
from bigrec.data.item_rows import clean_items, read_items
from bigrec.data.repairs import Repairs
from bigrec.errors import BundleError, DataError
from bigrec.storage import atomic_file, fingerprint
from bigrec.types import IntArray

_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Catalog:
    """All items that can be recommended; an item's number is its place in the lists.

    Attributes:
        item_ids: ``[n]`` ids as the caller knows them, no two alike.
        titles: ``[n]`` titles after repair.
        categories: ``[n]`` categories, "" where an item has none; None where none are known.
        group: ``[n]`` int64 group number of every item. Items of the same title share one, and
            groups are numbered by first appearance.
        group_titles: ``[g]`` title of every group.
    """

    item_ids: list[str] = field(repr=False)
    titles: list[str] = field(repr=False)
    categories: list[str] | None = field(repr=False)
    group: IntArray = field(repr=False)
    group_titles: list[str] = field(repr=False)

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        *,
        item_id: str = "item_id",
        title: str = "title",
        category: str | None = None,
        year: str | None = None,
        decode_html: bool = True,
        article_first: bool = False,
        repairs: Repairs | None = None,
    ) -> Self:
        """Read a catalog from a frame and repair it.

        Whitespace around titles is stripped and inside them kept. Items without an id or a title
        are left out; rows that repeat an id and its title are read once.

        Args:
            frame: A polars or pandas frame, one row for each item.
            item_id: Column of the item's id.
            title: Column of the title.
            category: Column of the category, text or a list of texts.
            year: Column of the year, appended as "Toy Story (1995)" where it is not there yet.
            decode_html: Turn ``&amp;`` in titles into ``&``.
            article_first: Turn "Matrix, The (1999)" into "The Matrix (1999)".
            repairs: Where every check is recorded, if that is of interest.

        Raises:
            DataError: If a column is missing, no item is left, or an id has two titles.
        """
        repairs = Repairs() if repairs is None else repairs
        rows = read_items(frame, item_id=item_id, title=title, category=category, year=year)
        rows = clean_items(
            rows, decode_entities=decode_html, article_first=article_first, repairs=repairs
        )
        return cls._build(rows)

    @classmethod
    def _build(cls, rows: pl.DataFrame) -> Self:
        titles = rows["title"].to_list()
        numbers: dict[str, int] = {}
        group = np.array([numbers.setdefault(title, len(numbers)) for title in titles], np.int64)
        categories = rows["category"].fill_null("").to_list() if "category" in rows else None
        return cls(rows["item_id"].to_list(), titles, categories, group, list(numbers))

    def __len__(self) -> int:
        return self.n_items

    @property
    def n_items(self) -> int:
        """Number of items, ``n``."""
        return len(self.item_ids)

    @property
    def n_groups(self) -> int:
        """Number of different titles, ``g``."""
        return len(self.group_titles)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any id or title, and with their order."""
        return fingerprint([self.item_ids, self.titles])

    def numbers(self, item_ids: Sequence[str]) -> IntArray:
        """Item numbers of ids, ``[len(item_ids)]`` int64.

        Raises:
            DataError: Naming ids that are not in the catalog, with similar ones that are.
            TypeError: If an id is not text.
        """
        return self._looked_up(item_ids, self._number_of.get, known=self.item_ids, what="item ids")

    def resolve(self, items: Sequence[str]) -> IntArray:
        """Item numbers of ids or titles, ``[len(items)]`` int64.

        An id is looked for first, then the exact title, then the title without regard to case and
        spaces. A title that several items share gives the first of them.

        Raises:
            DataError: Naming what is not in the catalog, with similar titles that are.
            TypeError: If one of them is not text.
        """
        return self._looked_up(items, self._find, known=self.group_titles, what="items")

    def members(self, group: int) -> IntArray:
        """Numbers of the items in a group, ascending.

        Raises:
            ValueError: If there is no such group.
        """
        if not 0 <= group < self.n_groups:
            raise ValueError(f"group is {group}: expected 0 to {self.n_groups - 1}.")
        return self._by_group[self._group_start[group] : self._group_start[group + 1]]

    def to_frame(self) -> pl.DataFrame:
        """The items as columns ``item_id``, ``title`` and, where known, ``category``."""
        columns = {"item_id": self.item_ids, "title": self.titles}
        if self.categories is not None:
            columns["category"] = self.categories
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))

    def save(self, path: Path) -> None:
        """Write a Parquet file, whole or not at all."""
        with atomic_file(path) as temporary:
            self.to_frame().write_parquet(temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: If the file is missing or damaged.
        """
        try:
            rows = pl.read_parquet(path)
            return cls._build(rows.cast({"item_id": pl.String, "title": pl.String}))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise BundleError(
                f"{path} could not be read as a catalog: {error}. Write it again with the command "
                "that made it."
            ) from error

    def _looked_up(
        self,
        items: Sequence[str],
        find: Callable[[str], int | None],
        *,
        known: Sequence[str],
        what: str,
    ) -> IntArray:
        for item in items:
            if not isinstance(item, str):
                raise TypeError(f"{what} hold {item!r}: expected text, as in the catalog.")
        found = [find(item) for item in items]
        unknown = [item for item, number in zip(items, found, strict=True) if number is None]
        if unknown:
            raise DataError(_unknown_message(dict.fromkeys(unknown), known=known, what=what))
        return np.array(found, dtype=np.int64)

    def _find(self, item: str) -> int | None:
        number = self._number_of.get(item)
        if number is None:
            number = self._number_of_title.get(item)
        return self._number_of_loose.get(_loose(item)) if number is None else number

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {item: number for number, item in enumerate(self.item_ids)}

    @cached_property
    def _number_of_title(self) -> dict[str, int]:
        # Backwards, so that the first item of a title is the one that stays.
        return {title: number for number, title in reversed(list(enumerate(self.titles)))}

    @cached_property
    def _number_of_loose(self) -> dict[str, int]:
        return {_loose(title): number for number, title in reversed(list(enumerate(self.titles)))}

    @cached_property
    def _by_group(self) -> IntArray:
        return np.argsort(self.group, kind="stable")

    @cached_property
    def _group_start(self) -> IntArray:
        return np.searchsorted(self.group[self._by_group], np.arange(self.n_groups + 1))


def _loose(title: str) -> str:
    return " ".join(title.casefold().split())


def _unknown_message(unknown: Iterable[str], *, known: Sequence[str], what: str) -> str:
    unknown = list(unknown)
    lines = []
    for item in unknown[:_SHOWN]:
        close = difflib.get_close_matches(item, known, n=_SHOWN)
        hint = f" (did you mean {', '.join(map(repr, close))}?)" if close else ""
        lines.append(f"{item!r}{hint}")
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    return (
        f"{len(unknown)} {what} are not in the catalog of {len(known)}: {', '.join(lines)}{more}. "
        f"Give ids exactly as in the catalog{', or titles.' if what == 'items' else '.'}"
    )
