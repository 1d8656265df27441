"""Reader of the sample data: what the members of an invented film club watched.

``benchmarks/sample.py`` made it and tells its story.
"""

from pathlib import Path

from bigrec.data.tables import SourceTables, scan_table

SHORT_NAME = "sample"
LOOKS_FOR = f"the short name {SHORT_NAME!r}"

FOLDER = Path(__file__).parents[1] / "sample"
INTERACTIONS, ITEMS = "interactions.csv.gz", "items.csv"


def read(source: Path, items: Path | None) -> SourceTables | None:
    """The sample's tables, if the source is its folder, else None."""
    if source != FOLDER:
        return None
    interactions, items = FOLDER / INTERACTIONS, items or FOLDER / ITEMS
    return SourceTables(
        scan_table(interactions),
        interactions,
        scan_table(items),
        items,
        name=SHORT_NAME,
        item_type="film",
        columns={"category": "genre"},
        item_columns=("genre", "year", "in_stock"),
    )
