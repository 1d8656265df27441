"""A stage of an experiment: its folder, its completion record, and its timings."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bigrec.data.remote import is_address, path_or_stamps
from bigrec.memory import peak_bytes
from bigrec.recommender.throughput import Throughput
from bigrec.settings.sections import SourceSettings
from bigrec.storage import file_digest, read_json, write_json

DONE = "done.json"
TIMINGS = "timings.json"


@dataclass(frozen=True)
class Stage:
    """The folder of one stage."""

    folder: Path

    @property
    def is_complete(self) -> bool:
        """Whether the stage is complete. An incomplete stage is resumed."""
        return (self.folder / DONE).is_file()

    @property
    def info(self) -> Mapping[str, Any]:
        """What `finish` stored; empty for an incomplete stage."""
        return dict(read_json(self.folder / DONE)) if self.is_complete else {}

    @property
    def seconds(self) -> float:
        """Wall-clock time of the call that completed it; 0 if none did."""
        return float(self.info.get("seconds", 0.0))

    def finish(self, started: float, *, throughput: Throughput | None = None, **info: Any) -> None:
        """Mark the stage as complete, and update the workspace's ``timings.json``.

        Args:
            started: When this call began, by ``time.monotonic``.
            throughput: How fast its units were processed.
            info: Stored with it, JSON-like.
        """
        record: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1)}
        if throughput is not None and throughput.per_s is not None:
            record |= {
                "unit": throughput.unit,
                "done": throughput.done,
                "per_s": round(throughput.per_s, 3),
            }
        record["peak_mib"] = round(peak_bytes() / 2**20)
        write_json(self.folder / DONE, {**record, **info})
        workspace = self.folder.parent
        write_json(workspace / TIMINGS, read_timings(workspace))


def read_timings(workspace: Path) -> dict[str, Any]:
    """Records of all complete stages in a workspace, in the order of their completion."""
    files = sorted(workspace.glob(f"*-*/{DONE}"), key=lambda file: file.stat().st_mtime_ns)
    return {file.parent.name: read_json(file) for file in files}


def source_key(source: SourceSettings) -> Any:
    """What a dataset depends on: its settings and the contents of its files, wherever they are."""
    values = source.model_dump(mode="json", include=set(SourceSettings.model_fields))
    names = {key: values[key] and Path(values[key]).name for key in ("source", "items")}
    return [{**values, **names}, file_stamps(source.source), file_stamps(source.items)]


def file_stamps(name: str | None) -> list[Any]:
    """Name and digest of the files at a path or an address; empty if it is neither.

    Digests and not times: a copy of the data, or a fresh checkout, is no reason to train again.
    """
    at = path_or_stamps(name) if name is not None and is_address(name) else name
    if isinstance(at, list):
        return at
    files = [] if at is None else _files(Path(at))
    return [[file.name, _digest(file, file.stat().st_mtime_ns)] for file in files]


@cache
def _digest(file: Path, time_ns: int) -> str:  # noqa: ARG001 - the time makes a changed file new
    return file_digest(file)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    return [path] if path.is_file() else []
