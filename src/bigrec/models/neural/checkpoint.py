"""Checkpoints of a training, from which an interrupted one is resumed exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from bigrec.errors import BundleError
from bigrec.models.base import StoredSettings, read_model_folder, write_model_folder
from bigrec.models.neural.networks import SequenceNetwork
from bigrec.printable import get_logger

logger = get_logger(__name__)

_KIND = "training checkpoint"
_FOLDER = "checkpoint"
_WEIGHTS, _BEST, _OPTIMIZER, _RANDOM = "weights.", "best.", "optimizer.", "random."


@dataclass
class TrainingState:
    """Progress of a training.

    Attributes:
        epoch: Completed epochs.
        patience_start: Epoch from which patience counts: that of the best validation NDCG@10, or
            the last one that was no better than popularity.
        best_ndcg: The best validation NDCG@10.
        log: ``epoch``, ``loss`` (mean over targets) and ``ndcg@10`` (validation) of every epoch.
        best: The weights after the best epoch.
        n_batches: Batches done of the next epoch.
        n_targets: Targets in them.
        loss_sum: Summed loss of these targets.
        random: Random states after these batches, by device type.
    """

    epoch: int = 0
    patience_start: int = 0
    best_ndcg: float = -1.0
    log: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    n_batches: int = 0
    n_targets: int = 0
    loss_sum: float = 0.0
    random: dict[str, Tensor] = field(default_factory=dict)


class _Stored(StoredSettings):
    fingerprint: str
    epoch: int
    patience_start: int
    best_ndcg: float
    log: list[dict[str, float]]
    n_batches: int
    n_targets: int
    loss_sum: float


def save_checkpoint(
    folder: Path,
    state: TrainingState,
    *,
    networks: Sequence[SequenceNetwork],
    optimizer: Optimizer,
    fingerprint: str,
) -> None:
    """Write a checkpoint, completely or not at all.

    Args:
        folder: The training's folder.
        state: Progress of the training.
        networks: Their current weights are written. The first is the one that is trained for.
        optimizer: Its current averages are written.
        fingerprint: Identifies the data and the arguments of the training.

    Raises:
        StorageError: If the folder cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for place, network in enumerate(networks):
        arrays |= as_arrays(network.state_dict(), prefix=_prefix(place))
    arrays |= as_arrays(state.best, prefix=_BEST) | as_arrays(state.random, prefix=_RANDOM)
    for number, averages in optimizer.state_dict()["state"].items():
        arrays |= as_arrays(averages, prefix=f"{_OPTIMIZER}{number}.")
    stored = _Stored(
        fingerprint=fingerprint,
        epoch=state.epoch,
        patience_start=state.patience_start,
        best_ndcg=state.best_ndcg,
        log=state.log,
        n_batches=state.n_batches,
        n_targets=state.n_targets,
        loss_sum=state.loss_sum,
    )
    write_model_folder(folder / _FOLDER, _KIND, settings=stored.model_dump(), arrays=arrays)


def load_checkpoint(
    folder: Path, *, networks: Sequence[SequenceNetwork], optimizer: Optimizer, fingerprint: str
) -> TrainingState:
    """Restore networks and optimizer from a checkpoint.

    A checkpoint of another training, or one that cannot be read, is ignored with a warning. The
    next checkpoint replaces it.

    Args:
        folder: The training's folder.
        networks: Their weights are restored.
        optimizer: Its averages are restored.
        fingerprint: The expected fingerprint of the checkpoint.

    Returns:
        Progress of the training: its start if there is no usable checkpoint.
    """
    if not (folder / _FOLDER).exists():
        return TrainingState()
    try:
        stored, arrays = read_model_folder(folder / _FOLDER, _KIND, _Stored)
    except BundleError as error:
        logger.warning("Training starts anew, the checkpoint cannot be used: %s", error)
        return TrainingState()
    if stored.fingerprint != fingerprint:
        logger.warning(
            "Training starts anew: the checkpoint in %s is of other data or other settings.", folder
        )
        return TrainingState()
    for place, network in enumerate(networks):
        network.load_state_dict(as_tensors(arrays, prefix=_prefix(place)))
    averages: dict[int, dict[str, Tensor]] = {}
    for name, tensor in as_tensors(arrays, prefix=_OPTIMIZER).items():
        number, _, key = name.partition(".")
        # Scalars are stored with shape [1].
        averages.setdefault(int(number), {})[key] = tensor.squeeze(0) if key == "step" else tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": averages})
    logger.info("Training is resumed after epoch %d", stored.epoch)
    return TrainingState(
        **stored.model_dump(exclude={"fingerprint"}),
        best=as_tensors(arrays, prefix=_BEST),
        random=as_tensors(arrays, prefix=_RANDOM),
    )


def _prefix(place: int) -> str:
    """Prefix of the weights of a network."""
    return f"{place}.{_WEIGHTS}" if place else _WEIGHTS


def as_arrays(tensors: Mapping[str, Tensor], *, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Tensors as arrays, with a prefix added to their names."""
    return {prefix + name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def as_tensors(arrays: Mapping[str, NDArray[Any]], *, prefix: str = "") -> dict[str, Tensor]:
    """The arrays whose names start with a prefix as tensors, with the prefix removed."""
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Torch's random states by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what `random_states` gave; nothing where there is nothing."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
