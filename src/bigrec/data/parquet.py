"""Parquet files, whose size in memory is bounded before they are decoded.

Polars panics at some damaged ones, and shows that on stderr before it raises.
"""

import atexit
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, zip_longest
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import polars as pl

from bigrec.data.lazy import lazy_source
from bigrec.data.parquet_pages import check_pages, most_bytes, row_groups
from bigrec.errors import DataError

_DESCRIPTOR = 2
_PART_ROWS = 1 << 18


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
        return _with_few_texts(path, _parts(path, selected))

    return lazy_source(schema, batches)


def _parts(path: Path, selected: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Some row groups after the other."""
    starts = [0]
    for end in accumulate(row_groups(path)):
        if end >= starts[-1] + _PART_ROWS:
            starts.append(end)
    # The last part, which is empty where the one before ends the file, is open.
    for start, stop in zip_longest(starts, starts[1:]):
        with no_panic_shown():
            table = pl.scan_parquet(path, glob=False).select(selected)
            part = table.slice(start, None if stop is None else stop - start).collect()
        yield part


def _with_few_texts(path: Path, batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Refuse texts that are stored once and repeated so often that copies would fill the memory.

    Raises:
        DataError: If so, before copies can be made.
    """
    size, most = 0, most_bytes(path)
    for batch in batches:
        texts = [column for column in batch if column.dtype == pl.String]
        size += sum(int(column.str.len_bytes().sum() or 0) for column in texts)
        if size <= most:
            yield batch
    if size > most:
        raise DataError(
            f"it repeats its texts up to {size:,} bytes; expected at most {most:,} of a file of "
            "its size. Do not use a file of unknown origin."
        )


@contextmanager
def no_panic_shown() -> Iterator[None]:
    """Hold back what is written to stderr, and drop it if the block fails.

    Blocks of several threads may overlap: a file is read in the background of whoever asks for its
    rows. They hold stderr together.

    Raises:
        polars.exceptions.ComputeError: In place of a panic, which would be shown again by the query
            that the block is a part of.
    """
    _STDERR.hold()
    failed = True
    try:
        yield
        failed = False
    except pl.exceptions.PanicException as error:
        raise pl.exceptions.ComputeError(str(error)) from None
    finally:
        _STDERR.release(failed=failed)


class _Stderr:
    """What is written to stderr while somebody holds it goes to a temporary file."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._n_holders = 0
        self._has_failed = False
        self._shown: int | None = None
        self._held: BinaryIO | None = None

    def hold(self) -> None:
        """Begin to hold it, if nobody does."""
        with self._lock:
            self._n_holders += 1
            if self._n_holders > 1:
                return
            try:
                self._shown = os.dup(_DESCRIPTOR)
            except OSError:
                # There is no stderr to keep clean.
                return
            self._held = tempfile.TemporaryFile()  # noqa: SIM115 - the last holder closes it
            os.dup2(self._held.fileno(), _DESCRIPTOR)
            # Python's exit does not wait for the threads of polars.
            atexit.register(self.end)

    def release(self, *, failed: bool) -> None:
        """Let go of it. The last holder shows what was written, unless one has failed."""
        with self._lock:
            self._n_holders -= 1
            self._has_failed |= failed
            if not self._n_holders:
                self._show()

    def end(self) -> None:
        """Show what is held."""
        with self._lock:
            self._show()

    def _show(self) -> None:
        shown, held, has_failed = self._shown, self._held, self._has_failed
        self._shown, self._held, self._has_failed = None, None, False
        if shown is None or held is None:
            return
        atexit.unregister(self.end)
        os.dup2(shown, _DESCRIPTOR)
        os.close(shown)
        with held:
            held.seek(0)
            text = b"" if has_failed else held.read()
        os.write(_DESCRIPTOR, text)


_STDERR = _Stderr()
