"""Training checkpoints: when they are written, and which of them are complete."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bigrec.printable import get_logger
from bigrec.types import ProgressCallback

logger = get_logger(__name__)

_COMPLETE = "bigrec_complete"


class CheckpointCallback(TrainerCallback):
    """Saves checkpoints by the clock and on Ctrl-C, marks complete ones, and reports progress.

    Args:
        save_every_s: Longest time between two checkpoints, in seconds.
        progress: Called with (steps done, steps in all).
        single_process: Whether no other process trains with this one. Several processes save at
            the end of an epoch only: by the clock, each would save at another step and wait for
            the others.
    """

    def __init__(
        self, *, save_every_s: float, progress: ProgressCallback | None, single_process: bool
    ) -> None:
        self._save_every_s = save_every_s
        self._progress = progress
        self._single_process = single_process
        self._saved_at = time.monotonic()
        self._interrupted = False

    @contextmanager
    def saving_on_interrupt(self) -> Iterator[None]:
        """Within the block, the first Ctrl-C saves a checkpoint; the second stops at once."""
        if not self._single_process or threading.current_thread() is not threading.main_thread():
            yield
            return
        previous_handler = signal.getsignal(signal.SIGINT)

        def request_save(*_: object) -> None:
            self._interrupted = True
            signal.signal(signal.SIGINT, previous_handler)
            logger.warning("Stopping after this step. Press Ctrl-C again to stop without saving.")

        signal.signal(signal.SIGINT, request_save)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous_handler)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report the first step."""
        self._report(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Request a checkpoint when one is due."""
        self._report(state)
        is_due = time.monotonic() - self._saved_at > self._save_every_s
        if self._single_process and (self._interrupted or is_due):
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the checkpoint as complete, and stop after Ctrl-C."""
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / _COMPLETE).touch()
        self._saved_at = time.monotonic()
        if self._interrupted:
            raise KeyboardInterrupt

    def _report(self, state: TrainerState) -> None:
        if self._progress is not None and state.is_world_process_zero:
            self._progress(state.global_step, state.max_steps)


def last_complete_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint in a folder, or None."""
    complete = [
        (int(path.name.rpartition("-")[2]), path)
        for path in folder.glob("checkpoint-*")
        if (path / _COMPLETE).exists()
    ]
    if not complete:
        return None
    step, newest = max(complete)
    logger.info("Resuming training after step %d", step)
    return str(newest)
