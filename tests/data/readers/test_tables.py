from pathlib import Path

import polars as pl
import pytest

from bigrec.data.readers.tables import read
from bigrec.errors import DataError


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def test_a_folder_of_interactions_and_items_is_found(tmp_path: Path) -> None:
    write(tmp_path, interactions_csv="user_id,item_id,timestamp\n", items_csv="item_id,title\n")
    tables = read(tmp_path, None)
    assert tables is not None
    assert tables.interactions_path == tmp_path / "interactions.csv"
    assert tables.items_path == tmp_path / "items.csv"
    assert (tables.name, tables.item_type) == (tmp_path.name, "item")
    assert tables.columns == {}


def test_names_are_found_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "Interactions.CSV").write_text("user_id,item_id,timestamp\n")
    (tmp_path / "ITEMS.csv").write_text("item_id,title\n")
    tables = read(tmp_path, None)
    assert tables is not None
    assert tables.interactions_path == tmp_path / "Interactions.CSV"
    assert tables.items_path == tmp_path / "ITEMS.csv"


def test_a_file_is_named_after_its_stem_and_finds_items_beside_it(tmp_path: Path) -> None:
    write(tmp_path, plays_csv="user_id\n", items_csv="item_id\n")
    tables = read(tmp_path / "plays.csv", None)
    assert tables is not None
    assert (tables.name, tables.items_path.name) == ("plays", "items.csv")


def test_named_items_are_taken(tmp_path: Path) -> None:
    write(tmp_path, plays_csv="user_id\n", items_csv="item_id\n", games_tsv="item_id\n")
    tables = read(tmp_path / "plays.csv", tmp_path / "games.tsv")
    assert tables is not None
    assert tables.items_path.name == "games.tsv"


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("user_id,item_id,position", {"order": "position"}),
        ("user_id,item_id,position,timestamp", {}),
    ],
)
def test_a_position_orders_only_without_a_timestamp(
    tmp_path: Path, header: str, columns: dict[str, str]
) -> None:
    write(tmp_path, interactions_csv=header, items_csv="item_id,title\n")
    tables = read(tmp_path, None)
    assert tables is not None
    assert tables.columns == columns


def test_a_category_column_is_taken_if_it_exists(tmp_path: Path) -> None:
    write(tmp_path, interactions_csv="user_id\n")
    pl.DataFrame({"item_id": [1], "category": ["K"]}).write_parquet(tmp_path / "items.parquet")
    tables = read(tmp_path, None)
    assert tables is not None
    assert tables.columns == {"category": "category"}


def test_other_folders_and_files_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, other_csv="a\n", notes_txt="a\n")
    assert read(tmp_path, None) is None
    assert read(tmp_path / "notes.txt", None) is None


def test_interactions_without_items_are_reported(tmp_path: Path) -> None:
    write(tmp_path, interactions_csv="user_id\n")
    with pytest.raises(DataError, match=r"no file of titles beside them: expected items\.csv"):
        read(tmp_path, None)


def test_two_files_of_interactions_are_refused(tmp_path: Path) -> None:
    write(tmp_path, interactions_csv="user_id\n", interactions_tsv="user_id\n")
    with pytest.raises(DataError, match="holds 2 files of interactions"):
        read(tmp_path, None)


def test_an_empty_file_is_reported(tmp_path: Path) -> None:
    write(tmp_path, interactions_csv="", items_csv="item_id\n")
    with pytest.raises(DataError, match=r"interactions\.csv: it is empty: expected a line"):
        read(tmp_path, None)
