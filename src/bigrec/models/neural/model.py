"""Neural networks as a signal: fitted, asked for scores, saved and loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch

from bigrec.data.interactions import Interactions
from bigrec.errors import BundleError
from bigrec.models.base import load_signal, save_signal, training_rows
from bigrec.models.neural.arguments import Recipe, usual_negatives
from bigrec.models.neural.checkpoint import as_arrays, as_tensors
from bigrec.models.neural.dataset import Lessons
from bigrec.models.neural.inference import answers
from bigrec.models.neural.networks import Architecture, EmbeddingNetwork, build_network
from bigrec.models.neural.trainer import train_network
from bigrec.models.scaling import minmax
from bigrec.types import BoolArray, FloatArray, IntArray, Progress

_KIND = "neural"
_SETTINGS = ("architecture", "robust", "n_items", "max_length", "hidden_size")
_STEPS = 32
_BATCH_SIZES = (128, 2048)
_LENGTHS: dict[Architecture, int] = {"SASRec": 50, "GRU4Rec": 50, "Caser": 5}


@dataclass(frozen=True, eq=False)
class NeuralSignal:
    """Scores an item by what a network expects after a history.

    Attributes:
        architecture: Which network.
        robust: Whether it was trained with DROS.
        network: The trained network.
    """

    architecture: Architecture
    robust: bool
    network: EmbeddingNetwork = field(repr=False)

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        *,
        train: BoolArray,
        n_items: int,
        architecture: Architecture,
        valid_histories: Sequence[IntArray],
        valid_targets: IntArray,
        robust: bool = False,
        max_length: int | None = None,
        hidden_size: int = 64,
        dropout: float = 0.2,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int | None = None,
        epochs: int = 100,
        patience: int = 5,
        n_negatives: int | Literal["auto"] | None = "auto",
        robust_weight: float = 0.1,
        robust_temperature: float = 1.0,
        seed: int = 0,
        device: str = "auto",
        folder: Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Train a network to name the next item.

        On a CPU the same arguments give the same weights, whether or not the run was interrupted.

        Args:
            interactions: All interactions.
            train: Which of them to learn from, ``[m]``.
            n_items: Items of the catalog.
            architecture: Which network.
            valid_histories: Histories, ``q`` of them, by whose targets the best epoch is chosen.
            valid_targets: Item number of each target, ``[q]``.
            robust: Add the DROS loss, which prepares for other popularity than in training.
            max_length: Most items of a history that the network looks at, the newest ones; by
                default 50, and 5 for Caser (as published), whose filters grow with its square.
            hidden_size: Size of embeddings.
            dropout: Share of activations left out in training, in [0, 1).
            learning_rate: Of AdamW, after a warm-up of one epoch.
            weight_decay: Of AdamW.
            batch_size: Targets of an optimizer step, about; None makes some 32 steps an epoch, with
                128 to 2,048 targets, so that few examples too are learned in many steps.
            epochs: Passes over the interactions, at most.
            patience: Epochs without a better validation NDCG@10 after which training stops.
            n_negatives: Items, drawn uniformly, that a target is compared with; None is all, and
                ``"auto"`` is all up to 10,000 items and 2,048 above.
            robust_weight: Weight of the DROS loss beside the softmax loss.
            robust_temperature: ``beta_0`` of the DROS loss; smaller allows for larger shifts.
            seed: Decides initial weights, order, cuts, dropout and negatives.
            device: ``auto`` is CUDA where there is one, else the CPU.
            folder: Where a checkpoint is kept after every epoch. A call with the same arguments
                goes on from there; one with others starts anew, with a warning.
            progress: Called with (targets learned, targets to learn in all epochs).

        Raises:
            DataError: If no row is left, or no user has two of them.
            ValueError: If an argument is out of range, or no validation history has an item.
            StorageError: If the folder cannot be written.
            KeyboardInterrupt: On Ctrl-C; call again with the same folder to go on.
        """
        users, items = training_rows(interactions, train, n_items=n_items)
        max_length = max_length or _LENGTHS[architecture]
        if batch_size is None:
            batch_size = int(np.clip(len(items) // _STEPS, *_BATCH_SIZES))
        if n_negatives == "auto":
            n_negatives = usual_negatives(n_items)
        recipe = Recipe(
            learning_rate=learning_rate,
            schedule="constant",
            weight_decay=weight_decay,
            batch_size=batch_size,
            epochs=epochs,
            patience=patience,
            n_negatives=n_negatives,
            robust_weight=robust_weight if robust else 0.0,
            robust_temperature=robust_temperature,
            seed=seed,
        )
        # Drawn on the CPU, so that every device starts from the same weights.
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            network = build_network(
                architecture,
                n_items=n_items,
                max_length=max_length,
                hidden_size=hidden_size,
                dropout=dropout,
            )
        lessons = Lessons.of(
            users,
            items,
            histories=valid_histories,
            targets=valid_targets,
            n_items=n_items,
            length=max_length,
        )
        network.to(_device(device))
        train_network(network, lessons, recipe, folder=folder, progress=progress)
        return cls(architecture, robust, network)

    @property
    def name(self) -> str:
        """What the signal is called in tables."""
        return f"{self.architecture}, DROS" if self.robust else self.architecture

    @property
    def n_items(self) -> int:
        """Items that are scored, ``n``."""
        return self.network.n_items

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores of all items: logarithms of their odds to come next.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32, higher is better; all 0 for an empty history.

        Raises:
            ValueError: If an item number is out of range.
        """
        return answers(self.network, histories, give=self.network.scores, width=self.n_items)

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights for the injection: the scores of every query scaled to [0, 1], ``[q, n]``."""
        return minmax(self.scores(histories))

    def save(self, folder: Path) -> None:
        """Write the signal to a folder of its own, whole or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        settings = {
            "architecture": self.architecture,
            "robust": self.robust,
            "n_items": self.n_items,
            "max_length": self.network.max_length,
            "hidden_size": self.network.items.embedding_dim,
        }
        save_signal(folder, _KIND, settings=settings, arrays=as_arrays(self.network.state_dict()))

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> Self:
        """Read what ``save`` wrote.

        Args:
            folder: The folder.
            device: ``auto`` is CUDA where there is one, else the CPU.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
            ValueError: If there is no such device.
        """
        settings, arrays = load_signal(folder, _KIND, settings=_SETTINGS, arrays=[])
        shape: dict[str, Any] = {name: settings[name] for name in _SETTINGS if name != "robust"}
        try:
            with torch.random.fork_rng([]):
                network = build_network(**shape)
            network.load_state_dict(as_tensors(arrays))
        except (RuntimeError, TypeError, ValueError) as error:
            raise BundleError(
                f"{folder} cannot be used: its settings and weights do not make a network "
                f"({error}). Fit and save the signal again."
            ) from error
        return cls(settings["architecture"], settings["robust"], network.to(_device(device)).eval())


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device is {name!r}, which torch cannot use here ({error}). Use 'auto', 'cpu' or, "
            "where there is one, 'cuda'."
        ) from error
    return device
