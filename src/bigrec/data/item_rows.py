"""Cleaning of item rows: one title for each id."""

from collections.abc import Callable, Sequence

import polars as pl

from bigrec.data.arguments import check_named
from bigrec.data.columns import Frame, column_names, lazy_frame, plain_text, require_columns
from bigrec.data.id_columns import (
    MISSING,
    check_exact,
    check_unrounded,
    id_text,
    record_similar,
    record_spelling,
    written_text,
)
from bigrec.data.item_columns import FLAT, check_range, typed
from bigrec.data.repairs import Repairs
from bigrec.data.titles import (
    append_year,
    decode_html,
    is_page_code,
    put_article_first,
    without_markup,
)
from bigrec.errors import DataError

_WHAT = "items"
# Control and format characters, such as a zero-width space, and all white space.
_INVISIBLE = r"[\s\p{Cc}\p{Cf}]"


def read_items(
    frame: Frame,
    *,
    item_id: str,
    title: str,
    category: str | None,
    year: str | None,
    columns: Sequence[str] = (),
) -> pl.DataFrame:
    """Select the named columns, further ones as they are typed and the others as text.

    Returns:
        Columns ``item_id``, ``title`` and, if named, ``category`` and ``year``, and ``written
        item_id`` (text of ids that are read otherwise, else null). Names of further columns begin
        with `FLAT`.

    Raises:
        DataError: If a column is missing or of another type, or there are no rows.
    """
    names = column_names(frame, what=_WHAT)
    named = {"item_id": item_id, "title": title, "category": category, "year": year}
    check_named(item_id=item_id, title=title)
    selected = {option: name for option, name in named.items() if name is not None}
    further = {f"columns[{place}]": name for place, name in enumerate(columns)}
    require_columns(names, {**selected, **further}, what=_WHAT)
    lazy = lazy_frame(frame, [*selected.values(), *columns], what=_WHAT)
    schema = lazy.collect_schema()
    check_exact(lazy, item_id, schema[item_id], what=_WHAT)
    ids = {
        "item_id": id_text(item_id, schema[item_id], what=_WHAT),
        "written item_id": written_text(item_id, schema[item_id], what=_WHAT),
    }
    texts = {
        option: plain_text(name, schema[name], what=_WHAT)
        for option, name in selected.items()
        if option != "item_id"
    }
    for name in columns:
        check_range(lazy, name, schema[name], what=_WHAT)
    kept = {FLAT + name: typed(name, schema[name], what=_WHAT) for name in columns}
    rows = lazy.select(**ids, **texts, **kept).collect()
    if rows.is_empty():
        raise DataError("the items have no rows: expected one row for each item.")
    check_unrounded(rows["item_id"], item_id, what=_WHAT)
    return rows


def clean_items(
    rows: pl.DataFrame, *, decode_entities: bool, article_first: bool, repairs: Repairs
) -> pl.DataFrame:
    """Repair titles, and drop items without id or title and rows that repeat an id.

    Args:
        rows: As `read_items` returns them.
        decode_entities: Decode HTML entities in titles and remove markup.
        article_first: Move the article of "Matrix, The" to the front.
        repairs: Records every check.

    Raises:
        DataError: If no item remains, or an id has two titles.
    """
    record_spelling(rows["item_id"], rows["written item_id"], whose="catalog ids", repairs=repairs)
    rows = _without_missing_ids(rows, repairs).drop("written item_id")
    for name, change, done in (
        ("HTML entities in titles", decode_html, "Decoded."),
        ("page markup in titles", without_markup, "Removed."),
    ):
        changed = _changed(rows, change, name, repairs, done=done if decode_entities else "Kept.")
        rows = changed if decode_entities else rows
    rows = rows.with_columns(pl.col("title").str.strip_chars())
    rows = _without_page_code(rows, repairs)
    rows = _without_blank_titles(rows, repairs)
    if article_first:
        rows = _mapped(rows, put_article_first)
    if "year" in rows:
        titles = zip(rows["title"], rows["year"], strict=True)
        dated = [append_year(title, year) for title, year in titles]
        rows = rows.with_columns(title=pl.Series(dated, dtype=pl.String))
    rows = _without_repeated_ids(rows, repairs)
    record_similar(rows["item_id"], whose="item ids", repairs=repairs)
    return rows


