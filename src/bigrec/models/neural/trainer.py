"""The training loop of all networks: seeded, with early stopping and resumable."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from bigrec.lm.distributed import Processes
from bigrec.models.neural.arguments import TrainingArguments
from bigrec.models.neural.checkpoint import (
    TrainingState,
    load_checkpoint,
    random_states,
    save_checkpoint,
    set_random_states,
)
from bigrec.models.neural.dataset import SequenceDataset
from bigrec.models.neural.gradients import sum_gradients
from bigrec.models.neural.losses import (
    all_candidates,
    robust_loss,
    sampled_candidates,
    softmax_loss,
)
from bigrec.models.neural.networks import SequenceNetwork
from bigrec.models.neural.sequences import Windows, batches_by_length
from bigrec.models.neural.validation import ndcg_at_10
from bigrec.printable import get_logger
from bigrec.storage import fingerprint, interrupts
from bigrec.types import ProgressCallback

logger = get_logger(__name__)

SAVE_EVERY_S = 300.0
"""Longest time between two checkpoints, in seconds, but for the validation after an epoch."""

_STOPPING = "Stopping after this step. Press Ctrl-C again to stop without saving."
_MAX_CELLS = 1 << 26
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
    stop_after: int | None = None,
    folder: Path | None = None,
    processes: Processes = _ALONE,
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
        stop_after: Train exactly so many epochs without validation and keep the last weights. The
            learning rate follows the schedule of ``arguments.epochs`` all the same.
        folder: Folder for a checkpoint, written after every epoch and at least every
            `SAVE_EVERY_S` seconds; training is resumed from it to the same bits.
        processes: Those that train together. Each computes the gradients of a share of every batch,
            and the sum is that of the batch. All call this with the same arguments; the first
            writes the checkpoints.
        progress: Called with (targets done, targets in all epochs).

    Returns:
        ``epoch``, ``loss`` (mean over targets) and ``ndcg@10`` (validation) of every epoch. Epoch
        0, without a loss, is the untrained network, if it is useful. With ``stop_after`` there are
        no figures on validation.

    Raises:
        StorageError: If the folder cannot be written.
        KeyboardInterrupt: On Ctrl-C, with a folder after a checkpoint is written.
    """
    trainer = _Trainer(
        network, dataset, arguments, stop_after=stop_after, folder=folder, processes=processes
    )
    state = trainer.load()
    with nullcontext() if folder is None else interrupts.deferred(_STOPPING):
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
        stop_after: int | None,
        folder: Path | None,
        processes: Processes,
    ) -> None:
        self._folder = folder
        self._processes = processes
        self._saved_at = time.monotonic()
        self._network = network
        self._dataset = dataset
        self._arguments = arguments
        self._stop_after = stop_after
        self._device = network.device
        self._histories = dataset.histories.to(self._device)
        self._targets = dataset.targets.to(self._device)
        values = asdict(arguments)
        # Parts of a batch have the gradients of the whole.
        del values["forward_size"]
        self._fingerprint = fingerprint(
            {
                "network": network.shape,
                "arguments": values,
                "dataset": dataset.digest(),
                **({} if stop_after is None else {"stop_after": stop_after}),
            }
        )
        self._optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=arguments.learning_rate,
            betas=_BETAS,
            weight_decay=arguments.weight_decay,
        )
        # Every interaction but a user's first is a target once.
        self._targets_per_epoch = len(dataset.users) - len(np.unique(dataset.users))
        counts = torch.bincount(torch.from_numpy(dataset.items), minlength=network.n_items)
        # One more for every item, so that popularity can shift to any of them.
        shares = (counts + 1).double() / (counts + 1).sum()
        self._log_popularity = shares.log().float().to(self._device)
        self._popularity_ndcg = ndcg_at_10(
            network,
            self._histories,
            self._targets,
            seen_excluded=arguments.exclude_seen,
            score=lambda histories: self._log_popularity.repeat(len(histories), 1),
        )

    def load(self) -> TrainingState:
        """Restore the folder's checkpoint, if there is one of this training."""
        if self._folder is None:
            return TrainingState()
        return load_checkpoint(
            self._folder,
            network=self._network,
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
                network=self._network,
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
        if ndcg > state.best_ndcg or state.best_ndcg <= self._popularity_ndcg:
            state.patience_start = state.epoch
        if ndcg > state.best_ndcg or not state.best:
            state.best_ndcg = ndcg
            weights = self._network.state_dict()
            state.best = {name: weight.clone() for name, weight in weights.items()}
        return ndcg

    def _train_epoch(self, state: TrainingState, progress: ProgressCallback | None) -> None:
        """Train for one pass over all windows, or what is left of it."""
        self._network.train()
        epoch = state.epoch
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            # The seed of every epoch is different, so that its order needs no random state.
            torch.manual_seed(self._arguments.seed * _EPOCHS_PER_SEED + epoch + 1)
            epochs = self._arguments.epochs if self._stop_after is None else self._stop_after
            all_targets = epochs * self._targets_per_epoch
            for batch, epoch_share in self._batches(state):
                self._set_learning_rate(epoch + epoch_share)
                loss, n_targets = self._step(batch.to(self._device))
                state.n_batches += 1
                state.n_targets += n_targets
                state.loss_sum += loss
                if progress is not None:
                    progress(epoch * self._targets_per_epoch + state.n_targets, all_targets)
                # After the last batch come the validation and then a checkpoint anyway.
                if epoch_share < 1 and self._is_save_due():
                    state.random = random_states(self._device)
                    self._save(state)

    def _is_save_due(self) -> bool:
        is_late = time.monotonic() - self._saved_at > SAVE_EVERY_S
        return self._folder is not None and (is_late or interrupts.requested())

    def _set_learning_rate(self, epochs_done: float) -> None:
        """Set the learning rate of the batch that ends at a (fractional) number of epochs."""
        arguments = self._arguments
        factor = min(1.0, epochs_done)
        if arguments.schedule == "cosine":
            cosine = math.cos(math.pi * (epochs_done / arguments.epochs))
            factor = min(1.0, epochs_done / _WARM_UP) * (1 + cosine) / 2
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = arguments.learning_rate * factor

    def _batches(self, state: TrainingState) -> Iterator[tuple[Tensor, float]]:
        """The batches of windows that are left of an epoch, in random order.

        Yields:
            Each with the share of the epoch done after it.
        """
        windows = self._windows()
        n_targets = torch.ones(len(windows), dtype=torch.long)
        if self._network.predicts_all_positions:
            n_targets = windows.end - windows.first - 1
        batches = batches_by_length(
            windows.end - windows.first, n_targets, batch_size=self._arguments.batch_size
        )
        set_random_states(state.random, self._device)
        done = state.n_batches
        if self._processes.index:
            # Not the dropout of another process's rows.
            torch.manual_seed((torch.initial_seed() + (self._processes.index << 48) + done) % 2**63)
        for count, numbers in enumerate(batches[done:], start=done + 1):
            yield windows.batch(numbers, padding=self._network.n_items), count / len(batches)

    def _windows(self) -> Windows:
        users, items = self._dataset.users, self._dataset.items
        max_length = self._network.max_length
        if not self._network.predicts_all_positions:
            return Windows.sliding(users, items, max_length=max_length)
        # Cut differently in every epoch, so that a target follows histories of many lengths.
        shift = int(torch.randint(max_length, ()))
        return Windows.chunks(users, items, max_length=max_length, shift=shift)

    def _step(self, batch: Tensor) -> tuple[float, int]:
        """Take one optimizer step; returns the summed loss and the number of targets."""
        network, arguments = self._network, self._arguments
        positions = batch.shape[1] - 1 if network.predicts_all_positions else 1
        n_targets = int((batch[:, -1 - positions : -1] != network.n_items).sum())
        self._optimizer.zero_grad()
        loss = 0.0
        own = batch[self._processes.index :: self._processes.count]
        forward_size = arguments.forward_size or batch.numel()
        for rows in torch.split(own, max(1, forward_size // positions)) if len(own) else ():
            loss += self._add_gradients(rows, n_targets)
        if self._processes.count > 1:
            loss = sum_gradients(network, loss, self._processes)
        clip_grad_norm_(network.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        return loss, n_targets

    def _add_gradients(self, batch: Tensor, n_targets: int) -> float:
        """Add the gradients of some rows of a batch; returns their summed loss."""
        inputs = batch[:, :-1]
        hidden = self._network(inputs)
        has_target = inputs[:, -hidden.shape[1] :] != self._network.n_items
        targets = batch[:, -hidden.shape[1] :][has_target]
        seen = _items_before_targets(inputs, has_target, padding=self._network.n_items)
        return self._backward(hidden[has_target], targets, seen, n_targets=n_targets)

    def _backward(self, hidden: Tensor, targets: Tensor, seen: Tensor, *, n_targets: int) -> float:
        """Add the gradients of the mean loss over ``n_targets``; returns the summed loss.

        Scores are computed for some of the targets at a time: those of all can fill the memory.
        """
        network, arguments = self._network, self._arguments
        negatives = None
        if arguments.n_negatives is not None:
            negatives = torch.randint(network.n_items, (arguments.n_negatives,)).to(self._device)
        rows = max(1, _MAX_CELLS // (arguments.n_negatives or network.n_items))
        leaf = hidden.detach().requires_grad_()
        total = 0.0
        blocks = zip(
            *(torch.split(all_rows, rows) for all_rows in (leaf, targets, seen)), strict=True
        )
        for block_hidden, block_targets, block_seen in blocks:
            loss = self._loss(block_hidden, block_targets, block_seen, negatives=negatives)
            torch.autograd.backward(loss / n_targets)
            total += float(loss.detach())
        torch.autograd.backward(hidden, leaf.grad)
        return total

    def _loss(
        self, hidden: Tensor, targets: Tensor, seen: Tensor, *, negatives: Tensor | None
    ) -> Tensor:
        network, arguments = self._network, self._arguments
        options: dict[str, Any] = {
            "log_popularity": self._log_popularity,
            "seen": seen if arguments.exclude_seen else None,
        }
        candidates = (
            all_candidates(network, hidden, targets, **options)
            if negatives is None
            else sampled_candidates(network, hidden, targets, negatives=negatives, **options)
        )
        loss = softmax_loss(candidates)
        if arguments.robust_weight:
            robust = robust_loss(candidates, temperature=arguments.robust_temperature)
            loss = loss + arguments.robust_weight * robust
        return loss


def _items_before_targets(inputs: Tensor, has_target: Tensor, *, padding: int) -> Tensor:
    """The items of a sequence before each of its targets, ``[m, h]``.

    Args:
        inputs: ``[b, h]`` item numbers.
        has_target: ``[b, c]`` whether each of the last ``c`` positions has a target, ``m`` in all.
        padding: Number that stands for no item.
    """
    width = inputs.shape[1]
    row, position = has_target.nonzero(as_tuple=True)
    newest = position + width - has_target.shape[1]
    later = torch.arange(width, device=inputs.device) > newest[:, None]
    return inputs[row].masked_fill(later, padding)
