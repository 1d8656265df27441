"""The training loop of all networks: seeded, with early stopping and resumable."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from bigrec.lm.distributed import Processes
from bigrec.lm.divergence import diverged
from bigrec.lm.hardware import QuickProducts
from bigrec.lm.trackers import Report, ignore_figures
from bigrec.models.neural.arguments import TrainingArguments
from bigrec.models.neural.checkpoint import (
    TrainingState,
    load_checkpoint,
    random_states,
    save_checkpoint,
    set_random_states,
)
from bigrec.models.neural.dataset import SequenceDataset
from bigrec.models.neural.networks import SequenceNetwork
from bigrec.models.neural.reports import TrainingReports
from bigrec.models.neural.source import TrainingSource, spread_evenly
from bigrec.models.neural.validation import ndcg_at_10
from bigrec.printable import get_logger
from bigrec.storage import fingerprint, interrupts
from bigrec.types import ProgressCallback

logger = get_logger(__name__)

SAVE_EVERY_S = 300.0
"""Longest time between two checkpoints, in seconds, but for the validation after an epoch."""

_STOPPING = "Stopping after this step. Press Ctrl-C again to stop without saving."
_BETAS = (0.9, 0.98)
_MAX_GRADIENT_NORM = 1.0
# Warm-up of the cosine schedule, as a share of an epoch.
_WARM_UP = 0.1
# Distance of the epoch seeds of neighboring seeds, so that no two trainings share one.
_EPOCHS_PER_SEED = 1 << 20
_FIGURE = "ndcg@10"
_ALONE = Processes()


def train_network(
    network: SequenceNetwork,
    dataset: SequenceDataset,
    arguments: TrainingArguments,
    *,
    extra_sources: Sequence[TrainingSource] = (),
    stop_after: int | None = None,
    folder: Path | None = None,
    processes: Processes = _ALONE,
    report: Report = ignore_figures,
    progress: ProgressCallback | None = None,
) -> list[dict[str, float]]:
    """Train until validation NDCG@10 stops improving. The network gets its best weights.

    Patience starts once the network is better than popularity: some networks need epochs for
    that, and a chance hit among few validation queries would stop them too early.

    Torch's global random state is preserved.

    Args:
        network: Trained in place, on its device.
        dataset: Training sequences and validation queries.
        arguments: Hyperparameters.
        extra_sources: Sequences over further catalogs, whose networks share weights with this one
            and are trained with it. A batch is of one source. Validation is of ``dataset`` alone.
        stop_after: Train exactly so many epochs without validation and keep the last weights. The
            learning rate follows the schedule of ``arguments.epochs`` all the same.
        folder: Folder for a checkpoint, written after every epoch and at least every
            `SAVE_EVERY_S` seconds; training is resumed from it to the same bits.
        processes: Those that train together. Each computes the gradients of a share of every batch,
            and the sum is that of the batch. All call this with the same arguments; the first
            writes the checkpoints.
        report: Takes the figures of `TrainingReports`. A training that is resumed repeats those
            since its checkpoint.
        progress: Called with (targets done, targets in all epochs).

    Returns:
        ``epoch``, ``loss`` (mean over targets) and ``ndcg@10`` (validation) of every epoch. Epoch
        0, without a loss, is the untrained network, if it is useful. With ``stop_after`` there are
        no figures on validation.

    Raises:
        ModelError: If training diverges.
        StorageError: If the folder cannot be written.
        KeyboardInterrupt: On Ctrl-C, with a folder after a checkpoint is written.
    """
    trainer = _Trainer(
        network,
        dataset,
        arguments,
        extra_sources=extra_sources,
        stop_after=stop_after,
        folder=folder,
        processes=processes,
        report=report,
    )
    state = trainer.load()
    signals = nullcontext() if folder is None else interrupts.deferred(_STOPPING)
    with signals, QuickProducts():
        if stop_after is not None:
            while state.epoch < stop_after:
                trainer.run_epoch(state, progress)
            network.eval()
            return state.log
        if network.useful_untrained and not state.best:
            trainer.validate_untrained(state)
        while (
            state.epoch < arguments.epochs
            and state.epoch - state.patience_start < arguments.early_stopping_patience
        ):
            trainer.run_epoch(state, progress)
    network.load_state_dict(state.best)
    network.eval()
    return state.log


def selected_epoch(log: Sequence[Mapping[str, float]]) -> int | None:
    """The epoch whose weights `train_network` kept, from its log; None without validation."""
    validated = [entry for entry in log if _FIGURE in entry]
    if not validated:
        return None
    return int(max(validated, key=lambda entry: entry[_FIGURE])["epoch"])


class _Trainer:
    """A network with its data, its optimizer and the NDCG@10 that popularity reaches."""

    def __init__(
        self,
        network: SequenceNetwork,
        dataset: SequenceDataset,
        arguments: TrainingArguments,
        *,
        extra_sources: Sequence[TrainingSource],
        stop_after: int | None,
        folder: Path | None,
        processes: Processes,
        report: Report,
    ) -> None:
        self._folder = folder
        self._processes = processes
        self._saved_at = time.monotonic()
        self._network = network
        own = TrainingSource(network, dataset.users, dataset.items, arguments.n_negatives)
        self._sources = [own, *extra_sources]
        self._networks = [source.network for source in self._sources]
        self._arguments = arguments
        self._stop_after = stop_after
        self._device = network.device
        self._histories = dataset.histories.to(self._device)
        self._targets = dataset.targets.to(self._device)
        values = asdict(arguments)
        # Parts of a batch have the gradients of the whole.
        del values["forward_size"]
        further = [source.digest() for source in extra_sources]
        self._fingerprint = fingerprint(
            {
                "network": network.shape,
                "arguments": values,
                "dataset": dataset.digest(),
                **({} if stop_after is None else {"stop_after": stop_after}),
                **({"extra_sources": further} if further else {}),
            }
        )
        self._optimizer = torch.optim.AdamW(
            # Shared weights once.
            torch.nn.ModuleList(self._networks).parameters(),
            lr=arguments.learning_rate,
            betas=_BETAS,
            weight_decay=arguments.weight_decay,
        )
        self._targets_per_epoch = sum(source.n_targets for source in self._sources)
        self._epochs = arguments.epochs if stop_after is None else stop_after
        self._reports = TrainingReports(
            report, epochs=self._epochs, targets_per_epoch=self._targets_per_epoch
        )
        self._popularity_ndcg = ndcg_at_10(
            network,
            self._histories,
            self._targets,
            seen_excluded=arguments.exclude_seen,
            score=lambda histories: own.log_popularity.repeat(len(histories), 1),
        )

    def load(self) -> TrainingState:
        """Restore the folder's checkpoint, if there is one of this training."""
        if self._folder is None:
            return TrainingState()
        return load_checkpoint(
            self._folder,
            networks=self._networks,
            optimizer=self._optimizer,
            fingerprint=self._fingerprint,
        )

    def _save(self, state: TrainingState) -> None:
        """Write a checkpoint to the folder, and stop after Ctrl-C."""
        if self._folder is None:
            return
        if self._processes.index == 0:
            save_checkpoint(
                self._folder,
                state,
                networks=self._networks,
                optimizer=self._optimizer,
                fingerprint=self._fingerprint,
            )
        self._saved_at = time.monotonic()
        if interrupts.requested():
            raise KeyboardInterrupt

    def run_epoch(self, state: TrainingState, progress: ProgressCallback | None) -> None:
        """Train for an epoch, validate the weights where asked for, update and save ``state``."""
        self._train_epoch(state, progress)
        loss = state.loss_sum / state.n_targets
        state.epoch += 1
        state.n_batches, state.n_targets, state.loss_sum, state.random = 0, 0, 0.0, {}
        # A float, as it is once it was stored: the log of a resumed training is the same text.
        entry = {"epoch": float(state.epoch), "loss": loss}
        if self._stop_after is None:
            entry[_FIGURE] = self.validate(state)
            figure = entry[_FIGURE]
            logger.info("Epoch %d: loss %.4f, validation NDCG@10 %.4f", state.epoch, loss, figure)
        else:
            logger.info("Epoch %d: loss %.4f", state.epoch, loss)
        state.log.append(entry)
        self._save(state)

    def validate_untrained(self, state: TrainingState) -> None:
        """Validate the initial weights, logged as epoch 0."""
        ndcg = self.validate(state)
        state.log.append({"epoch": 0.0, _FIGURE: ndcg})
        logger.info("Untrained: validation NDCG@10 %.4f", ndcg)

    def validate(self, state: TrainingState) -> float:
        """Validation NDCG@10 of the current weights, stored in ``state`` if it is the best."""
        self._network.eval()
        ndcg = ndcg_at_10(
            self._network,
            self._histories,
            self._targets,
            seen_excluded=self._arguments.exclude_seen,
        )
        self._reports.add_validation(ndcg, epoch=state.epoch)
        if ndcg > state.best_ndcg or state.best_ndcg <= self._popularity_ndcg:
            state.patience_start = state.epoch
        if ndcg > state.best_ndcg or not state.best:
            state.best_ndcg = ndcg
            weights = self._network.state_dict()
            state.best = {name: weight.clone() for name, weight in weights.items()}
        return ndcg

    def _train_epoch(self, state: TrainingState, progress: ProgressCallback | None) -> None:
        """Train for one pass over all windows, or what is left of it."""
        for network in self._networks:
            network.train()
        epoch = state.epoch
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            # The seed of every epoch is different, so that its order needs no random state.
            torch.manual_seed(self._arguments.seed * _EPOCHS_PER_SEED + epoch + 1)
            done_before = epoch * self._targets_per_epoch
            for source, batch, epoch_share in self._batches(state):
                learning_rate = self._set_learning_rate(epoch + epoch_share)
                loss, n_targets = self._step(source, batch.to(self._device), epoch=epoch)
                state.n_batches += 1
                state.n_targets += n_targets
                state.loss_sum += loss
                targets_done = done_before + state.n_targets
                self._reports.add_batch(
                    loss, n_targets, targets_done=targets_done, learning_rate=learning_rate
                )
                if progress is not None:
                    progress(targets_done, self._epochs * self._targets_per_epoch)
                # After the last batch come the validation and then a checkpoint anyway.
                if epoch_share < 1 and self._is_save_due():
                    state.random = random_states(self._device)
                    self._save(state)

    def _is_save_due(self) -> bool:
        is_late = time.monotonic() - self._saved_at > SAVE_EVERY_S
        return self._folder is not None and (is_late or interrupts.requested())

    def _set_learning_rate(self, epochs_done: float) -> float:
        """Set and return the learning rate of the batch that ends at so many epochs."""
        arguments = self._arguments
        factor = min(1.0, epochs_done)
        if arguments.schedule == "cosine":
            cosine = math.cos(math.pi * (epochs_done / arguments.epochs))
            factor = min(1.0, epochs_done / _WARM_UP) * (1 + cosine) / 2
        learning_rate = arguments.learning_rate * factor
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = learning_rate
        return learning_rate

    def _batches(self, state: TrainingState) -> Iterator[tuple[TrainingSource, Tensor, float]]:
        """The batches of windows that are left of an epoch, each of one source.

        Yields:
            Each with its source, and the share of the epoch done after it.
        """
        batches = spread_evenly(
            [
                [(source, windows, numbers) for numbers in of_source]
                for source in self._sources
                for windows, of_source in [source.batches(batch_size=self._arguments.batch_size)]
            ]
        )
        set_random_states(state.random, self._device)
        done = state.n_batches
        if self._processes.index:
            # Not the dropout of another process's rows.
            torch.manual_seed((torch.initial_seed() + (self._processes.index << 48) + done) % 2**63)
        for count, (source, windows, numbers) in enumerate(batches[done:], start=done + 1):
            batch = windows.batch(numbers, padding=source.network.n_items)
            yield source, batch, count / len(batches)

    def _step(self, source: TrainingSource, batch: Tensor, *, epoch: int) -> tuple[float, int]:
        """Take one optimizer step; returns the summed loss and the number of targets."""
        # Weights of other sources alone are without a gradient, and the optimizer skips them.
        self._optimizer.zero_grad()
        loss, n_targets = source.set_gradients(batch, self._arguments, self._processes)
        norm = clip_grad_norm_(source.network.parameters(), _MAX_GRADIENT_NORM)
        if not bool(norm.isfinite()):
            raise diverged(f"epoch {epoch + 1}", learning_rate=self._arguments.learning_rate)
        self._optimizer.step()
        return loss, n_targets
