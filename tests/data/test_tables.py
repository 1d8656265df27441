import gzip
from pathlib import Path

import polars as pl
import pytest

from bigrec.data.tables import (
    first_fields,
    first_line,
    only_one,
    read_lines,
    reading,
    scan_table,
    stem_of,
    suffix_of,
)
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
    frame = scan_table(path, schema={"a": pl.String()}).collect()
    assert frame.rows() == [("x",), (None,)]


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"t\.xlsx is not a table of a known format: .* \.csv, \.tsv"
    ):
        scan_table(tmp_path / "t.xlsx")


def test_suffix_and_stem_ignore_gz() -> None:
    assert suffix_of(Path("a.b.CSV.gz")) == ".csv"
    assert suffix_of(Path("plain")) == ""
    assert stem_of(Path("Video_Games_5.json.gz")) == "Video_Games_5"


def test_a_line_that_is_no_json_object_has_no_fields(tmp_path: Path) -> None:
    assert first_fields(write(tmp_path / "a.json", "not json\n")) == set()
    assert first_fields(write(tmp_path / "b.json", "[1]\n")) == set()


def test_the_first_line_excludes_the_line_end(tmp_path: Path) -> None:
    assert first_line(write(tmp_path / "a.txt", "one\r\ntwo\r\n")) == "one"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_lines_are_read_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.txt", "caf\u00e9\r\nb\n".encode(encoding))
    assert read_lines(path) == ["caf\u00e9", "b"]


def test_a_character_that_only_looks_like_a_line_end_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a\x85b\xe9\n".encode("latin-1"))
    assert read_lines(path) == ["a\x85b\xe9"]


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt could not be read: .*No such file"):
        read_lines(tmp_path / "a.txt")


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
    with pytest.raises(DataError, match=rf"{name} could not be read: .*undamaged"), reading(path):
        scan_table(path).collect()


def test_a_truncated_gzip_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "t.json.gz"
    path.write_bytes(gzip.compress(b"{}" * 999, mtime=0)[:-12])
    with pytest.raises(DataError, match=r"t\.json\.gz could not be read: Compressed file ended"):
        first_line(path)


def test_a_data_error_is_reported_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(DataError, match=r"t\.csv: no rows"), reading(path):
        raise DataError("no rows")


def test_one_file_is_returned_and_several_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    assert only_one([], what="reviews") is None
    assert only_one([first], what="reviews") == first
    with pytest.raises(DataError, match=r"holds 2 files of reviews: a\.csv, b\.csv\. Give the"):
        only_one([first, second], what="reviews")
