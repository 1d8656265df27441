"""Data files as bytes and text: opened, decompressed and checked before anything reads them."""

import gzip
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, cast

import polars as pl

from bigrec.errors import DataError, reason_of

BLOCK_BYTES = 1 << 22
LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line of a data file, as for Python's csv module."""

BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 64

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_GZIP = b"\x1f\x8b"
_UTF16 = "in UTF-16: save it as UTF-8"
_UTF32 = "in UTF-32: save it as UTF-8"
# First bytes of files that are no text in UTF-8, and the cure. UTF-32 begins as UTF-16 does, and
# comes first.
_SIGNATURES = {
    b"\xff\xfe\0\0": _UTF32,
    b"\0\0\xfe\xff": _UTF32,
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    _GZIP: "compressed with gzip: its name has to end in .gz, once for each time",
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or export the sheet as CSV in UTF-8",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it or compress it with gzip",
    b"\xfd7zXZ": "compressed with xz: unpack it or compress it with gzip",
    b"BZh": "compressed with bzip2: unpack it or compress it with gzip",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"\x04\x22\x4d\x18": "compressed with lz4: unpack it or compress it with gzip",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of an older format: export the sheet as CSV in UTF-8",
    b"ARROW1\0\0": "an Arrow file (Feather): write it as Parquet",
    b"SQLite format 3\0": "a database of SQLite: export the table as CSV",
    b"\x89HDF\r\n": "an HDF5 file: write the table as Parquet or CSV",
    b"<?xml": "an XML file and no table: export it as CSV",
    b"PAR1": "a Parquet file: its name has to end in .parquet",
    b"<!doctype": "a web page and no data: download the file itself",
    b"<html": "a web page and no data: download the file itself",
    b"version https://git-lfs": "a pointer of Git LFS: get the file itself with git lfs pull",
}


class Block(NamedTuple):
    """Whole lines of a text file.

    Attributes:
        line: Number of its first line, from 1.
        content: Valid UTF-8 without NUL.
    """

    line: int
    content: bytes


def suffix_of(path: Path) -> str:
    """The last suffix, ``.gz`` aside: ``.csv`` for ``a.b.csv.gz``."""
    return Path(_unpacked_name(path)).suffix.lower()


def stem_of(path: Path) -> str:
    """The name without its suffixes: ``Video_Games_5`` for ``Video_Games_5.json.gz``."""
    return Path(_unpacked_name(path)).stem


def _unpacked_name(path: Path) -> str:
    return path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name


def check_readable(path: Path) -> None:
    """Check that a path is a file on disk, and none whose first bytes tell another format.

    Raises:
        DataError: If it is something else.
        OSError: If there is nothing or no access.
    """
    with _open(path):
        pass


def check_regular(path: Path) -> None:
    """Check that a path is a file on disk. Reading a pipe or a device may wait forever.

    Raises:
        DataError: If it is something else.
        OSError: If there is nothing or no access.
    """
    mode = path.stat().st_mode
    kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)
    if kind is not None:
        raise DataError(f"it is {kind}: expected a file. Save the data to a file and name that.")


def iter_blocks(path: Path, *, max_line_bytes: int | None = None) -> Iterator[Block]:
    """Read a text file, gzipped or not, in blocks of whole lines; a byte order mark is skipped.

    Args:
        path: The file.
        max_line_bytes: Refuse longer lines, if blocks do not end before that, without reading on.

    Raises:
        DataError: If it is no text in UTF-8, with the line and the character.
        OSError: If it cannot be read.
    """
    line, rest = 1, b""
    with _open(path) as stream:
        for read in chain(iter(lambda: stream.read(BLOCK_BYTES), b""), (None,)):
            content = rest if read is None else rest + read
            end = len(content) if read is None else content.rfind(b"\n") + 1
            content, rest = content[:end], content[end:]
            if max_line_bytes is not None and len(rest) > max_line_bytes:
                number = line + content.count(b"\n")
                raise DataError(
                    f"line {number} has more than {max_line_bytes:,} bytes: expected lines that "
                    "end. It is no table, or was damaged: export it again."
                )
            if content:
                _check_text(content, line)
                yield Block(line, content)
                line += content.count(b"\n")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Non-empty lines of a text file, each in UTF-8 or else in Latin-1, as MovieLens has both.

    Returns:
        Each line with its number, from 1. A line ends as in a CSV file: with LF, CR LF or CR.

    Raises:
        DataError: If the file cannot be read or holds a NUL byte.
    """
    with reading(path), _open(path) as stream:
        raw = stream.read()
        _check_nul(raw, 1)
    # splitlines() would also split at characters that occur within lines of Latin-1 text.
    lines = enumerate(LINE_END.split(raw.decode("latin-1")), start=1)
    return [(number, _decoded(line)) for number, line in lines if line]


def _decoded(latin: str) -> str:
    """A line that was read as Latin-1, read as UTF-8 if it is that."""
    try:
        return latin.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return latin


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in every error of the block, once.

    Raises:
        DataError: With the path and the reason.
    """
    try:
        yield
    except DataError as error:
        if str(error).startswith(str(DataError(path))):
            raise
        # A frame of the file could not be read: what is damaged is the file.
        if isinstance(error.__cause__, OSError | pl.exceptions.PolarsError):
            raise _unreadable(path, error.__cause__) from error
        raise DataError(f"{path}: {error}") from error
    except (
        OSError,
        EOFError,
        zlib.error,
        RecursionError,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
    ) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} could not be read: {reason_of(error)}. Expected an undamaged "
        f"{suffix_of(path).removeprefix('.') or 'text'} file; download or export it again."
    )


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """The decompressed bytes of a file without a byte order mark.

    Raises:
        DataError: If it is no file on disk, or its first bytes tell another format.
    """
    check_regular(path)
    is_packed = path.name != _unpacked_name(path)
    with path.open("rb") as raw:
        magic = raw.read(len(_GZIP))
    if is_packed and magic not in {_GZIP, b""}:
        raise DataError(
            "its name ends in .gz, but it is not compressed with gzip. Rename it without .gz, as "
            "browsers unpack what they download, or get it again."
        )
    with gzip.open(path) if is_packed else path.open("rb") as stream:
        head = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
        for signature, what in _SIGNATURES.items():
            if head.lstrip().lower().startswith(signature.lower()):
                raise DataError(f"it is {what}.")
        if head.startswith(BOM):
            stream.read(len(BOM))
        yield cast("BinaryIO", stream)


def _check_text(content: bytes, line: int) -> None:
    _check_nul(content, line)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(
            content,
            error.start,
            line,
            f"the byte 0x{content[error.start]:02x} is not UTF-8. Save the file as UTF-8; it may "
            "be in Latin-1 (Windows-1252)",
        )


def _check_nul(content: bytes, line: int) -> None:
    nul = content.find(b"\0")
    if nul >= 0:
        _refuse(
            content,
            nul,
            line,
            "there is a NUL byte. Save the file as UTF-8 if it is in UTF-16, else export it again",
        )


def _refuse(content: bytes, position: int, line: int, reason: str) -> NoReturn:
    start = content.rfind(b"\n", 0, position) + 1
    character = len(content[start:position].decode("utf-8", errors="replace")) + 1
    line += content.count(b"\n", 0, position)
    raise DataError(f"line {line}, character {character}: {reason}.")
