"""Data at addresses: read as on disk, with the messages of files on disk and no secrets in them."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest

from bigrec.data.histories import Histories
from bigrec.data.remote import is_address, on_disk, path_or_stamps, shown_address
from bigrec.data.sources import load_dataset
from bigrec.errors import DataError
from bigrec.experiments.stage import file_stamps
from tests.data.test_histories import EXPECTED, ROWS, as_dict

INTERACTIONS = "user_id,item_id,timestamp\n7,b,2\n7,a,1\n8,a,3\n"
ITEMS = "item_id,title,price\na,A,007\nb,B,8\n"


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def put(system: Any, files: dict[str, bytes | str]) -> None:
    for path, content in files.items():
        system.pipe_file(path, content.encode() if isinstance(content, str) else content)


@pytest.fixture
def folder(memory: Any, tmp_path: Path) -> tuple[str, Path]:
    """The same data at an address and on disk."""
    here = tmp_path / "club"
    here.mkdir()
    for name, content in (("interactions.csv", INTERACTIONS), ("items.csv", ITEMS)):
        (here / name).write_text(content)
        put(memory, {f"/data/club/{name}": content})
    put(memory, {"/data/club/notes.txt": "no data", "/data/club/deeper/items.csv": "x"})
    return "memory://data/club", here


@pytest.mark.parametrize("end", ["", "/", "/interactions.csv"])
@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_an_address_gives_the_dataset_of_the_files(
    folder: tuple[str, Path], end: str, protocol: str
) -> None:
    address = folder[0] if protocol == "memory" else f"file://{folder[1]}"
    expected = load_dataset(folder[1] / end.strip("/"))
    made = load_dataset(address + end)
    assert made.name == expected.name
    assert made.catalog.content_fingerprint == expected.catalog.content_fingerprint
    assert made.interactions.user_ids == expected.interactions.user_ids
    assert made.interactions.items.tolist() == expected.interactions.items.tolist()
    assert made.repairs.to_json() == expected.repairs.to_json()


def test_items_may_be_elsewhere(memory: Any, tmp_path: Path) -> None:
    put(memory, {"/a/clicks.csv.gz": gzip.compress(INTERACTIONS.encode()), "/b/names.csv": ITEMS})
    (tmp_path / "names.csv").write_text(ITEMS)
    (tmp_path / "clicks.csv").write_text(INTERACTIONS)
    for source, items in (
        ("memory://a/clicks.csv.gz", "memory://b/names.csv"),
        ("memory://a/clicks.csv.gz", tmp_path / "names.csv"),
        (tmp_path / "clicks.csv", "memory://b/names.csv"),
    ):
        made = load_dataset(source, items=items)
        assert made.catalog.titles == ["A", "B"]
        assert made.name == "clicks"


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_histories_are_read_from_an_address(memory: Any, tmp_path: Path, protocol: str) -> None:
    path = tmp_path / "histories.parquet"
    pl.DataFrame(ROWS).write_parquet(path)
    put(memory, {"/h/histories.parquet": path.read_bytes()})
    address = "memory://h/histories.parquet" if protocol == "memory" else f"file://{path}"
    assert as_dict(Histories.read(address)) == EXPECTED


def test_messages_name_the_address_and_no_copy(memory: Any) -> None:
    put(memory, {"/d/interactions.csv": "user_id,item_id\n7,b,9\n", "/d/items.csv": ITEMS})
    with pytest.raises(
        DataError, match=r"^memory://d/interactions\.csv: line 2, .* 3 fields"
    ) as it:
        load_dataset("memory://d", order="row")
    assert "bigrec-" not in str(it.value)
    put(memory, {"/e/histories.parquet": "no parquet"})
    with pytest.raises(DataError, match=r"^memory://e/histories\.parquet"):
        Histories.read("memory://e/histories.parquet")
    put(memory, {"/f/readme.csv": "a,b\n1,2\n"})
    with pytest.raises(DataError, match=r"no dataset was found in memory://f, which holds readme"):
        load_dataset("memory://f")


def test_what_is_not_there_is_told(memory: Any) -> None:
    for source in ("memory://no/such.csv", "memory://nothing"):
        with pytest.raises(
            DataError, match=f"^{source} does not exist: expected a folder or a file"
        ):
            load_dataset(source)


def test_a_missing_package_of_a_protocol_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_args: object, **_options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(DataError, match=r"for s3://, which is not installed \(Install s3fs") as it:
        load_dataset("s3://key:secret@bucket/data")
    assert "pip install 'bigrec[remote]'" in str(it.value)
    assert "secret" not in str(it.value)


def test_an_unknown_protocol_is_one_clear_error() -> None:
    with pytest.raises(DataError, match=r"gibberish:// is no known protocol\. Expected a path"):
        load_dataset("gibberish://bucket/data")


def test_failures_of_a_protocol_are_told_without_secrets(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OddError(Exception):
        pass

    def refuse(path: str, *_args: object) -> None:
        raise OddError(f"403 for https://me:pw@host/a.csv?token=hidden at {path}\nmore")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (memory, "/a.csv"))
    monkeypatch.setattr(memory, "get_file", refuse)
    with pytest.raises(DataError, match=r"^https://host/a\.csv could not be read: 403 for") as it:
        load_dataset("https://me:pw@host/a.csv?token=hidden")
    assert "hidden" not in str(it.value)
    assert "pw" not in str(it.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:pw@host/a/b.csv?sig=x#y", "https://host/a/b.csv"),
        ("s3://bucket/what?.csv", "s3://bucket/what?.csv"),
        ("s3://key:secret@bucket/a/", "s3://bucket/a"),
        ("s3://bucket/me@home.csv", "s3://bucket/me@home.csv"),
    ],
)
def test_an_address_is_shown_without_secrets(address: str, shown: str) -> None:
    assert shown_address(address) == shown


@pytest.mark.parametrize("path", ["a.csv", "/a//b.csv", "C:\\a.csv", "C://a", "sample", ""])
def test_a_path_is_no_address(path: str) -> None:
    assert not is_address(path)


def test_the_copy_is_removed_and_none_made_of_paths(folder: tuple[str, Path]) -> None:
    with on_disk(folder[0]) as (path, _):
        assert sorted(file.name for file in path.iterdir()) == ["interactions.csv", "items.csv"]
    assert not path.exists()
    with on_disk(folder[1]) as (path, _):
        assert path == folder[1]


def test_another_content_at_an_address_is_another_state(memory: Any, tmp_path: Path) -> None:
    put(memory, {"/d/items.csv": ITEMS})
    before = file_stamps("memory://d")
    assert file_stamps("memory://d") == before
    put(memory, {"/d/items.csv": ITEMS + "c,C,9\n"})
    assert file_stamps("memory://d") != before
    (tmp_path / "items.csv").write_text(ITEMS)
    assert file_stamps(f"file://{tmp_path}") == file_stamps(str(tmp_path))
    assert path_or_stamps(f"file://{tmp_path}") == tmp_path
