"""The one training loop of all networks: seeded, stopped early, and gone on with."""

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from bigrec.models.neural.arguments import Recipe
from bigrec.models.neural.checkpoint import State, load_checkpoint, save_checkpoint
from bigrec.models.neural.dataset import Lessons
from bigrec.models.neural.losses import (
    all_candidates,
    robust_loss,
    sampled_candidates,
    softmax_loss,
)
from bigrec.models.neural.networks import SequenceNetwork
from bigrec.models.neural.sequences import Windows, batches_by_length
from bigrec.models.neural.validation import ndcg_at_10
from bigrec.storage import fingerprint
from bigrec.types import Progress

logger = logging.getLogger(__name__)

_CELLS = 1 << 26
_BETAS = (0.9, 0.98)
_LONGEST_GRADIENT = 1.0
# Share of an epoch in which the cosine schedule comes up.
_WARM_UP = 0.1
# Seeds of runs this far apart share no epoch's seed.
_EPOCHS_PER_SEED = 1 << 20


def train_network(
    network: SequenceNetwork,
    lessons: Lessons,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train until the validation NDCG@10 gets no better; the network keeps its best weights.

    Patience begins once the network is ahead of popularity: some take epochs to find anything, and
    a chance hit among few validation queries would stop them there.

    Torch's own random state is left as it was.

    Args:
        network: Trained in place, on the device where it is.
        lessons: What it learns.
        recipe: How.
        folder: Where a checkpoint is kept after every epoch, and gone on from.
        progress: Called with (targets learned, targets to learn in all epochs).

    Returns:
        ``epoch``, ``loss`` (mean of a target) and ``ndcg@10`` (validation) of every epoch.

    Raises:
        StorageError: If the folder cannot be written.
        KeyboardInterrupt: On Ctrl-C; the checkpoint of the last whole epoch stays.
    """
    trainer = _Trainer(network, lessons, recipe)
    state = State()
    if folder is not None:
        state = trainer.resume(folder)
    if network.knows_untrained and not state.best:
        trainer.judge(state)
    while state.epoch < recipe.epochs and state.epoch - state.waits_since < recipe.patience:
        trainer.run_epoch(state, progress)
        if folder is not None:
            trainer.keep(folder, state)
    network.load_state_dict(state.best)
    network.eval()
    return state.log


class _Trainer:
    """What an epoch needs."""

    def __init__(self, network: SequenceNetwork, lessons: Lessons, recipe: Recipe) -> None:
        self._network = network
        self._lessons = lessons
        self._recipe = recipe
        self._device = network.device
        self._histories = lessons.histories.to(self._device)
        self._targets = lessons.targets.to(self._device)
        self._fingerprint = fingerprint(
            {"network": network.shape, "recipe": asdict(recipe), "lessons": lessons.digest()}
        )
        self._optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=recipe.learning_rate,
            betas=_BETAS,
            weight_decay=recipe.weight_decay,
        )
        # Every interaction but a user's first is a target once.
        self._in_epoch = len(lessons.users) - len(np.unique(lessons.users))
        counts = torch.bincount(torch.from_numpy(lessons.items), minlength=network.n_items)
        # One more for every item, so that popularity may shift to any of them.
        shares = (counts + 1).double() / (counts + 1).sum()
        self._log_shares = shares.log().float().to(self._device)
        self._of_popularity = ndcg_at_10(
            network,
            self._histories,
            self._targets,
            scores_of=lambda some: self._log_shares.repeat(len(some), 1),
        )

    def resume(self, folder: Path) -> State:
        """Go on from the folder's checkpoint, if it is of this run."""
        return load_checkpoint(
            folder,
            network=self._network,
            optimizer=self._optimizer,
            fingerprint=self._fingerprint,
        )

    def keep(self, folder: Path, state: State) -> None:
        """Write a checkpoint to the folder."""
        save_checkpoint(
            folder,
            state,
            network=self._network,
            optimizer=self._optimizer,
            fingerprint=self._fingerprint,
        )

    def run_epoch(self, state: State, progress: Progress | None) -> None:
        """Train for an epoch, judge the weights, and note the outcome in ``state``."""
        loss = self._train_epoch(state.epoch, progress)
        state.epoch += 1
        ndcg = self.judge(state)
        state.log.append({"epoch": state.epoch, "loss": loss, "ndcg@10": ndcg})
        logger.info("Epoch %d: loss %.4f, validation NDCG@10 %.4f", state.epoch, loss, ndcg)

    def judge(self, state: State) -> float:
        """Validation NDCG@10 of the weights as they are, kept in ``state`` if it is the best."""
        self._network.eval()
        ndcg = ndcg_at_10(self._network, self._histories, self._targets)
        if ndcg > state.best_ndcg or state.best_ndcg <= self._of_popularity:
            state.waits_since = state.epoch
        if ndcg > state.best_ndcg or not state.best:
            state.best_ndcg = ndcg
            weights = self._network.state_dict()
            state.best = {name: weight.clone() for name, weight in weights.items()}
        return ndcg

    def _train_epoch(self, epoch: int, progress: Progress | None) -> float:
        """One pass over all windows; gives the mean loss of a target."""
        self._network.train()
        total, count = 0.0, 0
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            # A seed of its own for every epoch, so that going on needs no random state.
            torch.manual_seed(self._recipe.seed * _EPOCHS_PER_SEED + epoch + 1)
            for batch, share in self._batches():
                self._set_learning_rate(epoch, share)
                loss, targets = self._step(batch.to(self._device))
                total += loss
                count += targets
                if progress is not None:
                    progress(epoch * self._in_epoch + count, self._recipe.epochs * self._in_epoch)
        return total / count

    def _set_learning_rate(self, epoch: int, share: float) -> None:
        """For a batch that ends when a share of an epoch is done."""
        recipe = self._recipe
        factor = min(1.0, epoch + share)
        if recipe.schedule == "cosine":
            done = (epoch + share) / recipe.epochs
            factor = min(1.0, (epoch + share) / _WARM_UP) * (1 + math.cos(math.pi * done)) / 2
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.learning_rate * factor

    def _batches(self) -> Iterator[tuple[Tensor, float]]:
        """Batches of windows in a random order, with the share of the epoch after each."""
        windows = self._windows()
        targets = torch.ones(len(windows), dtype=torch.long)
        if self._network.learns_everywhere:
            targets = windows.end - windows.first - 1
        groups = batches_by_length(
            windows.end - windows.first, targets, batch_size=self._recipe.batch_size
        )
        for number, chosen in enumerate(groups, start=1):
            yield windows.batch(chosen, padding=self._network.n_items), number / len(groups)

    def _windows(self) -> Windows:
        users, items = self._lessons.users, self._lessons.items
        length = self._network.max_length
        if not self._network.learns_everywhere:
            return Windows.sliding(users, items, length=length)
        # Cut elsewhere in every epoch, so that a target is seen after histories of many lengths.
        shift = int(torch.randint(length, ()))
        return Windows.chunks(users, items, length=length, shift=shift)

    def _step(self, batch: Tensor) -> tuple[float, int]:
        """One optimizer step; gives the summed loss and the number of targets."""
        inputs = batch[:, :-1]
        hidden = self._network(inputs)
        learned = inputs[:, -hidden.shape[1] :] != self._network.n_items
        targets = batch[:, -hidden.shape[1] :][learned]
        seen = _items_so_far(inputs, learned, padding=self._network.n_items)
        self._optimizer.zero_grad()
        loss = self._backward(hidden[learned], targets, seen)
        clip_grad_norm_(self._network.parameters(), _LONGEST_GRADIENT)
        self._optimizer.step()
        return loss, len(targets)

    def _backward(self, hidden: Tensor, targets: Tensor, seen: Tensor) -> float:
        """Gradients of the mean loss; gives the summed loss.

        Scores of a part of the targets exist at a time: those of all can fill the memory.
        """
        network, recipe = self._network, self._recipe
        negatives = None
        if recipe.n_negatives is not None:
            negatives = torch.randint(network.n_items, (recipe.n_negatives,)).to(self._device)
        rows = max(1, _CELLS // (recipe.n_negatives or network.n_items))
        leaf = hidden.detach().requires_grad_()
        total = 0.0
        parts = (torch.split(of_all, rows) for of_all in (leaf, targets, seen))
        for some, wanted, gone in zip(*parts, strict=True):
            loss = self._loss(some, wanted, gone, negatives=negatives)
            torch.autograd.backward(loss / len(targets))
            total += float(loss.detach())
        torch.autograd.backward(hidden, leaf.grad)
        return total

    def _loss(
        self, hidden: Tensor, targets: Tensor, seen: Tensor, *, negatives: Tensor | None
    ) -> Tensor:
        network, recipe, shares = self._network, self._recipe, self._log_shares
        options: dict[str, Any] = {
            "log_shares": shares,
            "seen": seen if network.leaves_seen_out else None,
        }
        candidates = (
            all_candidates(network, hidden, targets, **options)
            if negatives is None
            else sampled_candidates(network, hidden, targets, negatives=negatives, **options)
        )
        loss = softmax_loss(candidates)
        if recipe.robust_weight:
            robust = robust_loss(candidates, temperature=recipe.robust_temperature)
            loss = loss + recipe.robust_weight * robust
        return loss


def _items_so_far(inputs: Tensor, learned: Tensor, *, padding: int) -> Tensor:
    """What a user had before each target, ``[m, h]``.

    Args:
        inputs: ``[b, h]`` item numbers.
        learned: ``[b, c]`` which of the last ``c`` positions have a target, ``m`` in all.
        padding: Number that stands for no item.
    """
    width = inputs.shape[1]
    row, place = learned.nonzero(as_tuple=True)
    newest = place + width - learned.shape[1]
    later = torch.arange(width, device=inputs.device) > newest[:, None]
    return inputs[row].masked_fill(later, padding)
