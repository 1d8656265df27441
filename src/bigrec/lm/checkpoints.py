"""When training checkpoints are written, and which of them can be trusted."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bigrec.types import Progress

logger = logging.getLogger(__name__)

_COMPLETE = "bigrec_complete"


class Keeper(TrainerCallback):
    """Checkpoints by the clock and on Ctrl-C, marks whole ones, and reports progress."""

    def __init__(self, *, save_every_s: float, progress: Progress | None, alone: bool) -> None:
        self._save_every_s = save_every_s
        self._progress = progress
        # With several processes each would save at a moment of its own and wait for the others.
        self._alone = alone
        self._saved_at = time.monotonic()
        self._interrupted = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, the first Ctrl-C asks for a checkpoint; the second acts at once."""
        if not self._alone or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def ask(*_: object) -> None:
            self._interrupted = True
            signal.signal(signal.SIGINT, before)
            logger.warning("Stopping after this step. Press Ctrl-C again to stop without saving.")

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report where training starts."""
        self._report(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint when one is due."""
        self._report(state)
        late = time.monotonic() - self._saved_at > self._save_every_s
        if self._alone and (self._interrupted or late):
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the checkpoint as whole, and stop if asked to."""
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / _COMPLETE).touch()
        self._saved_at = time.monotonic()
        if self._interrupted:
            raise KeyboardInterrupt

    def _report(self, state: TrainerState) -> None:
        if self._progress is not None and state.is_world_process_zero:
            self._progress(state.global_step, state.max_steps)


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, or None."""
    whole = [
        (int(path.name.rpartition("-")[2]), path)
        for path in folder.glob("checkpoint-*")
        if (path / _COMPLETE).exists()
    ]
    if not whole:
        return None
    step, newest = max(whole)
    logger.info("Going on with training after step %d", step)
    return str(newest)
