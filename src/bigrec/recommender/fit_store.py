"""Where fitting stores its stages: the protocol, and a plain folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from bigrec.recommender.throughput import Throughput
from bigrec.recommender.training_data import EvalSplit

StageName = Literal[
    "effort",
    "influence",
    "finetune",
    "index",
    "retrieval",
    "text",
    "latent",
    "texts-valid",
    "texts-test",
    "texts-shuffled",
    "models",
]
TEXT_STAGES: Mapping[EvalSplit, StageName] = {
    "valid": "texts-valid",
    "test": "texts-test",
    "shuffled": "texts-shuffled",
}
"""The stage of each split's generated texts, or of its states with latent decoding."""


class FitStage(Protocol):
    """Where a stage of fitting is stored."""

    @property
    def folder(self) -> Path:
        """The stage's folder."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the stage is complete. An incomplete stage is resumed."""
        ...

    @property
    def info(self) -> Mapping[str, Any]:
        """What `finish` stored with a complete stage."""
        ...

    def finish(self, started: float, *, throughput: Throughput | None = None, **info: Any) -> None:
        """Mark the stage as complete.

        Args:
            started: When this call began, by ``time.monotonic``.
            throughput: How fast its units were processed.
            info: Stored with it, JSON-like.
        """
        ...


class FitStore(Protocol):
    """Where fitting stores its stages."""

    def stage(self, name: StageName) -> FitStage:
        """The place of a stage."""
        ...

    def previous_index(self) -> Path | None:
        """An item index made before, perhaps for another catalog, whose embeddings are reused."""
        ...

    def refit(self) -> "FitStore":
        """The store of the stages that are fitted once more, to training and validation."""
        ...


class FolderStore:
    """A plain folder: every stage is run again and resumes from what it finds of itself.

    Args:
        folder: Holds a folder for each stage.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stage(self, name: StageName) -> "_FolderStage":
        """See `FitStore`."""
        return _FolderStage(self._folder / name)

    def previous_index(self) -> None:
        """None: the folder is of one dataset."""

    def refit(self) -> "FolderStore":
        """See `FitStore`."""
        return FolderStore(self._folder / "refit")


class _FolderStage:
    """Never complete: nothing says what the folder's contents depend on."""

    is_complete = False
    info: Mapping[str, Any] = {}

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finish(self, started: float, *, throughput: Throughput | None = None, **info: Any) -> None:
        """Nothing is recorded."""
