"""Parquet files, whose size in memory is bounded before they are decoded.

Polars panics at some damaged ones, and shows that on stderr before it raises.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from bigrec.data.lazy import lazy_source
from bigrec.data.parquet_pages import check_pages, most_bytes
from bigrec.errors import DataError

_STDERR = 2


def scan_parquet(path: Path) -> pl.LazyFrame:
    """Open a Parquet file without reading its rows.

    Raises:
        DataError: If it decodes to far more than a sound file of its size; so does reading the
            frame.
        polars.exceptions.PolarsError: If it is damaged; so does reading the frame.
    """
    check_pages(path, columns=())
    with no_panic_shown():
        schema = pl.scan_parquet(path, glob=False).collect_schema()

    def batches(selected: Sequence[str]) -> Iterator[pl.DataFrame]:
        check_pages(path, columns=selected)
        with no_panic_shown():
            frame = pl.scan_parquet(path, glob=False).select(selected).collect()
        _check_texts(path, frame)
        yield frame

    return lazy_source(schema, batches)


def _check_texts(path: Path, frame: pl.DataFrame) -> None:
    """Refuse texts that are stored once and repeated so often that copies would fill the memory.

    Raises:
        DataError: If so.
    """
    texts = [column for column in frame if column.dtype == pl.String]
    size = sum(int(column.str.len_bytes().sum() or 0) for column in texts)
    if size > most_bytes(path):
        raise DataError(
            f"it repeats its texts up to {size:,} bytes; expected at most {most_bytes(path):,} of "
            "a file of its size. Do not use a file of unknown origin."
        )


@contextmanager
def no_panic_shown() -> Iterator[None]:
    """Hold back what is written to stderr, and drop it if the block fails.

    Raises:
        polars.exceptions.ComputeError: In place of a panic, which would be shown again by the query
            that the block is a part of.
    """
    try:
        shown = os.dup(_STDERR)
    except OSError:
        # There is no stderr to keep clean.
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
            held.seek(0)
            text = held.read()
        except pl.exceptions.PanicException as error:
            raise pl.exceptions.ComputeError(str(error)) from None
        finally:
            os.dup2(shown, _STDERR)
            os.close(shown)
    os.write(_STDERR, text)
