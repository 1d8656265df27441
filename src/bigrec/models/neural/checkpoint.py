"""Where a training run stands, kept so that an interrupted one goes on as if nothing happened."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from bigrec.errors import BundleError
from bigrec.models.base import load_signal, save_signal
from bigrec.models.neural.networks import SequenceNetwork

logger = logging.getLogger(__name__)

_KIND = "training of a neural signal"
_FOLDER = "checkpoint"
_SETTINGS = ("fingerprint", "epoch", "waits_since", "best_ndcg", "log")
_WEIGHTS, _BEST, _OPTIMIZER = "weights.", "best.", "optimizer."


@dataclass
class State:
    """Where a training run stands.

    Attributes:
        epoch: Epochs done.
        waits_since: Epoch from which patience counts: that of the best validation NDCG@10, or the
            last one that was no better than popularity.
        best_ndcg: That NDCG@10.
        log: ``epoch``, ``loss`` (mean of a target) and ``ndcg@10`` (validation) of every epoch.
        best: The weights after the best epoch.
    """

    epoch: int = 0
    waits_since: int = 0
    best_ndcg: float = -1.0
    log: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    state: State,
    *,
    network: SequenceNetwork,
    optimizer: Optimizer,
    fingerprint: str,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        folder: The run's folder.
        state: Where the run stands.
        network: Its weights as they are now.
        optimizer: Its averages as they are now.
        fingerprint: Tells runs of other data or settings apart.

    Raises:
        StorageError: If the folder cannot be written.
    """
    arrays = as_arrays(network.state_dict(), prefix=_WEIGHTS)
    arrays |= as_arrays(state.best, prefix=_BEST)
    for number, averages in optimizer.state_dict()["state"].items():
        arrays |= as_arrays(averages, prefix=f"{_OPTIMIZER}{number}.")
    settings = {"fingerprint": fingerprint} | {
        name: getattr(state, name) for name in _SETTINGS if name != "fingerprint"
    }
    save_signal(folder / _FOLDER, _KIND, settings=settings, arrays=arrays)


def load_checkpoint(
    folder: Path, *, network: SequenceNetwork, optimizer: Optimizer, fingerprint: str
) -> State:
    """Go on from a checkpoint: network and optimizer take its values.

    A checkpoint of another run, or one that cannot be read, is left alone with a warning; the
    next one takes its place.

    Args:
        folder: The run's folder.
        network: Takes the weights.
        optimizer: Takes the averages.
        fingerprint: What the checkpoint must have.

    Returns:
        Where the run stood; its start where there is no checkpoint to go on from.
    """
    if not (folder / _FOLDER).exists():
        return State()
    try:
        about, arrays = load_signal(folder / _FOLDER, _KIND, settings=_SETTINGS, arrays=[])
    except BundleError as error:
        logger.warning("Training starts anew, the checkpoint cannot be used: %s", error)
        return State()
    if about["fingerprint"] != fingerprint:
        logger.warning(
            "Training starts anew: the checkpoint in %s is of other data or other settings.", folder
        )
        return State()
    network.load_state_dict(as_tensors(arrays, prefix=_WEIGHTS))
    averages: dict[int, dict[str, Tensor]] = {}
    for name, tensor in as_tensors(arrays, prefix=_OPTIMIZER).items():
        number, _, key = name.partition(".")
        # Stored scalars come back as [1].
        averages.setdefault(int(number), {})[key] = tensor.squeeze(0) if key == "step" else tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": averages})
    logger.info("Going on with training after epoch %d", about["epoch"])
    return State(
        about["epoch"],
        about["waits_since"],
        about["best_ndcg"],
        about["log"],
        as_tensors(arrays, prefix=_BEST),
    )


def as_arrays(tensors: Mapping[str, Tensor], *, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Tensors as arrays, under their names with a prefix before them."""
    return {prefix + name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def as_tensors(arrays: Mapping[str, NDArray[Any]], *, prefix: str = "") -> dict[str, Tensor]:
    """Arrays whose names begin with a prefix as tensors, under their names without it."""
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
