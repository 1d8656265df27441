"""Formats of tables: how to write them, and what other programs than bigrec read from them."""

import csv
import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]

from bigrec.data.columns import as_text

Rows = list[dict[str, Any]]
Held = Rows | int | None
"""What another program reads: the rows, or their number if it says no more; None if damaged."""

# A Parquet file that pyarrow does not read. Polars may: their readers differ in what they skip.
UNSAID = -1


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        suffix: Ending of its name.
        write: From rows to the bytes of the file, not yet compressed.
        held: What another program reads from them.
    """

    suffix: str
    write: Callable[[Rows], bytes]
    held: Callable[[bytes], Held]

    @property
    def is_packed(self) -> bool:
        """Whether the file is compressed with gzip."""
        return self.suffix.endswith(".gz")


def _write_delimited(rows: Rows, separator: str) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def _held_delimited(raw: bytes, separator: str) -> Held:
    try:
        lines = io.StringIO(raw.decode("utf-8-sig"), newline="")
        read = [row for row in csv.reader(lines, delimiter=separator, strict=True) if row]
    except (UnicodeDecodeError, csv.Error):
        return None
    if not read or {len(row) for row in read} != {len(read[0])}:
        return [] if not read else None
    names = [name or f"column {number}" for number, name in enumerate(read[0], start=1)]
    return [
        {name: field or None for name, field in zip(names, row, strict=True)} for row in read[1:]
    ]


def _write_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _write_array(rows: Rows) -> bytes:
    return json.dumps(rows, indent=1).encode()


def _held_json(raw: bytes) -> Held:
    try:
        text = raw.decode("utf-8-sig")
        if text.lstrip(" \t\r\n").startswith("["):
            objects = json.loads(text)
        else:
            objects = [json.loads(line) for line in text.split("\n") if line.strip(" \t\r")]
    except ValueError:
        return None
    if not all(isinstance(row, dict) for row in objects):
        return None
    return [{key: as_text(value) for key, value in row.items()} for row in objects]


def _write_parquet(rows: Rows) -> bytes:
    texts = [{name: as_text(value) for name, value in row.items()} for row in rows]
    stream = io.BytesIO()
    pl.DataFrame(
        texts, schema=dict.fromkeys((name for row in texts for name in row), pl.String)
    ).write_parquet(stream)
    return stream.getvalue()


def _held_parquet(raw: bytes) -> Held:
    try:
        return int(pq.read_table(io.BytesIO(raw)).num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return UNSAID


FORMATS = {
    form.suffix: form
    for form in (
        Format(
            ".csv",
            partial(_write_delimited, separator=","),
            partial(_held_delimited, separator=","),
        ),
        Format(
            ".tsv",
            partial(_write_delimited, separator="\t"),
            partial(_held_delimited, separator="\t"),
        ),
        Format(
            ".csv.gz",
            partial(_write_delimited, separator=","),
            partial(_held_delimited, separator=","),
        ),
        Format(".jsonl", _write_lines, _held_json),
        Format(".jsonl.gz", _write_lines, _held_json),
        Format(".json", _write_array, _held_json),
        Format(".parquet", _write_parquet, _held_parquet),
    )
}
