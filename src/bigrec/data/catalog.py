"""The catalog: every item that can be recommended, with its title."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from unicodedata import normalize

import numpy as np
import polars as pl
from rapidfuzz import fuzz, process

from bigrec.data.columns import Frame, as_text, collecting, require_columns
from bigrec.data.id_columns import read_id
from bigrec.data.ids import read_ids
from bigrec.data.item_columns import (
    CATEGORY,
    FLAT,
    STORED,
    check_names,
    from_stored,
    parsed,
    to_stored,
)
from bigrec.data.item_rows import clean_items, read_items
from bigrec.data.repairs import Repairs
from bigrec.data.stored_tables import damaged_table, read_table
from bigrec.errors import DataError
from bigrec.storage import atomic_file, fingerprint
from bigrec.types import IntArray

_SHOWN = 3
_LEAST_SIMILARITY = 60
"""Least similarity of a suggested title, in percent: two times the characters in common, in their
order, over the characters of both."""
_LONGEST_QUOTE = 200
"""Characters of an unknown item that are compared and quoted."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """All items that can be recommended. An item's number is its position in the lists.

    Attributes:
        item_ids: ``[n]`` unique ids.
        titles: ``[n]`` repaired titles.
        columns: Further columns, ``n`` rows in the order of the items: text, lists of texts, true
            and false, whole numbers or numbers, null where a value is missing. The category, if
            there is one, is the column ``category``.
        title_ids: ``[n]`` int64 title id of every item, in order of first appearance. Items with
            the same title share a title id.
        unique_titles: ``[t]`` title of every title id.
        text_columns: Further columns that are part of a title's text; see `texts`.
        known_texts: Texts of some titles, by title, in place of those that the columns make.
    """

    item_ids: list[str] = field(repr=False)
    titles: list[str] = field(repr=False)
    columns: pl.DataFrame = field(repr=False)
    title_ids: IntArray = field(repr=False)
    unique_titles: list[str] = field(repr=False)
    text_columns: tuple[str, ...] = ()
    known_texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        *,
        item_id: str = "item_id",
        title: str = "title",
        category: str | None = None,
        year: str | None = None,
        columns: Sequence[str] = (),
        decode_html: bool = True,
        article_first: bool = False,
        repairs: Repairs | None = None,
    ) -> Self:
        """Read a catalog from a frame and repair it.

        Whitespace around titles is stripped. Items without an id or a title are dropped, and so
        are rows that repeat an id with the same title.

        Args:
            frame: A polars or pandas frame, one row for each item.
            item_id: Column of the item id.
            title: Column of the title.
            category: Column of the category, text or a list of texts.
            year: Column of the year, appended as in "Toy Story (1995)" unless the title ends in it.
            columns: Further columns to keep, such as a price, under their names: text, lists of
                texts, true and false, numbers or dates, which become text. NaN and infinities are
                missing.
            decode_html: Turn ``&amp;`` in titles into ``&``.
            article_first: Turn "Matrix, The (1999)" into "The Matrix (1999)".
            repairs: Records every check, if given.

        Raises:
            DataError: If a column is missing or cannot be kept, no item remains, or an id has two
                titles.
        """
        repairs = Repairs() if repairs is None else repairs
        check_names(columns)
        if CATEGORY in columns and category in {None, CATEGORY}:
            category, columns = CATEGORY, [name for name in columns if name != CATEGORY]
        elif CATEGORY in columns:
            raise DataError(
                f"{CATEGORY!r} is among the item columns, and the category is column "
                f"{category!r}: expected one of the two. Rename or omit the other."
            )
        with collecting("items"):
            rows = read_items(
                frame, item_id=item_id, title=title, category=category, year=year, columns=columns
            )
        rows = clean_items(
            rows, decode_entities=decode_html, article_first=article_first, repairs=repairs
        )
        further = rows.select(pl.exclude("item_id", "title", "year"))
        return cls._build(rows, further.rename(lambda name: name.removeprefix(FLAT)))

    @classmethod
    def _build(cls, rows: pl.DataFrame, columns: pl.DataFrame) -> Self:
        titles = rows["title"].to_list()
        id_of_title: dict[str, int] = {}
        title_ids = [id_of_title.setdefault(title, len(id_of_title)) for title in titles]
        if CATEGORY in columns:
            category = pl.col(CATEGORY)
            columns = columns.with_columns(pl.when(category != "").then(category).alias(CATEGORY))
        return cls(
            item_ids=rows["item_id"].to_list(),
            titles=titles,
            columns=columns,
            title_ids=np.array(title_ids, dtype=np.int64),
            unique_titles=list(id_of_title),
        )

    @property
    def n_items(self) -> int:
        """Number of items, ``n``."""
        return len(self.item_ids)

    @property
    def n_titles(self) -> int:
        """Number of distinct titles, ``t``."""
        return len(self.unique_titles)

    @cached_property
    def first_items(self) -> IntArray:
        """Item number of the first item of every title, ``[t]``."""
        return np.unique(self.title_ids, return_index=True)[1]

    @property
    def categories(self) -> list[str] | None:
        """``[n]`` categories, "" for an item without one; None if the data has none."""
        if CATEGORY not in self.columns:
            return None
        return self.columns[CATEGORY].fill_null("").to_list()

    @cached_property
    def texts(self) -> list[str]:
        """``[t]`` what encoders read of every title: its text.

        That is the title and, each in a line below it, the values of `text_columns` of the first
        item with the title. A missing value adds nothing.
        """
        if not self.text_columns:
            return self.unique_titles
        further = [self.columns[name].gather(self.first_items) for name in self.text_columns]
        texts = []
        for title, *values in zip(self.unique_titles, *further, strict=True):
            parts = [title, *map(value_text, values)]
            texts.append(self.known_texts.get(title, "\n".join(filter(None, parts))))
        return texts

    @property
    def item_texts(self) -> list[str]:
        """``[n]`` text of every item's title; see `texts`."""
        return [self.texts[title] for title in self.title_ids]

    @cached_property
    def text_of(self) -> dict[str, str]:
        """Text of each title; see `texts`."""
        return dict(zip(self.unique_titles, self.texts, strict=True))

    def reading(self, columns: Sequence[str], *, known: "Catalog | None" = None) -> Self:
        """The same catalog with other texts.

        Args:
            columns: Further columns that are part of a title's text, in this order.
            known: A catalog whose titles keep the texts that they have there.

        Raises:
            DataError: If the catalog lacks a column.
        """
        named = {f"text[{place}]": name for place, name in enumerate(columns, start=1)}
        require_columns(["title", *self.columns.columns], named, what="items")
        texts = known.text_of if known is not None and columns else {}
        return replace(self, text_columns=tuple(columns), known_texts=texts)

    def counts_by_title(self, counts: IntArray) -> IntArray:
        """Counts of items, ``[n]``, added up for each title, ``[t]`` int64."""
        sums = np.bincount(self.title_ids, weights=counts, minlength=self.n_titles)
        return sums.astype(np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the ids, the titles and their order."""
        return fingerprint([self.item_ids, self.titles])

    @cached_property
    def titles_fingerprint(self) -> str:
        """Identifies the ids, the titles, their order and their texts."""
        return fingerprint([self.fingerprint, self.texts])

    def other_texts(self, other: "Catalog") -> set[str]:
        """Titles of both catalogs that have another text in the other one."""
        if not self.text_columns and not other.text_columns:
            return set()
        texts = other.text_of
        return {title for title, text in self.text_of.items() if texts.get(title, text) != text}

    def resolve(self, items: Iterable[str], *, name: str = "items") -> IntArray:
        """Item numbers of ids or titles, int64, in their order; see `find`.

        Raises:
            DataError: Naming the items that are not in the catalog, with similar titles. If the
                items are one text instead of several, or one of them is missing.
            TypeError: If the items are no list, or one of them is not text.
        """
        numbers, unknown = self.find(items, name=name)
        if unknown:
            raise DataError(self._unknown_items_message(unknown))
        return numbers

    @cached_property
    def content_fingerprint(self) -> str:
        """Identifies the items, their order and their further columns."""
        return fingerprint([self.fingerprint, self.columns.to_dict(as_series=False)])

    def find(
        self, items: Iterable[str], *, name: str = "items"
    ) -> tuple[IntArray, tuple[str, ...]]:
        """Item numbers of those ids or titles that are in the catalog, and the others.

        An id takes precedence over an exact title, an exact title over one that differs in case,
        whitespace or Unicode's forms of a character only, and that over an id as those of data are
        read, without spaces around it or ``.0``. Of several items with the title, the first is
        taken.

        Args:
            items: Any iterable; it is read once.
            name: Names the items in messages.

        Returns:
            Item numbers, int64, in the order of the items; and the unknown ones, each once.

        Raises:
            DataError: If the items are one text instead of several, or one of them is missing.
            TypeError: If the items are no list, or one of them is not text.
        """
        items = read_ids(items, name=name)
        numbers = self.numbers(items)
        unknown = [item for item, number in zip(items, numbers, strict=True) if number < 0]
        return numbers[numbers >= 0], tuple(dict.fromkeys(unknown))

    def numbers(self, items: Iterable[str]) -> IntArray:
        """Item numbers of ids or titles, int64, -1 for those that are not in the catalog."""
        return np.array([self._number_of(item) for item in items], dtype=np.int64)

    def parsed(self) -> Self:
        """The catalog of a text file, whose further columns get the types of their values."""
        further = parsed(self.columns.select(pl.exclude(CATEGORY)))
        return replace(self, columns=self.columns.with_columns(further))

    def joined(self, other: "Catalog") -> Self:
        """The catalog with the items of another one whose ids it lacks after its own.

        Where a column of the other one is of another type, its values are missing.
        """
        known = set(self.item_ids)
        more = other.to_frame().filter([item not in known for item in other.item_ids])
        own = self.to_frame()
        schema = own.schema
        kept = [name for name in more.columns if more.schema[name] == schema.get(name)]
        kept += [name for name in more.columns if name not in schema]
        rows = pl.concat([own, more.select(kept)], how="diagonal")
        return self._build(rows, rows.select(pl.exclude("item_id", "title")))

    def to_frame(self) -> pl.DataFrame:
        """The items as columns ``item_id`` and ``title``, followed by the further columns."""
        ids = {"item_id": self.item_ids, "title": self.titles}
        frame = pl.DataFrame(ids, schema=dict.fromkeys(ids, pl.String))
        return frame.hstack(self.columns)

    def save(self, path: Path) -> None:
        """Write a Parquet file, atomically."""
        # First: it checks that polars has its threads.
        with atomic_file(path) as temporary:
            stored = self.to_frame().select(
                "item_id", "title", *([CATEGORY] if self.categories else [])
            )
            further = to_stored(self.columns.select(pl.exclude(CATEGORY)))
            stored.hstack(further).write_parquet(temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: If the file is missing or damaged, or holds no catalog.
        """
        text = pl.String
        rows = read_table(
            path,
            {"item_id": text, "title": text},
            optional={CATEGORY: text},
            prefixed=STORED,
            what="a catalog",
        )
        repeated = rows.filter(pl.col("item_id").is_duplicated())
        if len(repeated):
            reason = f"item {repeated['item_id'][0]!r} has more than one row"
            raise damaged_table(path, reason, what="a catalog")
        if rows.is_empty() or rows["title"].str.strip_chars().eq("").any():
            reason = "an item has no title" if len(rows) else "it has no items"
            raise damaged_table(path, reason, what="a catalog")
        try:
            columns = from_stored(rows.select(pl.exclude("item_id", "title")))
        except ValueError as error:
            raise damaged_table(path, str(error).rstrip("."), what="a catalog") from None
        return cls._build(rows, columns)

    def _number_of(self, item: str) -> int:
        number = self._number_of_id.get(item)
        if number is None:
            number = self._number_of_title.get(item)
        if number is None:
            number = self._number_of_folded_title.get(_folded(item))
        if number is None:
            number = self._number_of_id.get(read_id(item), -1)
        return number

    @cached_property
    def _number_of_id(self) -> dict[str, int]:
        return {item: number for number, item in enumerate(self.item_ids)}

    @cached_property
    def _number_of_title(self) -> dict[str, int]:
        # Backwards, so that the first item with a title overwrites the others.
        return {title: number for number, title in reversed(list(enumerate(self.titles)))}

    @cached_property
    def _number_of_folded_title(self) -> dict[str, int]:
        return {_folded(title): number for number, title in reversed(list(enumerate(self.titles)))}

    def _similar_titles(self, item: str) -> list[str]:
        """At most three titles, the most similar first; case and whitespace do not count."""
        similar = process.extract(
            _folded(item[:_LONGEST_QUOTE]),
            list(self._number_of_folded_title),
            scorer=fuzz.ratio,
            limit=_SHOWN,
            score_cutoff=_LEAST_SIMILARITY,
        )
        return [self.titles[self._number_of_folded_title[folded]] for folded, _, _ in similar]

    def _unknown_items_message(self, unknown: Sequence[str]) -> str:
        lines = []
        for item in unknown[:_SHOWN]:
            close = ", ".join(map(_quoted, self._similar_titles(item)))
            lines.append(_quoted(item) + (f" (did you mean {close}?)" if close else ""))
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        return (
            f"{len(unknown)} items are not in the catalog of {self.n_titles} titles: "
            f"{', '.join(lines)}{more}. Give ids exactly as in the catalog, or titles."
        )


def value_text(value: Any) -> str | None:
    """A value of a further column as a part of a text; None or "" where it is missing."""
    return as_text(value.to_list() if isinstance(value, pl.Series) else value)


def _folded(title: str) -> str:
    # Two passes, as folding may leave a character in parts, and parts of one in another order.
    return " ".join(normalize("NFC", normalize("NFC", title).casefold()).split())


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")
