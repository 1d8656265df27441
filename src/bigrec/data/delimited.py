"""CSV and TSV files: every row is read as text, or the file is refused with line and character.

Python's csv module in strict mode says what a file holds. Polars, which is ten times as fast, reads
blocks in which no two parsers could differ: no quotes, and as many fields in every line.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import polars as pl

from bigrec.data.csv_rows import Dialect, iter_rows
from bigrec.data.files import BOM, LINE_END, Block, iter_blocks
from bigrec.data.lazy import lazy_text
from bigrec.errors import DataError

_BATCH_ROWS = 50_000
_MAX_LINE_BYTES = 1 << 26
_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_QUOTED_NAME = re.compile(f'"[^"]*"([{re.escape("".join(_NAMES))}])')


def scan_delimited(
    path: Path, dialect: Dialect, *, names: Sequence[str] | None = None
) -> pl.LazyFrame:
    """Open a table of text columns without reading it. Empty fields are null.

    Args:
        path: The file, gzipped or not.
        dialect: How its fields are written.
        names: The columns of a file without a header.

    Raises:
        DataError: If there is no header, or it repeats a name. Reading the frame raises it for any
            row with more or fewer fields than the header, and for quotes that do not pair up.
    """
    header = read_header(path, dialect) if names is None else list(names)

    def batches(selected: Sequence[str]) -> Iterator[pl.DataFrame]:
        blocks = iter_blocks(path, max_line_bytes=_MAX_LINE_BYTES)
        return _batches(blocks, dialect, header, selected, has_header=names is None)

    return lazy_text(header, batches)


def read_header(path: Path, dialect: Dialect) -> list[str]:
    """Names of the columns; those without one are numbered.

    Raises:
        DataError: If there are none, another character separates them, or a name is repeated.
    """
    names = _first_row(path, dialect)
    if names is None:
        raise DataError("it is empty: expected a line with the names of the columns, then rows.")
    if names[0].lower().startswith("sep="):
        raise DataError(
            f"its first line is {dialect.separator.join(names)!r}, which spreadsheets alone read: "
            "expected the names of the columns. Remove the line."
        )
    others = [mark for mark in _NAMES if mark in names[0] and mark != dialect.separator]
    if len(names) == 1 and others:
        raise _other_separator(others[0], dialect)
    check_different(names)
    return [name or f"column {number}" for number, name in enumerate(names, start=1)]


def check_different(names: Sequence[str]) -> None:
    """Refuse columns of one name; those without one do not count.

    Raises:
        DataError: If so.
    """
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise DataError(
            f"several columns are named {', '.join(map(repr, repeated))}: expected another name "
            "for every column. Rename or remove them."
        )


def _first_row(path: Path, dialect: Dialect) -> list[str] | None:
    """The first row; None if there is none."""
    blocks = iter_blocks(path, max_line_bytes=_MAX_LINE_BYTES)
    block = next(blocks, None)
    if block is None:
        return None
    try:
        return next(iter_rows(chain([block], blocks), dialect), None)
    except DataError:
        # Quoted names with another character between them are no damage.
        first = LINE_END.split(block.content.decode("utf-8").lstrip(), maxsplit=1)[0]
        match = _QUOTED_NAME.match(first)
        if match is None or match[1] == dialect.separator or dialect.separator in first:
            raise
        raise _other_separator(match[1], dialect) from None


def _other_separator(found: str, dialect: Dialect) -> DataError:
    return DataError(
        f"its fields are separated by {_NAMES[found]}: expected {_NAMES[dialect.separator]}. "
        f"Convert it with polars.read_csv(path, separator={found!r}, infer_schema=False)"
        f".write_csv(new_path, separator={dialect.separator!r})."
    )


def _batches(
    blocks: Iterator[Block],
    dialect: Dialect,
    header: Sequence[str],
    selected: Sequence[str],
    *,
    has_header: bool,
) -> Iterator[pl.DataFrame]:
    for block in blocks:
        skip = int(has_header and block.line == 1)
        if not _is_plain(block.content, dialect, len(header)):
            # From here on, a quoted field may reach into the next block.
            like = "the header" if has_header else "all rows"
            rows = iter_rows(chain([block], blocks), dialect, width=len(header), like=like)
            yield from _frames(islice(rows, skip, None), header, selected)
            return
        content = block.content.replace(b"\r\n", b"\n")
        if skip:
            content = content.partition(b"\n")[2]
        if content:
            yield _plain_frame(content, dialect, header, selected)


def _is_plain(content: bytes, dialect: Dialect, width: int) -> bool:
    """Whether every line has ``width`` fields, whoever reads it."""
    if width == 1 or (dialect.has_quotes and b'"' in content):
        return False
    if content.count(b"\r") != content.count(b"\r\n"):
        return False
    # Polars skips a byte order mark at its beginning, which is a part of the first field here.
    if BOM in content:
        return False
    codes = np.frombuffer(content, dtype=np.uint8)
    is_end = codes == ord("\n")
    # Whether it is a line's end that ends a field, for each field but that of a last open line.
    ends_line = is_end[is_end | (codes == ord(dialect.separator))]
    if not content.endswith(b"\n"):
        ends_line = np.append(ends_line, True)
    n_lines = int(ends_line.sum())
    return n_lines * width == len(ends_line) and bool(ends_line[width - 1 :: width].all())


def _plain_frame(
    content: bytes, dialect: Dialect, header: Sequence[str], selected: Sequence[str]
) -> pl.DataFrame:
    frame = pl.read_csv(
        io.BytesIO(content),
        has_header=False,
        separator=dialect.separator,
        quote_char=None,
        schema=dict.fromkeys(header, pl.String),
        columns=[header.index(name) for name in selected],
    )
    return frame.select(selected)


def _frames(
    rows: Iterator[list[str]], header: Sequence[str], selected: Sequence[str]
) -> Iterator[pl.DataFrame]:
    positions = {name: header.index(name) for name in selected}
    while batch := list(islice(rows, _BATCH_ROWS)):
        columns = {
            name: [row[position] or None for row in batch] for name, position in positions.items()
        }
        yield pl.DataFrame(columns, schema=dict.fromkeys(selected, pl.String))
