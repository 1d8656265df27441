import gzip
from pathlib import Path

import polars as pl
import pytest

from bigrec.data.files import reading
from bigrec.data.tables import first_fields, only_one, scan_table
from bigrec.errors import DataError


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    return path


def collected(path: Path) -> list[tuple[object, ...]]:
    return scan_table(path).collect().rows()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'a,b\n007,"x, y"\n'),
        ("t.csv", '\ufeffa,b\n007,"x, y"\n'),
        ("t.csv.gz", 'a,b\n007,"x, y"\n'),
        ("t.tsv", "a\tb\n007\tx, y\n"),
        ("t.jsonl", '{"a": "007", "b": "x, y"}\n'),
        ("t.jsonl.gz", '{"a": "007", "b": "x, y"}\n'),
        ("t.ndjson", '{"a": "007", "b": "x, y"}\n'),
        ("t.json", '{"a": "007", "b": "x, y"}\n'),
        ("t.json", '[{"a": "007", "b": "x, y"}]'),
    ],
)
def test_a_text_table_is_read_as_text(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, content)
    assert collected(path) == [("007", "x, y")]
    assert first_fields(path) == {"a", "b"}


def test_a_parquet_table_is_read(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "t.parquet")
    assert collected(tmp_path / "t.parquet") == [(1,)]
    assert first_fields(tmp_path / "t.parquet") == set()


def test_fields_outside_the_schema_may_differ_in_type(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", '{"a": "x", "p": 1}\n{"p": [2], "q": {}}\n')
    frame = scan_table(path, columns=["a"]).collect()
    assert frame.rows() == [("x",), (None,)]


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"t\.xlsx is not a table of a known format: .* \.csv, \.tsv"
    ):
        scan_table(tmp_path / "t.xlsx")


def test_a_line_that_is_no_json_object_has_no_fields(tmp_path: Path) -> None:
    assert first_fields(write(tmp_path / "a.json", "not json\n")) == set()
    assert first_fields(write(tmp_path / "b.json", "[1]\n")) == set()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"a\n\xe9\n"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9]),
        ("t.jsonl", b'{"a": 1}\nnot json\n'),
        ("t.parquet", b"no parquet"),
    ],
)
def test_a_damaged_table_is_reported_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}( could not be read)?: "), reading(path):
        scan_table(path).collect()


def test_one_file_is_returned_and_several_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    assert only_one([], what="reviews") is None
    assert only_one([first], what="reviews") == first
    with pytest.raises(DataError, match=r"holds 2 files of reviews: a\.csv, b\.csv\. Give the"):
        only_one([first, second], what="reviews")
