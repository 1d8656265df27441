"""Reader of plain tables: one of interactions, one of items."""

from pathlib import Path

from bigrec.data.files import reading, stem_of, suffix_of
from bigrec.data.tables import TABLE_SUFFIXES, SourceTables, only_one, scan_table
from bigrec.errors import DataError

LOOKS_FOR = (
    "interactions and items, each ending in .csv, .tsv, .jsonl, .json (also with .gz) or "
    ".parquet; or a file of interactions as the source and the file of titles as items"
)


def read(source: Path, items: Path | None) -> SourceTables | None:
    """Find plain tables; None if there are none.

    Raises:
        DataError: If there is no file of items, or several files of interactions or items.
    """
    if source.is_dir():
        interactions = _named(source, "interactions")
        name, folder = source.resolve().name, source
    else:
        interactions = source if suffix_of(source) in _suffixes() else None
        name, folder = stem_of(source), source.parent
    if interactions is None:
        return None
    items = items or _named(folder, "items")
    if items is None:
        raise DataError(
            f"there are interactions in {interactions}, but no file of titles beside them: "
            f"expected items.csv, items.parquet or similar in {folder}. Add it there, or name it "
            "with items=..."
        )
    table, titles = scan_table(interactions), scan_table(items)
    with reading(interactions):
        fields = table.collect_schema().names()
    with reading(items):
        has_category = "category" in titles.collect_schema()
    columns = {"category": "category"} if has_category else {}
    if "position" in fields and "timestamp" not in fields:
        columns["order"] = "position"
    return SourceTables(table, interactions, titles, items, name, "item", columns)


def _suffixes() -> set[str]:
    return {suffix_of(Path("table" + suffix)) for suffix in TABLE_SUFFIXES}


def _named(folder: Path, stem: str) -> Path | None:
    names = {stem + suffix for suffix in TABLE_SUFFIXES}
    # In any case, as on other systems. A link to nothing or a pipe is told when it is opened.
    return only_one(
        sorted(file for file in folder.iterdir() if file.name.lower() in names), what=stem
    )
