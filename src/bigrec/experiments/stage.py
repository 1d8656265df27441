"""A stage of a run: its folder, what it depends on, and how generated texts are kept in it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from bigrec.errors import BundleError
from bigrec.memory import peak_bytes
from bigrec.settings.sections import SourceSettings
from bigrec.storage import atomic_file, file_digest, read_json, write_json
from bigrec.types import GeneratedText, Progress

DONE = "done.json"
TIMINGS = "timings.json"


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

    def finish(self, started: float, *, pace: "Pace | None" = None, **info: Any) -> None:
        """Mark the stage as done, and note what it took in the run's ``timings.json``.

        Args:
            started: When this call began, by ``time.monotonic``.
            pace: How fast the stage's units went.
            info: Whatever else belongs to the stage.
        """
        took: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1)}
        if pace is not None and pace.per_s is not None:
            took |= {"unit": pace.unit, "done": pace.done, "per_s": round(pace.per_s, 3)}
        took["peak_mib"] = round(peak_bytes() / 2**20)
        write_json(self.folder / DONE, {**took, **info})
        run = self.folder.parent
        write_json(run / TIMINGS, read_timings(run))


class Pace:
    """A `Progress` that passes on what it is told and keeps how fast it went.

    Time counts from the first call to the last, so that loading and what an earlier call had done
    do not.

    Args:
        unit: What is counted.
        progress: Told the same.
        times: Units in each one that progress counts.
    """

    def __init__(self, unit: str, progress: Progress, *, times: int = 1) -> None:
        self.unit = unit
        self._progress = progress
        self._times = times
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)

    def __call__(self, done: int, total: int) -> None:
        """Take notice of units done and units in all."""
        self._last = (done, time.monotonic())
        self._first = self._first or self._last
        self._progress(done, total)

    @property
    def done(self) -> int:
        """Units that were timed."""
        return 0 if self._first is None else (self._last[0] - self._first[0]) * self._times

    @property
    def per_s(self) -> float | None:
        """Units in a second; None where fewer than two calls came."""
        if self._first is None or self._last[1] <= self._first[1] or not self.done:
            return None
        return self.done / (self._last[1] - self._first[1])


def read_timings(run: Path) -> dict[str, Any]:
    """What every finished stage in a run folder took, in the order in which they ended."""
    files = sorted(run.glob(f"*-*/{DONE}"), key=lambda file: file.stat().st_mtime_ns)
    return {file.parent.name: read_json(file) for file in files}


def source_key(source: SourceSettings) -> Any:
    """What a dataset depends on: its settings and what its files hold, wherever they are."""
    values = source.model_dump(mode="json", include=set(SourceSettings.model_fields))
    names = {key: values[key] and Path(values[key]).name for key in ("source", "items")}
    return [{**values, **names}, stamps(source.source), stamps(source.items)]


def stamps(name: str | None) -> list[Any]:
    """Name and digest of the files at a path; none where it is no path.

    Digests and not times: a copy of the data, or a fresh checkout, is no reason to train again.
    """
    files = [] if name is None else _files(Path(name))
    return [[file.name, _digest(file, file.stat().st_mtime_ns)] for file in files]


@cache
def _digest(file: Path, time_ns: int) -> str:  # noqa: ARG001 - the time makes a changed file new
    return file_digest(file)


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
