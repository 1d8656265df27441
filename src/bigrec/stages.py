"""A stage of a run: its folder, what it depends on, and how generated texts are kept in it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bigrec.errors import BundleError
from bigrec.files import atomic_file, read_json, write_json
from bigrec.settings import SourceSettings
from bigrec.types import GeneratedText

DONE = "done.json"


@dataclass(frozen=True)
class Stage:
    """One stage's folder."""

    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether the stage ended; an unfinished one can be gone on with."""
        return (self.folder / DONE).is_file()

    @property
    def seconds(self) -> float:
        """Wall-clock time of the call that ended it."""
        return float(read_json(self.folder / DONE)["seconds"]) if self.is_done else 0.0

    def finish(self, started: float, **info: Any) -> None:
        """Mark the stage as done."""
        seconds = round(time.monotonic() - started, 1)
        write_json(self.folder / DONE, {"seconds": seconds, **info})


def source_key(source: SourceSettings) -> Any:
    """What a dataset depends on: its settings and the files as they are now."""
    values = source.model_dump(mode="json", include=set(SourceSettings.model_fields))
    return [values, stamps(source.source), stamps(source.items)]


def stamps(name: str | None) -> list[Any]:
    """Name, size and time of the files at a path; none where it is no path."""
    files = [] if name is None else _files(Path(name))
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    return [path] if path.is_file() else []


def write_texts(path: Path, texts: Sequence[Sequence[GeneratedText]]) -> None:
    """Write generated texts as Parquet, whole or not at all."""
    frame = pl.DataFrame(
        {
            "texts": [[text.text for text in beams] for beams in texts],
            "log_probs": [[text.log_prob for text in beams] for beams in texts],
        }
    )
    with atomic_file(path) as temporary:
        frame.write_parquet(temporary)


def read_texts(path: Path) -> list[list[GeneratedText]]:
    """Read what `write_texts` wrote.

    Raises:
        BundleError: If the file is damaged.
    """
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{path} is damaged: {error}. Remove it to have it made again.") from None
    return [
        [GeneratedText(text, log_prob) for text, log_prob in zip(*row, strict=True)]
        for row in frame.select("texts", "log_probs").iter_rows()
    ]
