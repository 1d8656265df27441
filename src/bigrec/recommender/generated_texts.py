"""Generated texts stored in parts, so that interrupted generation resumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import polars as pl

from bigrec.errors import BundleError
from bigrec.storage import atomic_file
from bigrec.types import GeneratedText, IntArray, ProgressCallback

_HISTORIES_PER_PART = 64


class WriteTexts(Protocol):
    """Writes texts for histories."""

    def __call__(
        self, histories: Sequence[IntArray], *, progress: ProgressCallback | None = None
    ) -> list[list[GeneratedText]]:
        """Texts of each history, most probable first."""
        ...


def generate_in_parts(
    write: WriteTexts,
    histories: Sequence[IntArray],
    *,
    folder: Path,
    progress: ProgressCallback | None = None,
) -> list[list[GeneratedText]]:
    """Generate texts part by part; parts that are in the folder are read.

    Args:
        write: Generates the texts of some histories.
        histories: Item numbers of each, ``q`` of them.
        folder: Holds one Parquet file for each part.
        progress: Called with (histories done, histories in total).

    Raises:
        BundleError: If a part is damaged.
        StorageError: If the folder cannot be written.
    """
    texts: list[list[GeneratedText]] = []
    for start in range(0, len(histories), _HISTORIES_PER_PART):
        file = folder / f"part-{start // _HISTORIES_PER_PART:05d}.parquet"
        if not file.is_file():
            part = histories[start : start + _HISTORIES_PER_PART]
            shifted = None
            if progress is not None:
                shifted = _shifted(progress, by=start, total=len(histories))
            _write_part(file, write(part, progress=shifted))
        texts += _read_part(file)
    return texts


def _shifted(progress: ProgressCallback, *, by: int, total: int) -> ProgressCallback:
    """Progress of a part as progress of the whole."""
    return lambda done, _: progress(by + done, total)


def _write_part(file: Path, texts: Sequence[Sequence[GeneratedText]]) -> None:
    frame = pl.DataFrame(
        {
            "texts": [[text.text for text in beams] for beams in texts],
            "log_probs": [[text.log_prob for text in beams] for beams in texts],
        }
    )
    with atomic_file(file) as temporary:
        frame.write_parquet(temporary)


def _read_part(file: Path) -> list[list[GeneratedText]]:
    try:
        frame = pl.read_parquet(file, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{file} is damaged: {error}. Remove it to have it made again.") from None
    return [
        [GeneratedText(text, log_prob) for text, log_prob in zip(*row, strict=True)]
        for row in frame.select("texts", "log_probs").iter_rows()
    ]
