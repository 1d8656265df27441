"""JSON lines and JSON arrays of objects as tables of text.

The columns are the keys of the whole file, not of its beginning, and text holds every type: an id
may be a number in one line and a word in another.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl
from pydantic_core import from_json

from bigrec.data.columns import as_text
from bigrec.data.files import iter_blocks
from bigrec.data.lazy import lazy_text
from bigrec.errors import DataError

_BATCH_ROWS = 50_000
_EXPECTED = "Expected one JSON object in each line, or one array of objects"


_Object = Mapping[str, Any]


def scan_json(path: Path, *, columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """Open a table of text columns.

    Lists become "a > b", other nested values JSON; missing keys, null and NaN are null. Lines may
    also be Python literals, as in the Amazon metadata of 2014.

    Args:
        path: JSON lines or one array of objects, gzipped or not.
        columns: Keys to read, in the file or not; None takes all keys of the file, for which it is
            read.

    Raises:
        DataError: With the line, if it holds anything else.
    """
    if columns is None:
        _check_rows(next(iter_objects(path), {}))
    names = list(columns) if columns is not None else _keys(iter_objects(path))

    def batches(selected: Sequence[str]) -> Iterator[pl.DataFrame]:
        return _frames(iter_objects(path), selected)

    return lazy_text(names, batches)


def json_keys(path: Path) -> list[str]:
    """Keys of the first object.

    Raises:
        DataError: If there is no object.
    """
    return _keys(islice(iter_objects(path), 1))


def parse_json(content: bytes) -> Any:
    """Parse JSON of bounded depth.

    Raises:
        DataError: With line, character and reason.
    """
    try:
        return from_json(content)
    except ValueError as error:
        raise DataError(f"{_fault(content, error, 1)}.") from None


def _check_rows(first: _Object) -> None:
    nested = [key for key, value in first.items() if isinstance(value, list | dict)]
    if nested and len(nested) == len(first):
        raise DataError(
            f"its first object holds lists or objects alone, under {', '.join(nested[:5])}: "
            f"columns, or rows within an object. {_EXPECTED}, as pandas writes with "
            "orient='records'."
        )


def _keys(objects: Iterable[_Object]) -> list[str]:
    names = list(dict.fromkeys(chain.from_iterable(objects)))
    if not names:
        raise DataError(f"there is no object with a key. {_EXPECTED}.")
    return names


def iter_objects(path: Path) -> Iterator[_Object]:
    """Objects of a file with their values as they are.

    Args:
        path: JSON lines or one array of objects, gzipped or not.

    Raises:
        DataError: With the line, if it holds anything else.
    """
    blocks = iter_blocks(path)
    first = next(blocks, None)
    if first is None:
        return
    blocks = chain([first], blocks)
    if first.content.lstrip().startswith(b"["):
        yield from _array(b"".join(block.content for block in blocks))
        return
    for block in blocks:
        for line, content in enumerate(block.content.split(b"\n"), start=block.line):
            if content.strip(b" \t\r"):
                yield _object(content, line)


def _array(content: bytes) -> Iterator[_Object]:
    for number, value in enumerate(parse_json(content), start=1):
        if not isinstance(value, dict):
            raise DataError(f"element {number} is {value!r:.40}. {_EXPECTED}.")
        yield value


def _object(content: bytes, line: int) -> _Object:
    try:
        value = from_json(content)
    except ValueError as error:
        fault = _fault(content, error, line)
        # Damaged JSON may happen to be Python, but not with a key in single quotes.
        if not content.lstrip().startswith((b"{'", b"{u'")):
            raise DataError(f"{fault}. {_EXPECTED}.") from None
        value = _literal(content, fault)
    if not isinstance(value, dict):
        raise DataError(f"line {line} is {value!r:.40}. {_EXPECTED}.")
    return value


def _fault(content: bytes, error: ValueError, first_line: int) -> str:
    """What pydantic's parser says, with a place that counts characters, not bytes."""
    match = re.fullmatch(r"(.*) at line (\d+) column (\d+)", str(error))
    reason, line, column = match.groups() if match else (str(error), "1", "1")
    before = content.split(b"\n")[int(line) - 1][: int(column)]
    character = max(1, len(before.decode("utf-8", errors="ignore")))
    return f"line {first_line + int(line) - 1}, character {character}: {reason}"


def _literal(content: bytes, json_fault: str) -> Any:
    """A line of Python, as in the Amazon metadata of 2014."""
    try:
        with warnings.catch_warnings(action="ignore"):
            value = ast.literal_eval(content.decode("utf-8").strip())
        # A lone surrogate, which Python can write and UTF-8 cannot.
        json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise DataError(f"{json_fault}. {_EXPECTED}.") from None
    if not isinstance(value, dict):
        return value
    return {str(key): part for key, part in value.items()}


def _frames(objects: Iterator[_Object], selected: Sequence[str]) -> Iterator[pl.DataFrame]:
    while batch := list(islice(objects, _BATCH_ROWS)):
        columns = {name: [as_text(row.get(name)) for row in batch] for name in selected}
        yield pl.DataFrame(columns, schema=dict.fromkeys(selected, pl.String))
