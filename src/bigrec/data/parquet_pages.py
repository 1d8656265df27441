"""How much a Parquet file decodes to, summed over the headers of its pages before it is decoded.

A page of few bytes may declare billions of values, whether or not the end of the file agrees.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bigrec.data.thrift import VALUE, Fields, ThriftReader
from bigrec.errors import DataError

_CURE = "The file is damaged: write or download it again."
_MAGIC = b"PAR1"
_TAIL_BYTES = 8
_MAX_DESCRIPTION_BYTES = 1 << 24
# Statistics in a header may hold a long text of the page, twice.
_HEADER_BYTES = (1 << 12, 1 << 20, 1 << 26)
_BOOLEAN, _INT96, _TEXT, _FIXED_SIZE = 0, 3, 6, 7
# A text's place in memory has 16 bytes, and shares its letters with others.
_BYTES_PER_VALUE = {_BOOLEAN: 1, _INT96: 16, _TEXT: 16}
_BYTES_PER_NUMBER = 8
_DELTA_TEXT = 7

# Compressed best, a row of distinct ids and some more columns takes a third of a byte.
_BYTES_PER_BYTE = 256
_FEW_BYTES = 1 << 26

_TYPE, _TYPE_LENGTH, _NAME, _N_CHILDREN = 1, 2, 4, 5
_LEAF: Fields = dict.fromkeys((_TYPE, _TYPE_LENGTH, _NAME, _N_CHILDREN), VALUE)
_BYTES_IN_FILE, _DATA_OFFSET, _DICTIONARY_OFFSET = 7, 9, 11
_CHUNK: Fields = {3: dict.fromkeys((_BYTES_IN_FILE, _DATA_OFFSET, _DICTIONARY_OFFSET), VALUE)}
_FOOTER: Fields = {2: _LEAF, 3: VALUE, 4: {1: _CHUNK, 3: VALUE}}
_DECODED, _STORED = 2, 3
# The header of a page by its kind: data of either version, or a dictionary.
_OF_KIND = {5: {1: VALUE, 2: VALUE}, 7: {1: VALUE, 2: VALUE}, 8: {1: VALUE, 4: VALUE}}
_PAGE: Fields = {_DECODED: VALUE, _STORED: VALUE, **_OF_KIND}


class _Column(NamedTuple):
    """A column of plain values.

    Attributes:
        name: Of the table's column that it is a part of.
        bytes_per_value: Size of a value in memory, without texts.
    """

    name: str
    bytes_per_value: int


def most_bytes(path: Path) -> int:
    """The most bytes that a table in a sound file of this size decodes to."""
    return _FEW_BYTES + _BYTES_PER_BYTE * path.stat().st_size


def check_pages(
    path: Path, *, columns: Collection[str] | None = None, further_bytes: int = 0
) -> None:
    """Refuse a file that decodes to far more than a sound one does, without decoding it.

    Args:
        path: The file.
        columns: Names of the columns that will be read; None for all.
        further_bytes: Bytes beyond `most_bytes` that are expected of this file.

    Raises:
        DataError: If it is no Parquet file, or decodes to more.
        OSError: If it cannot be read.
    """
    size, left = path.stat().st_size, most_bytes(path) + further_bytes
    with path.open("rb") as stream:
        try:
            for column, chunk in _chunks(_footer(stream, size)):
                if columns is not None and column.name not in columns:
                    continue
                for decoded in _pages(stream, chunk, column, size):
                    left -= decoded
                    if left < 0:
                        raise DataError(
                            f"up to column {column.name[:100]!r} its {size:,} bytes decode to more "
                            f"than {most_bytes(path) + further_bytes:,}, which those of a sound "
                            "table do not. Do not use a file of unknown origin."
                        )
        except (TypeError, AttributeError):
            raise DataError(f"its description has values of other types. {_CURE}") from None


def row_groups(path: Path) -> list[int]:
    """Number of rows of every row group, each of which is decoded as a whole.

    Raises:
        DataError: If it is no Parquet file.
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        groups = _footer(stream, path.stat().st_size).get(4, [])
    counts = [group.get(3, -1) for group in groups]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise DataError(f"it does not tell the rows of its row groups. {_CURE}")
    return counts