def _mapped(rows: pl.DataFrame, change: Callable[[str], str]) -> pl.DataFrame:
    changed = [None if title is None else change(title) for title in rows["title"]]
    return rows.with_columns(title=pl.Series(changed, dtype=pl.String))


def _without_missing_ids(rows: pl.DataFrame, repairs: Repairs) -> pl.DataFrame:
    kept = rows.filter(pl.col("item_id").is_not_null())
    repairs.add(
        "items without an id",
        rows.height - kept.height,
        total=rows.height,
        examples=_examples(rows.filter(pl.col("item_id").is_null()), ids="written item_id"),
        done="Dropped from the catalog.",
    )
    if kept.is_empty():
        raise DataError(
            "no item has an id: all values of the id column are missing. Name another column with "
            "item_id=..."
        )
    return kept


def _changed(
    rows: pl.DataFrame, change: Callable[[str], str], name: str, repairs: Repairs, *, done: str
) -> pl.DataFrame:
    """The rows with changed titles, recorded as a check of this name."""
    changed = _mapped(rows, change)
    differs = changed["title"].ne_missing(rows["title"])
    pairs = zip(rows.filter(differs)["title"], changed.filter(differs)["title"], strict=True)
    repairs.add(
        name,
        int(differs.sum()),
        total=rows.height,
        examples=(f"{before} -> {after}" for before, after in pairs),
        done=done,
    )
    return changed


def _without_page_code(rows: pl.DataFrame, repairs: Repairs) -> pl.DataFrame:
    is_code = pl.Series([title is not None and is_page_code(title) for title in rows["title"]])
    return _without_titles(
        rows,
        is_code,
        "page scripts as titles",
        repairs,
        all_are=f"all {rows.height} are the script of a web page",
    )


def _without_blank_titles(rows: pl.DataFrame, repairs: Repairs) -> pl.DataFrame:
    visible = rows["title"].str.replace_all(_INVISIBLE, "")
    is_blank = rows["title"].is_null() | rows["title"].is_in(MISSING) | (visible == "")
    return _without_titles(
        rows,
        is_blank,
        "empty titles",
        repairs,
        all_are=f"all {rows.height} titles are empty",
    )


def _without_titles(
    rows: pl.DataFrame, unusable: pl.Series, name: str, repairs: Repairs, *, all_are: str
) -> pl.DataFrame:
    """The rows whose titles can be used, the others recorded as a check of this name."""
    kept, dropped = rows.filter(~unusable), rows.filter(unusable)
    repairs.add(
        name,
        dropped.height,
        total=rows.height,
        examples=_examples(dropped),
        done="The items are dropped from the catalog.",
    )
    if kept.is_empty():
        raise DataError(f"no item has a title: {all_are}. Name another column with title=...")
    return kept


def _examples(rows: pl.DataFrame, *, ids: str = "item_id") -> list[str]:
    pairs = rows.select(ids, "title").head(5).iter_rows()
    return [f"item {item}: {title!r:.100}" for item, title in pairs]


def _without_repeated_ids(rows: pl.DataFrame, repairs: Repairs) -> pl.DataFrame:
    kept = rows.unique("item_id", keep="first", maintain_order=True)
    titles = kept.select("item_id", first="title")
    differing = rows.join(titles, on="item_id").filter(pl.col("title") != pl.col("first"))
    if not differing.is_empty():
        item, first, second = differing.select("item_id", "first", "title").row(0)
        raise DataError(
            f"{differing['item_id'].n_unique()} item ids have two different titles, such as "
            f"{item!r} with {first!r} and {second!r}: expected one title for each id. Correct the "
            "titles, or name another id column with item_id=..."
        )
    repeated = rows.filter(~pl.col("item_id").is_first_distinct())
    repairs.add(
        "repeated item ids",
        repeated.height,
        total=rows.height,
        examples=_examples(repeated),
        done="Dropped, except the first row of the id: the title is the same.",
    )
    return kept
