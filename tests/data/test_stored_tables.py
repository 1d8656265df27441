"""Parquet files of a bundle: types and sizes are checked before values are read."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.stored_tables import read_table
from bigrec.errors import BundleError

IDS = {"item_id": pl.String}


def read(path: Path, frame: pl.DataFrame, **options: Any) -> pl.DataFrame:
    frame.write_parquet(path)
    return read_table(path, IDS, what="a table", **options)


def test_a_table_is_read_back(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": ["a", "b"], "note": [None, "x"]})
    assert read(tmp_path / "[a*].parquet", frame, optional={"note": pl.String}).equals(frame)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pl.DataFrame({"x": ["a"]}), "it has no column 'item_id'"),
        (pl.DataFrame({"item_id": ["a"], "x": [1]}), "it has a column 'x', which nothing reads"),
        (pl.DataFrame({"item_id": [1]}), "column 'item_id' holds Int64; expected String"),
        (pl.DataFrame({"item_id": [["a"]]}), r"holds List\(String\); expected String"),
        (pl.DataFrame({"item_id": ["a", None]}), "1 rows have no item_id"),
        (pl.DataFrame({"item_id": ["x" * 20_000_000]}), "holds 20,000,000 bytes of text"),
    ],
)
def test_another_table_is_told(tmp_path: Path, frame: pl.DataFrame, reason: str) -> None:
    with pytest.raises(BundleError, match=f"a could not be read as a table: .*{reason}"):
        read(tmp_path / "a", frame)


def test_millions_of_rows_in_a_small_file_are_refused_unread(tmp_path: Path) -> None:
    bomb = pl.DataFrame({"item_id": pl.repeat("x", 2_000_000, eager=True)})
    with pytest.raises(BundleError, match=r"it has 2,000,000 rows in [\d,]+ bytes, more than so"):
        read(tmp_path / "a", bomb)
    with pytest.raises(BundleError, match="it has 2,000,000 rows; expected 12"):
        read(tmp_path / "a", bomb, n_rows=12)
    # As many ids as compress best.
    ids = pl.DataFrame({"item_id": [f"{number:07d}" for number in range(200_000)]})
    assert len(read(tmp_path / "a", ids)) == 200_000


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a"
    pl.DataFrame({"item_id": ["a", "b"]}).write_parquet(path)
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "cut": content[:-5], "other": b"PAR1" * 9}[damage])
    with pytest.raises(BundleError, match="a could not be read as a table: "):
        read_table(path, IDS, what="a table")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"item_id": ["a", "a"], "title": ["x", "y"]}, "item 'a' has more than one row"),
        ({"item_id": ["a", "b"], "title": ["x", " "]}, "an item has no title"),
        ({"item_id": [], "title": []}, "it has no items"),
    ],
)
def test_a_catalog_has_items_with_titles_each_once(
    tmp_path: Path, columns: dict[str, list[str]], reason: str
) -> None:
    path = tmp_path / "catalog.parquet"
    pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).write_parquet(path)
    with pytest.raises(BundleError, match=f"could not be read as a catalog: {reason}"):
        Catalog.load(path)
