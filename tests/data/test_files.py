import gzip
import os
from pathlib import Path

import pytest

from bigrec.data.files import (
    check_regular,
    iter_blocks,
    read_lines,
    reading,
    stem_of,
    suffix_of,
)
from bigrec.errors import DataError


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught, reading(path):
        list(iter_blocks(path))
    return str(caught.value)


def test_suffix_and_stem_ignore_gz() -> None:
    assert suffix_of(Path("a.b.CSV.gz")) == ".csv"
    assert suffix_of(Path("A.CSV.GZ")) == ".csv"
    assert suffix_of(Path("plain")) == ""
    assert stem_of(Path("Video_Games_5.json.gz")) == "Video_Games_5"


def test_blocks_hold_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigrec.data.files.BLOCK_BYTES", 4)
    path = write(tmp_path / "a.txt", "\ufeffone\ntwo\n\nthree")
    blocks = list(iter_blocks(path))
    assert b"".join(block.content for block in blocks) == b"one\ntwo\n\nthree"
    assert [(block.line, block.content) for block in blocks][-1] == (4, b"three")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_lines_are_read_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.txt", "caf\u00e9\r\n\nb\rc\n".encode(encoding))
    assert read_lines(path) == [(1, "caf\u00e9"), (3, "b"), (4, "c")]


def test_a_line_in_another_encoding_changes_none_of_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "caf\u00e9\n".encode() + "\u00e9\n".encode("latin-1"))
    assert read_lines(path) == [(1, "caf\u00e9"), (2, "\u00e9")]


def test_lines_with_nul_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a\nb\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"a\.txt: line 1, character 2: there is a NUL byte"):
        read_lines(path)


def test_a_character_that_only_looks_like_a_line_end_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a\x85b\xe9\n".encode("latin-1"))
    assert read_lines(path) == [(1, "a\x85b\xe9")]


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt could not be read: .*No such file"):
        read_lines(tmp_path / "a.txt")


def test_latin_1_is_told_with_line_and_character(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "a.csv", "a\nbé,café".encode("latin-1")))
    assert message.endswith(
        "a.csv: line 2, character 2: the byte 0xe9 is not UTF-8. Save the file as UTF-8; it may be "
        "in Latin-1 (Windows-1252)."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n".encode("utf-16"), "it is in UTF-16: save it as UTF-8."),
        ("a,b\n".encode("utf-32"), "it is in UTF-32: save it as UTF-8."),
        ("a,b\n".encode("utf-16-le"), "line 1, character 2: there is a NUL byte. Save the file as"),
        (gzip.compress(b"a,b\n", mtime=0), "compressed with gzip: its name has to end in .gz"),
        (b"PK\x03\x04 rest", "a zip archive or a spreadsheet: unpack it, or export"),
        (b"\xd0\xcf\x11\xe0 rest", "a spreadsheet of an older format: export the sheet as CSV"),
        (b"ARROW1\0\0", "an Arrow file (Feather): write it as Parquet"),
        (b"SQLite format 3\0", "a database of SQLite: export the table as CSV"),
        (b"<?xml version='1.0'?>", "an XML file and no table: export it as CSV"),
        (b"PAR1 rest", "a Parquet file: its name has to end in .parquet"),
        (b"\n<!DOCTYPE html>\n", "a web page and no data: download the file itself"),
    ],
)
def test_another_format_is_told_by_its_first_bytes(
    tmp_path: Path, content: bytes, message: str
) -> None:
    for name in ("a.csv", "b.csv.gz"):
        assert message in refusal(write(tmp_path / name, content))


@pytest.mark.parametrize("damage", [slice(0, -12), slice(0, 20)])
def test_a_cut_gzip_file_is_told(tmp_path: Path, damage: slice) -> None:
    path = tmp_path / "t.json.gz"
    path.write_bytes(gzip.compress(os.urandom(999), mtime=0)[damage])
    assert "t.json.gz could not be read: Compressed file ended" in refusal(path)


def test_a_damaged_gzip_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    raw = bytearray(gzip.compress(b"a,b\n" * 999, mtime=0))
    raw[12] ^= 0xFF
    path.write_bytes(raw)
    assert "t.csv.gz could not be read: Error -3 while decompressing" in refusal(path)
    path.write_bytes(b"not gzip")
    assert "t.csv.gz: its name ends in .gz, but it is not compressed with gzip" in refusal(path)
    path.write_bytes(gzip.compress(b"a,b\n", mtime=0) + b"more")
    assert "could not be read: Not a gzipped file" in refusal(path)


def test_pipes_folders_and_devices_are_told_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path, kind in (
        (tmp_path / "pipe.csv", "a pipe"),
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "a device"),
    ):
        with pytest.raises(DataError, match=f"it is {kind}: expected a file. Save the data"):
            check_regular(path)
        assert f"it is {kind}" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a")
    path.chmod(0)
    assert "a.csv could not be read: [Errno 13] Permission denied" in refusal(path)


def test_a_data_error_is_reported_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(DataError, match=r"t\.csv: no rows"), reading(path):
        raise DataError("no rows")


def test_an_error_without_a_text_is_told_by_its_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="read: RecursionError"), reading(tmp_path / "a.json"):
        raise RecursionError


def test_a_file_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b.csv"
    with pytest.raises(DataError) as caught, reading(path), reading(path):
        raise DataError("it is empty.")
    assert str(caught.value) == f"{tmp_path}/a\\x1b.csv: it is empty."
