"""Datasets from files of any known format."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bigrec.data.catalog import Catalog
from bigrec.data.columns import column_names, require_columns
from bigrec.data.dataset import Dataset
from bigrec.data.examples import TitleExample
from bigrec.data.files import check_readable, check_regular, iter_blocks, reading, suffix_of
from bigrec.data.interactions import Interactions
from bigrec.data.item_columns import CATEGORY
from bigrec.data.json_rows import parse_json
from bigrec.data.readers import amazon, movielens, recbole, sample
from bigrec.data.readers import tables as plain_tables
from bigrec.data.remote import on_disk
from bigrec.data.repairs import Repairs
from bigrec.data.tables import TABLE_SUFFIXES, SourceTables, check_table
from bigrec.errors import DataError
from bigrec.storage.forks import check_threads


class _Reader(NamedTuple):
    read: Callable[[Path, Path | None], SourceTables | None]
    looks_for: str


_AUTO = "auto"
_SHOWN = 10
# In the order of detection: plain tables are last, because their reader accepts any table.
_READERS = {
    "movielens": _Reader(movielens.read, movielens.LOOKS_FOR),
    "recbole": _Reader(recbole.read, recbole.LOOKS_FOR),
    "amazon-2018": _Reader(amazon.read_2018, amazon.LOOKS_FOR_2018),
    "amazon-2023": _Reader(amazon.read_2023, amazon.LOOKS_FOR_2023),
    "sample": _Reader(sample.read, sample.LOOKS_FOR),
    "tables": _Reader(plain_tables.read, plain_tables.LOOKS_FOR),
}
# Folders of the sources that need no path.
_SHORT_NAMES: dict[str, Callable[[], Path]] = {
    recbole.SHORT_NAME: recbole.installed_ml_100k,
    sample.SHORT_NAME: lambda: sample.FOLDER,
}


def load_dataset(
    source: str | Path,
    *,
    items: str | Path | None = None,
    format: str = _AUTO,  # noqa: A002 - the word of the setting and the command line
    name: str | None = None,
    item_type: str | None = None,
    min_rating: float | None = None,
    tie_seed: int = 0,
    decode_html: bool = True,
    article_first: bool = False,
    user_id: str | None = None,
    item_id: str | None = None,
    title: str | None = None,
    time: str | None = None,
    order: str | None = None,
    rating: str | None = None,
    split: str | None = None,
    category: str | None = None,
    item_columns: Sequence[str] = (),
    text_columns: Sequence[str] = (),
) -> Dataset:
    """Read a dataset from files.

    Args:
        source: A folder, a file of interactions, or a short name, unless there is a folder of
            that name: ``sample`` is the sample data that ships with bigrec, ``ml-100k``
            MovieLens-100K from the installed wheel ``recbole``. A folder or file may be at an
            address, such as ``s3://bucket/folder``; see `on_disk`.
        items: The file of titles, or its address, if it is not beside the interactions.
        format: ``tables``, ``movielens``, ``recbole``, ``amazon-2018``, ``amazon-2023`` or
            ``sample``; ``auto`` detects it from the files.
        name: Name of the dataset in tables; by default from the source.
        item_type: Name of one item in the prompt; by default from the format.
        min_rating: Drop interactions with a lower rating or none.
        tie_seed: Seed of the order of a user's interactions that tie in time, unless ``order`` says
            it.
        decode_html: Turn ``&amp;`` in titles into ``&`` and remove markup.
        article_first: Turn "Matrix, The (1999)" into "The Matrix (1999)".
        user_id: Column of the user. The defaults of this and the columns below come from the
            format; those of ``tables`` are the names of the options.
        item_id: Column of the item id, in both files.
        title: Column of the title.
        time: Column of the timestamp; ``timestamp`` in ``tables``.
        order: Column of the position in the user's history, which also breaks ties in time;
            ``position`` in ``tables`` without a timestamp. ``"row"`` is the order of the rows.
        rating: Column of the rating.
        split: Column of the split: train, valid or test.
        category: Column of the category.
        item_columns: Further columns of the items to keep, such as a price; see
            `Catalog.from_frame`. Those of a text file get the types that their values have. By
            default those that the format names.
        text_columns: Columns of the items that are part of a title's text, which encoders read; see
            `Catalog.texts`. They are kept, too.

    Raises:
        DataError: If a file is missing, damaged or holds invalid values.
        ValueError: If the format is unknown.
    """
    check_threads()
    with on_disk(source, items, with_titles=items is None) as (path, items_path):
        try:
            tables = _find_tables(path, items_path, format)
        except OSError as error:
            raise DataError(f"{source} could not be searched for a dataset: {error}.") from error
        columns = dict(tables.columns)
        if time is not None:
            # The caller's timestamp replaces the reader's position.
            columns.pop("order", None)
        named_of_items = {"item_id": item_id, "title": title, "category": category, "year": None}
        interaction_columns = {
            "user_id": user_id,
            "item_id": item_id,
            "time": time,
            "order": order,
            "rating": rating,
            "split": split,
        }
        named = _named_columns(named_of_items, defaults=columns)
        repairs = Repairs()
        with reading(tables.items_path):
            catalog = Catalog.from_frame(
                tables.items,
                columns=_kept_columns(
                    tables, item_columns, text_columns, has_category="category" in named
                ),
                decode_html=decode_html,
                article_first=article_first,
                repairs=repairs,
                **named,
            )
            if suffix_of(tables.items_path) != ".parquet":
                catalog = catalog.parsed()
        with reading(tables.interactions_path):
            interactions = Interactions.from_frame(
                tables.interactions,
                catalog,
                min_rating=min_rating,
                tie_seed=tie_seed,
                repairs=repairs,
                **_named_columns(interaction_columns, defaults=columns),
            )
        dataset = Dataset(
            name or tables.name, item_type or tables.item_type, interactions, catalog, repairs
        )
        return dataset.reading(text_columns)


def load_bigrec_json(path: str | Path, *, item_type: str = "item") -> list[TitleExample]:
    """Read examples in the format of the paper's authors.

    Args:
        path: A JSON list of ``instruction``, ``input`` (titles in double quotes, separated by
            commas) and ``output`` (one title in double quotes).
        item_type: Name of one item in the prompt.

    Raises:
        DataError: If the file is missing or of another format.
    """
    path = Path(path)
    with reading(path):
        rows = parse_json(b"".join(block.content for block in iter_blocks(path)))
        if not isinstance(rows, list) or not rows:
            raise DataError("expected a JSON list of examples. Give a file of the paper's data.")
        return [
            TitleExample(
                history=tuple(_quoted(row, "input", number)),
                target=_quoted(row, "output", number)[0],
                item_type=item_type,
            )
            for number, row in enumerate(rows, start=1)
        ]


def _find_tables(path: Path, items: Path | None, format_name: str) -> SourceTables:
    if format_name != _AUTO and format_name not in _READERS:
        raise ValueError(f"format is {format_name!r}: expected {_AUTO}, {', '.join(_READERS)}.")
    if str(path) in _SHORT_NAMES and not path.exists():
        path = _SHORT_NAMES[str(path)]()
    for file in (path, *([items] if items is not None else [])):
        if not file.exists():
            raise DataError(
                f"{file} does not exist: expected a folder, a file, or one of the short names "
                f"{', '.join(map(repr, _SHORT_NAMES))}."
            )
        if not file.is_dir() or file == items:
            with reading(file):
                check_regular(file)
    candidates = list(_READERS) if format_name == _AUTO else [format_name]
    for candidate in candidates:
        tables = _READERS[candidate].read(path, items)
        if tables is not None:
            return tables
    looked_for = "".join(f"\n  {name}: {_READERS[name].looks_for}" for name in candidates)
    files = sorted(path.iterdir())[:_SHOWN] if path.is_dir() else [path]
    held = ", ".join(file.name for file in files) or "nothing"
    raise DataError(
        f"no dataset was found in {path}, which holds {held}. Looked for:{looked_for}"
        f"{''.join(_problems(files))}"
    )


def _problems(files: Iterable[Path]) -> Iterator[str]:
    """Why the files could not be read, which may be why nothing was found."""
    for file in files:
        try:
            with reading(file):
                if file.name.lower().endswith(TABLE_SUFFIXES):
                    check_table(file)
                elif not file.is_dir():
                    check_readable(file)
        except DataError as error:
            yield f"\n{error}"


def _kept_columns(
    tables: SourceTables,
    item_columns: Sequence[str],
    text_columns: Sequence[str],
    *,
    has_category: bool,
) -> list[str]:
    """Further columns of the items that are kept: those asked for, and those of texts.

    Raises:
        DataError: If the items lack one of a text.
    """
    kept = [*(item_columns or tables.item_columns)]
    known = {*kept, CATEGORY} if has_category else {*kept}
    further = {
        f"text[{place}]": name
        for place, name in enumerate(text_columns, start=1)
        if name not in known
    }
    require_columns(column_names(tables.items, what="items"), further, what="items")
    return [*kept, *further.values()]


def _named_columns(columns: dict[str, str | None], *, defaults: dict[str, str]) -> dict[str, str]:
    """The caller's column of each option, else the reader's; options with neither are omitted."""
    named = {option: column or defaults.get(option) for option, column in columns.items()}
    return {option: column for option, column in named.items() if column is not None}


def _quoted(row: object, field: str, number: int) -> list[str]:
    text = row.get(field) if isinstance(row, dict) else None
    match = re.search(r'"(.*)"', text, re.DOTALL) if isinstance(text, str) else None
    if match is None:
        raise DataError(
            f"example {number} has no title in double quotes in {field!r}: got {text!r:.100}. Give "
            "a file of the paper's data."
        )
    # Titles are separated by quote, comma, quote; a title may contain a quote or a comma.
    return re.split(r'",\s*"', match[1])
