"""What a language model makes of queries, stored in parts, so that an interrupted call resumes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import polars as pl

from bigrec.errors import BundleError
from bigrec.storage import atomic_file
from bigrec.storage.arrays import read_arrays, write_arrays
from bigrec.types import FloatArray, GeneratedText, ProgressCallback

_HISTORIES_PER_PART = 64

Texts = list[list[GeneratedText]]
"""Generated texts of every history, most probable first."""

_QueryT = TypeVar("_QueryT")
_QueryT_contra = TypeVar("_QueryT_contra", contravariant=True)
_ResultT = TypeVar("_ResultT")
_ResultT_co = TypeVar("_ResultT_co", covariant=True)


class Compute(Protocol[_QueryT_contra, _ResultT_co]):
    """Computes something of histories, a row for each."""

    def __call__(
        self, histories: Sequence[_QueryT_contra], /, *, progress: ProgressCallback | None = None
    ) -> _ResultT_co:
        """The rows, in the order of the histories."""
        ...


@dataclass(frozen=True)
class PartFormat(Generic[_ResultT]):
    """How a part is stored.

    Attributes:
        suffix: Suffix of its file.
        write: Writes a part.
        read: Reads a part.
        join: Joins all parts.
    """

    suffix: str
    write: Callable[[Path, _ResultT], None]
    read: Callable[[Path], _ResultT]
    join: Callable[[list[_ResultT]], _ResultT]


def compute_in_parts(
    compute: Compute[_QueryT, _ResultT],
    histories: Sequence[_QueryT],
    part_format: PartFormat[_ResultT],
    *,
    folder: Path | None,
    progress: ProgressCallback | None = None,
) -> _ResultT:
    """Compute part by part; parts that are in the folder are read. Without a folder, all at once.

    Args:
        compute: Computes the rows of some histories.
        histories: At least one: item numbers of each, or examples.
        part_format: `TEXTS`, `STATES` or `EFFORTS`.
        folder: Holds one file for each part; None stores nothing.
        progress: Called with (histories done, histories in total).

    Raises:
        BundleError: If a part is damaged.
        StorageError: If the folder cannot be written.
    """
    if folder is None:
        return compute(histories, progress=progress)
    parts: list[_ResultT] = []
    for start in range(0, len(histories), _HISTORIES_PER_PART):
        file = folder / f"part-{start // _HISTORIES_PER_PART:05d}{part_format.suffix}"
        if not file.is_file():
            part = histories[start : start + _HISTORIES_PER_PART]
            shifted = None
            if progress is not None:
                shifted = _shifted(progress, by=start, total=len(histories))
            part_format.write(file, compute(part, progress=shifted))
        parts.append(part_format.read(file))
    return part_format.join(parts)


def _shifted(progress: ProgressCallback, *, by: int, total: int) -> ProgressCallback:
    """Progress of a part as progress of the whole."""
    return lambda done, _: progress(by + done, total)


def _write_texts(file: Path, texts: Texts) -> None:
    frame = pl.DataFrame(
        {
            "texts": [[text.text for text in beams] for beams in texts],
            "log_probs": [[text.log_prob for text in beams] for beams in texts],
        }
    )
    with atomic_file(file) as temporary:
        frame.write_parquet(temporary)


def _read_texts(file: Path) -> Texts:
    try:
        frame = pl.read_parquet(file, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{file} is damaged: {error}. Remove it to have it made again.") from None
    return [
        [GeneratedText(text, log_prob) for text, log_prob in zip(*row, strict=True)]
        for row in frame.select("texts", "log_probs").iter_rows()
    ]


TEXTS: PartFormat[Texts] = PartFormat(
    ".parquet", _write_texts, _read_texts, lambda parts: [beams for part in parts for beams in part]
)
"""Generated texts as Parquet files."""


def _arrays(name: str) -> PartFormat[FloatArray]:
    """Arrays of a name as safetensors files."""
    return PartFormat(
        ".safetensors",
        lambda file, rows: write_arrays(file, {name: rows}),
        lambda file: read_arrays(file)[name],
        np.concatenate,
    )


STATES = _arrays("states")
"""States ``[q, d]`` float32 as safetensors files."""

EFFORTS = _arrays("efforts")
"""Efforts ``[m]`` float32 as safetensors files."""

INFLUENCES = _arrays("influences")
"""Influences ``[m]`` float32 as safetensors files."""
