"""Neural sequential models: fit, score, save and load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field

from bigrec.data.interactions import Interactions
from bigrec.lm.hardware import pick_device
from bigrec.models.base import (
    HistoryScorer,
    StoredSettings,
    check_model_arrays,
    history_rows,
    read_histories,
    read_model_folder,
    training_rows,
    write_model_folder,
)
from bigrec.models.neural.arguments import TrainingArguments, default_n_negatives
from bigrec.models.neural.checkpoint import as_arrays, as_tensors
from bigrec.models.neural.dataset import SequenceDataset
from bigrec.models.neural.inference import encode_histories
from bigrec.models.neural.networks import (
    Architecture,
    EmbeddingNetwork,
    build_network,
    check_architecture,
)
from bigrec.models.neural.trainer import selected_epoch, train_network
from bigrec.settings.baselines import SequentialSettings
from bigrec.settings.sections import PositiveInt
from bigrec.storage.arrays import Expected, unusable
from bigrec.types import BoolArray, FloatArray, IntArray, ProgressCallback

_DEFAULTS = SequentialSettings()
# Default batch size: targets for about so many steps in an epoch, within these bounds.
_STEPS_PER_EPOCH = 32
_BATCH_SIZES = (128, 2048)
_MAX_LENGTHS: dict[Architecture, int] = {"SASRec": 50, "GRU4Rec": 50, "Caser": 5}


@dataclass(frozen=True, eq=False)
class SequentialModel(HistoryScorer):
    """Scores items with a network that predicts the next item of a history.

    Attributes:
        architecture: Name of the architecture.
        robust: Whether the network was trained with the DROS loss.
        network: The trained network.
        log: As of `train_network`; empty once loaded.
    """

    kind: ClassVar[str] = "sequential"

    architecture: Architecture
    robust: bool
    network: EmbeddingNetwork = field(repr=False)
    log: Sequence[Mapping[str, float]] = field(default=(), repr=False)

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
        hidden_size: int = _DEFAULTS.hidden_size,
        dropout: float = _DEFAULTS.dropout,
        learning_rate: float = _DEFAULTS.learning_rate,
        weight_decay: float = _DEFAULTS.weight_decay,
        batch_size: int | None = None,
        epochs: int = _DEFAULTS.epochs,
        early_stopping_patience: int = _DEFAULTS.early_stopping_patience,
        n_negatives: int | Literal["auto"] | None = "auto",
        robust_weight: float = 0.1,
        robust_temperature: float = 1.0,
        exclude_seen: bool = True,
        seed: int = 0,
        device: str = "auto",
        stop_after: int | None = None,
        folder: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """Train a network to predict the next item.

        On a CPU the same arguments give the same weights, whether or not the training was
        interrupted.

        Args:
            interactions: All interactions.
            train: Mask of the training interactions, ``[m]``.
            n_items: Items of the catalog.
            architecture: Name of the architecture.
            valid_histories: Validation histories for early stopping, ``q`` of them.
            valid_targets: Item number of each target, ``[q]``.
            robust: Add the DROS loss, which prepares for popularity shifts after training.
            max_length: Maximum items of a history, the newest ones; None takes 50, and 5 for Caser
                (as in the paper), whose filters grow with its square.
            hidden_size: Size of embeddings.
            dropout: Dropout probability of activations, in [0, 1).
            learning_rate: Learning rate of AdamW, after a warm-up of one epoch.
            weight_decay: Weight decay of AdamW.
            batch_size: Approximate number of targets in an optimizer step. None takes a 32nd of
                all, between 128 and 2,048, so that few examples too are learned in many steps.
            epochs: Maximum passes over the interactions.
            early_stopping_patience: Epochs without a better validation NDCG@10 before training
                stops.
            n_negatives: Number of items, drawn uniformly, that a target is compared with. None is
                all; ``"auto"`` is all up to 10,000 items and 2,048 above.
            robust_weight: Weight of the DROS loss beside the softmax loss.
            robust_temperature: ``beta_0`` of the DROS loss; a smaller one allows for larger shifts.
            exclude_seen: Exclude the items of a history from its ranking in training and early
                stopping; by the protocol that is reported.
            seed: Seed of initial weights, order, cuts, dropout and negatives.
            device: ``auto`` takes CUDA, then Apple's GPU, then the CPU.
            stop_after: Train exactly so many epochs, without early stopping.
            folder: Folder for a checkpoint after every epoch. A call with the same arguments is
                resumed from it; one with others starts anew, with a warning.
            progress: Called with (targets done, targets in all epochs).

        Raises:
            DataError: If no user has two training interactions.
            ModelError: If the device cannot be used, or training diverges.
            ValueError: If an argument is out of range, or no validation history has an item.
            StorageError: If the folder cannot be written.
            KeyboardInterrupt: On Ctrl-C; call again with the same folder to resume.
        """
        users, items = training_rows(interactions, train, n_items=n_items)
        check_architecture(architecture)
        if max_length is None:
            max_length = _MAX_LENGTHS[architecture]
        if batch_size is None:
            batch_size = int(np.clip(len(items) // _STEPS_PER_EPOCH, *_BATCH_SIZES))
        arguments = TrainingArguments(
            learning_rate=learning_rate,
            schedule="constant",
            weight_decay=weight_decay,
            batch_size=batch_size,
            epochs=epochs,
            early_stopping_patience=early_stopping_patience,
            n_negatives=default_n_negatives(n_items) if n_negatives == "auto" else n_negatives,
            robust_weight=robust_weight if robust else 0.0,
            robust_temperature=robust_temperature,
            exclude_seen=exclude_seen,
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
        known = np.bincount(items, minlength=n_items) > 0
        dataset = SequenceDataset.build(
            users,
            items,
            histories=_judged_histories(read_histories(valid_histories), known),
            targets=valid_targets,
            n_items=n_items,
            max_length=max_length,
        )
        network.to(pick_device(device))
        network.set_known(known)
        log = train_network(
            network, dataset, arguments, stop_after=stop_after, folder=folder, progress=progress
        )
        return cls(architecture, robust, network, log)

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return f"{self.architecture}, DROS" if self.robust else self.architecture

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return self.network.n_items

    @property
    def selected_epoch(self) -> int | None:
        """Epoch of the weights, selected on validation; None once loaded and for a fixed number."""
        return selected_epoch(self.log)

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items: logits of the next item.

        An item without training interactions is skipped in a history, as one that the catalog got
        later is.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32, higher is better; all 0 for a history without known items.

        Raises:
            ValueError: If an item number is out of range.
        """
        return encode_histories(
            self.network,
            _without_unknown(histories, self._known),
            transform=self.network.scores,
            output_dim=self.n_items,
        )

    @cached_property
    def _known(self) -> BoolArray:
        return self.network.known()

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

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
        write_model_folder(
            folder, self.kind, settings=settings, arrays=as_arrays(self.network.state_dict())
        )

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> Self:
        """Read a model that ``save`` wrote.

        Args:
            folder: The folder.
            device: ``auto`` takes CUDA, then Apple's GPU, then the CPU.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
            ModelError: If the device cannot be used.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        try:
            # Without memory for its weights, whose sizes are only what the settings say.
            with torch.device("meta"):
                network = build_network(**settings.model_dump(exclude={"robust"}))
        except (RuntimeError, ValueError) as error:
            raise unusable(folder, f"its settings make no network ({error})") from None
        expected = {
            name: Expected(tuple(weight.shape)) for name, weight in network.state_dict().items()
        }
        check_model_arrays(folder, arrays, expected)
        network.load_state_dict(as_tensors(arrays), assign=True)
        network.to(pick_device(device)).eval()
        return cls(settings.architecture, settings.robust, network)


class _Stored(StoredSettings):
    architecture: Architecture
    robust: bool
    n_items: PositiveInt
    # Caser has a layer for every length.
    max_length: Annotated[int, Field(ge=1, le=10_000)]
    hidden_size: PositiveInt


def _without_unknown(histories: Sequence[IntArray], known: BoolArray) -> list[IntArray]:
    """Histories without padding and without items that have no training interactions.

    Raises:
        ValueError: If an item number is out of range.
    """
    starts, items, _ = history_rows(histories, n_items=len(known))
    return [history[known[history]] for history in np.split(items, starts[1:])[:-1]]


def _judged_histories(histories: Sequence[IntArray], known: BoolArray) -> Sequence[IntArray]:
    """Validation histories as the trained model reads them; all items if it would read none."""
    read = _without_unknown(histories, known)
    return read if any(len(history) for history in read) else histories
