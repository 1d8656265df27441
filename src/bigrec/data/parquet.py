"""Parquet files. Polars panics at some damaged ones, and shows that on stderr before it raises."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from bigrec.data.lazy import lazy_source

_STDERR = 2


def scan_parquet(path: Path) -> pl.LazyFrame:
    """Open a Parquet file without reading its rows.

    Raises:
        polars.exceptions.PolarsError: If it is damaged; so does reading the frame.
    """
    with no_panic_shown():
        schema = pl.scan_parquet(path, glob=False).collect_schema()

    def batches(selected: Sequence[str]) -> Iterator[pl.DataFrame]:
        with no_panic_shown():
            frame = pl.scan_parquet(path, glob=False).select(selected).collect()
        yield frame

    return lazy_source(schema, batches)


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