def _chunks(footer: dict[int, Any]) -> Iterator[tuple[_Column, dict[int, Any]]]:
    """The parts of all columns, each with the description of where it is."""
    columns = _columns(footer.get(2, []))
    for group in footer.get(4, []):
        chunks = group.get(1, [])
        if len(chunks) != len(columns):
            raise DataError(f"it describes {len(chunks)} parts of {len(columns)} columns. {_CURE}")
        for column, chunk in zip(columns, chunks, strict=True):
            yield column, chunk.get(3, {})


def _footer(stream: BinaryIO, size: int) -> dict[int, Any]:
    """The description at the end of a file."""
    stream.seek(max(0, size - _TAIL_BYTES))
    tail = stream.read(_TAIL_BYTES)
    if size < _TAIL_BYTES + len(_MAGIC) or not tail.endswith(_MAGIC):
        raise DataError(f"it does not end as a Parquet file does. {_CURE}")
    length = int.from_bytes(tail[:4], "little")
    if length > min(size - _TAIL_BYTES, _MAX_DESCRIPTION_BYTES):
        raise DataError(f"its description has {length:,} bytes. {_CURE}")
    stream.seek(size - _TAIL_BYTES - length)
    return ThriftReader(stream.read(length)).struct(_FOOTER)


def _columns(elements: Sequence[dict[int, Any]]) -> list[_Column]:
    """The columns of plain values, from a tree in the order of its nodes."""
    columns = []
    # Children that are left at every level above, the root's first.
    left = [1]
    name = ""
    for element in elements:
        while left and not left[-1]:
            left.pop()
        if not left:
            raise DataError(f"its columns are no tree. {_CURE}")
        left[-1] -= 1
        if len(left) == 2:
            name = element.get(_NAME, b"").decode("utf-8", errors="replace")
        if children := element.get(_N_CHILDREN, 0):
            left.append(children)
        elif len(left) > 1:
            kind = element.get(_TYPE, -1)
            width = _BYTES_PER_VALUE.get(kind, _BYTES_PER_NUMBER)
            if kind == _FIXED_SIZE:
                width = max(width, element.get(_TYPE_LENGTH, 0))
            columns.append(_Column(name, width))
    return columns


def _pages(stream: BinaryIO, chunk: dict[int, Any], column: _Column, size: int) -> Iterator[int]:
    """Bytes that each page of a part of a column decodes to."""
    start = chunk.get(_DICTIONARY_OFFSET, chunk.get(_DATA_OFFSET, -1))
    end = start + chunk.get(_BYTES_IN_FILE, -1)
    if not 0 <= start <= end <= size:
        raise DataError(f"column {column.name[:100]!r} lies outside of the file. {_CURE}")
    while start < end:
        header, length = _header(stream, start, end)
        decoded, stored = header.get(_DECODED, -1), header.get(_STORED, -1)
        kinds = [header[kind] for kind in _OF_KIND if kind in header]
        counts = [kind.get(1, -1) for kind in kinds]
        if min(decoded, stored, *counts, 0) < 0:
            raise DataError(f"column {column.name[:100]!r} has a page of negative size. {_CURE}")
        if _DELTA_TEXT in {kind.get(place) for kind in kinds for place in (2, 4)}:
            raise DataError(
                f"column {column.name[:100]!r} is in the encoding DELTA_BYTE_ARRAY, whose size "
                "is not known before it is decoded. Write the file with a dictionary or plainly."
            )
        yield decoded + sum(counts) * column.bytes_per_value
        start += length + stored


def _header(stream: BinaryIO, start: int, end: int) -> tuple[dict[int, Any], int]:
    """The header of the page at a place, and its length."""
    for n_bytes in _HEADER_BYTES:
        stream.seek(start)
        content = stream.read(min(n_bytes, end - start))
        reader = ThriftReader(content)
        try:
            return reader.struct(_PAGE), reader.position
        except DataError:
            if len(content) < n_bytes or n_bytes == _HEADER_BYTES[-1]:
                raise
    raise DataError(f"a page has no header. {_CURE}")
