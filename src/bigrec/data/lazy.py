"""Lazy frames whose rows Python reads, only the selected columns of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl
from polars.io.plugins import register_io_source

Batches = Callable[[Sequence[str]], Iterator[pl.DataFrame]]
"""From the names of selected columns to their rows, in order."""


def lazy_source(schema: Mapping[str, pl.DataType], batches: Batches) -> pl.LazyFrame:
    """A lazy frame.

    Args:
        schema: Names and types of all columns.
        batches: Reads the rows. Its errors reach the caller of ``collect`` unchanged.
    """

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG001 - of the protocol
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for batch in batches(with_columns or list(schema)):
            frame = batch if left is None else batch.head(left)
            yield frame if predicate is None else frame.filter(predicate)
            if left is not None:
                left -= frame.height
                if not left:
                    return

    return register_io_source(source, schema=pl.Schema(schema))


def lazy_text(names: Sequence[str], batches: Batches) -> pl.LazyFrame:
    """A lazy frame of text columns, see `lazy_source`."""
    return lazy_source(dict.fromkeys(names, pl.String()), batches)
