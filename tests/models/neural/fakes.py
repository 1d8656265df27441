"""Tiny training runs: seconds on one core."""

from typing import Any

import numpy as np

from bigrec.data.interactions import Interactions
from bigrec.models.neural import Architecture, NeuralSignal
from tests.models.fakes import every_row, interactions

N = 8
ARCHITECTURES: list[Architecture] = ["SASRec", "GRU4Rec", "Caser"]


def ring() -> Interactions:
    """Users who walk a ring of items: item i is always followed by i + 1, the last by 0."""
    return interactions(*[[(start + step) % N for step in range(9)] for start in range(N)])


def fit(
    architecture: Architecture, of: Interactions | None = None, /, **options: Any
) -> NeuralSignal:
    """Fit a network of a few hundred weights on the ring, or on other interactions."""
    of = ring() if of is None else of
    settings: dict[str, Any] = {
        "train": every_row(of),
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
    }
    return NeuralSignal.fit(of, architecture=architecture, **(settings | options))


def weights(signal: NeuralSignal) -> dict[str, np.ndarray]:
    """All weights of a signal's network."""
    return {name: value.numpy() for name, value in signal.network.state_dict().items()}
