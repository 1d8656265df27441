"""Training checkpoints: when they are written, which of them are complete, and where one leads.

transformers writes a checkpoint file by file and removes old ones before the new one is complete.
Here a mark that is written last and removed first tells complete ones; the rest are removed.
"""

import re
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bigrec.printable import get_logger
from bigrec.storage import fingerprint, interrupts, read_json, write_json
from bigrec.storage.temporaries import flush, remove
from bigrec.types import IntArray, ProgressCallback

logger = get_logger(__name__)

_COMPLETE = "bigrec_complete"
_STATE = "trainer_state.json"
_TOKENS = "tokens.json"
_NAME = re.compile(r"checkpoint-(\d+)")


class CheckpointCallback(TrainerCallback):
    """Saves checkpoints by the clock and on Ctrl-C, marks complete ones, and reports progress.

    Args:
        save_every_s: Longest time between two checkpoints, in seconds, but for the evaluation at
            the end of an epoch.
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

    def saving_on_interrupt(self) -> AbstractContextManager[None]:
        """Within the block, the first Ctrl-C saves a checkpoint; the second stops at once."""
        if not self._single_process:
            return nullcontext()
        return interrupts.deferred(
            "Stopping after this step. Press Ctrl-C again to stop without saving."
        )

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
        # After the last step of an epoch comes its evaluation, and then a checkpoint anyway. A
        # training resumed from one before the evaluation would begin with the next epoch.
        ends_epoch = state.global_step % (state.max_steps // state.num_train_epochs) == 0
        is_due = time.monotonic() - self._saved_at > self._save_every_s
        if self._single_process and not ends_epoch and (interrupts.requested() or is_due):
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the checkpoint as complete, remove those it replaces, and stop after Ctrl-C."""
        # Every process writes its random state.
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir))
            _mark(folder / f"checkpoint-{state.global_step}")
            _remove_others(folder, keep={state.global_step, state.best_global_step})
        self._saved_at = time.monotonic()
        if interrupts.requested():
            raise KeyboardInterrupt

    def _report(self, state: TrainerState) -> None:
        if self._progress is not None and state.is_world_process_zero:
            self._progress(state.global_step, state.max_steps)


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        folder: Its folder.
        step: Optimizer steps before it.
        ends_training: Whether training had ended, by the last epoch or early.
    """

    folder: Path
    step: int
    ends_training: bool


def last_complete_checkpoint(folder: Path, *, is_main_process: bool = True) -> Checkpoint | None:
    """The newest complete checkpoint in a folder, or None. Incomplete ones are removed.

    Args:
        folder: Holds the checkpoints of a training; may have been moved since they were written.
        is_main_process: Whether this process may write to the folder.

    Raises:
        BundleError: If the checkpoint is damaged.
    """
    steps = {step: path for step, path in _checkpoints(folder).items() if _is_complete(path)}
    if is_main_process:
        _remove_others(folder, keep=set(steps))
    if not steps:
        return None
    step = max(steps)
    logger.info("Resuming training after step %d", step)
    state = read_json(steps[step] / _STATE)
    best = state.get("best_global_step")
    if is_main_process and best in steps and state["best_model_checkpoint"] != str(steps[best]):
        write_json(steps[step] / _STATE, {**state, "best_model_checkpoint": str(steps[best])})
    control = state["stateful_callbacks"]["TrainerControl"]["args"]
    return Checkpoint(steps[step], step, ends_training=bool(control["should_training_stop"]))


def keeps_tokens(folder: Path, ids: IntArray) -> bool:
    """Whether the checkpoints of a training have the embeddings of these tokens alone.

    Without checkpoints it is noted that those to come do. Checkpoints that have others are removed.

    Args:
        folder: Holds the checkpoints.
        ids: The tokens, ``[v]``.

    Returns:
        False for checkpoints that have the embeddings of the whole vocabulary.

    Raises:
        BundleError: If the note is damaged.
        StorageError: If the folder cannot be written.
    """
    note, tokens = folder / _TOKENS, {"tokens": fingerprint(ids.tolist())}
    has_note = note.exists()
    if has_note and read_json(note) == tokens:
        return True
    if any(map(_is_complete, _checkpoints(folder).values())):
        if not has_note:
            return False
        logger.warning(
            "Training starts anew: the checkpoints in %s are of other examples or titles.", folder
        )
        _remove_others(folder, keep=set())
    write_json(note, tokens)
    return True


def _checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints of a folder by their steps; other names are somebody's copies."""
    paths = ((_NAME.fullmatch(path.name), path) for path in folder.glob("checkpoint-*"))
    return {int(match[1]): path for match, path in paths if match}


def _is_complete(checkpoint: Path) -> bool:
    return (checkpoint / _COMPLETE).exists()


def _mark(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, once all of it is on the disk."""
    for path in (*checkpoint.rglob("*"), checkpoint):
        flush(path)
    (checkpoint / _COMPLETE).touch()
    flush(checkpoint)


def _remove_others(folder: Path, *, keep: set[int | None] | set[int]) -> None:
    for step, path in _checkpoints(folder).items():
        if step not in keep:
            (path / _COMPLETE).unlink(missing_ok=True)
            remove(path)
