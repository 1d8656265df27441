"""Rows of delimited text as Python's csv module reads them in strict mode, errors with their place.

The module itself names neither the line in which a row begins nor a character.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bigrec.data.files import LINE_END, Block
from bigrec.errors import DataError

_QUOTE_CURE = (
    'Enclose a field with a quote in quotes and write the quote twice ("a 14"" screen"), or export '
    "the file again."
)
# Lines in a quoted field that make it look like rows even if they begin with letters alone.
_MANY_LINES = 4


@dataclass(frozen=True)
class Dialect:
    """How the fields of a line are written.

    Attributes:
        separator: One ASCII character.
        has_quotes: Whether double quotes enclose fields; else they are text like any other.
    """

    separator: str
    has_quotes: bool = True


def iter_rows(
    blocks: Iterable[Block],
    dialect: Dialect,
    *,
    width: int | None = None,
    like: str = "the first row",
) -> Iterator[list[str]]:
    """The rows of a text. Blank lines are none.

    Args:
        blocks: The text; the first block begins a row.
        dialect: How fields are written.
        width: Number of fields of every row; by default that of the first row.
        like: What has this number of fields, for messages.

    Raises:
        DataError: With line and character, if a row has another number of fields, if quotes do not
            pair up, or if a quoted field holds lines that look like rows.
    """
    record: list[tuple[int, str]] = []
    reader = csv.reader(
        _recorded(blocks, record),
        delimiter=dialect.separator,
        quoting=csv.QUOTE_MINIMAL if dialect.has_quotes else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(_quote_fault(record, dialect, str(error))) from None
        if row is None:
            return
        if row:
            width = width or len(row)
            if len(row) != width:
                expected = f"{width}, like {like}"
                raise DataError(_wrong_width(record, dialect, len(row), width, expected))
            if len(record) > 1 and _holds_rows(record, dialect, width):
                raise DataError(_swallowed_rows(record, dialect))
            yield row
        record.clear()


def _recorded(blocks: Iterable[Block], record: list[tuple[int, str]]) -> Iterator[str]:
    """Physical lines, each added to ``record`` with its number."""
    for block in blocks:
        # Splits at every line end that the csv module knows, and keeps them as they are.
        lines = io.StringIO(block.content.decode("utf-8"), newline="")
        for number, line in enumerate(lines, start=block.line):
            record.append((number, line))
            yield line


def _quote_fault(record: list[tuple[int, str]], dialect: Dialect, reason: str) -> str:
    text = "".join(line for _, line in record)
    fields = _parse(text, dialect)
    if fields.fault is None:
        return f"line {record[0][0]}: {reason}. {_QUOTE_CURE}"
    opening = _place(record, fields.starts[-1])
    if fields.fault == len(text):
        limit = csv.field_size_limit()
        return (
            f"{opening}: a quote opens a field that does not end within {limit:,} characters or "
            f"before the end of the file. {_QUOTE_CURE}"
        )
    return (
        f"{_place(record, fields.fault)}: {text[fields.fault]!r} follows the quote that ends the "
        f"field from {opening}. Expected {dialect.separator!r} or the end of the line. "
        f"{_QUOTE_CURE}"
    )


def _wrong_width(
    record: list[tuple[int, str]], dialect: Dialect, found: int, width: int, expected: str
) -> str:
    text = "".join(line for _, line in record)
    starts = _parse(text, dialect).starts
    position = starts[width] if found > width else len(text.rstrip("\r\n"))
    quoting = (
        f" Text with {dialect.separator!r} or a line end in it is enclosed in double quotes."
        if dialect.has_quotes
        else ""
    )
    return (
        f"{_place(record, position)}: the row has {found} fields, expected {expected}.{quoting} "
        "Correct the line, or export the file again."
    )


def _holds_rows(record: list[tuple[int, str]], dialect: Dialect, width: int) -> bool:
    """Whether every line of a row looks like a row itself, as if two quotes were stray."""
    lines = [line.split(dialect.separator) for _, line in record]
    shapes = {_shape(fields[0]) for fields in lines}
    return (
        all(len(fields) == width for fields in lines)
        and len(shapes) == 1
        and ("0" in shapes.pop() or len(record) >= _MANY_LINES)
    )


def _shape(field: str) -> str:
    digits = re.sub(r"\d+", "0", field.strip(' "'))
    return re.sub(r"[^\W\d_]+", "a", digits)


def _swallowed_rows(record: list[tuple[int, str]], dialect: Dialect) -> str:
    text = "".join(line for _, line in record)
    starts = _parse(text, dialect).starts
    opening = next(start for start in starts if LINE_END.search(text, start) is not None)
    return (
        f"{_place(record, opening)}: a quoted field spans lines {record[0][0]} to "
        f"{record[-1][0]}, and every line of it looks like a row. {_QUOTE_CURE} If the field is "
        "meant, replace its line ends with spaces."
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """Where the fields of a row begin, and the first character that does not fit, if any."""

    starts: list[int]
    fault: int | None


def _parse(text: str, dialect: Dialect) -> _Fields:
    end_of_field = re.compile(f"[{re.escape(dialect.separator)}\r\n]|$")
    starts, position = [0], 0
    while True:
        if dialect.has_quotes and text.startswith('"', position):
            closed = re.compile(r'"(?:[^"]|"")*"(?!")').match(text, position)
            position = len(text) if closed is None else closed.end()
            if closed is None or not end_of_field.match(text, position):
                return _Fields(starts, position)
        else:
            position = end_of_field.search(text, position).start()  # type: ignore[union-attr]
        if text[position : position + 1] != dialect.separator:
            return _Fields(starts, None)
        position += 1
        starts.append(position)


def _place(record: list[tuple[int, str]], position: int) -> str:
    """The line and the character of a position in the text of a record."""
    for number, line in record:
        if position < len(line) or (number, line) == record[-1]:
            break
        position -= len(line)
    return f"line {number}, character {position + 1}"
