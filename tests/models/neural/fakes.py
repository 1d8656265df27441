"""Tiny networks: seconds of training on one core."""

from typing import Any

import numpy as np

from bigrec.data.interactions import Interactions
from bigrec.models.neural import Architecture, SequentialModel
from tests.models.fakes import N, all_rows, ring

ARCHITECTURES: list[Architecture] = ["SASRec", "GRU4Rec", "Caser"]


def fit(
    architecture: Architecture, of: Interactions | None = None, /, **options: Any
) -> SequentialModel:
    """Fit a network of a few hundred weights to the ring, or to other interactions."""
    of = ring() if of is None else of
    defaults: dict[str, Any] = {
        "train": all_rows(of),
        "n_items": N,
        "valid_histories": [np.array([2, 3]), np.array([6, 7])],
        "valid_targets": np.array([4, 0]),
        "max_length": 4,
        "hidden_size": 16,
        "dropout": 0.0,
        "learning_rate": 0.02,
        "batch_size": 16,
        "epochs": 3,
        "device": "cpu",
        # The ring comes round: its targets stand in their histories.
        "exclude_seen": False,
    }
    return SequentialModel.fit(of, architecture=architecture, **(defaults | options))


def weights(model: SequentialModel) -> dict[str, np.ndarray]:
    """All weights of a model's network."""
    return {name: value.numpy() for name, value in model.network.state_dict().items()}
