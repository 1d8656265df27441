"""Gradients of a batch, whose scores are computed block by block."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bigrec.lm.distributed import Processes
from bigrec.models.neural.arguments import TrainingArguments
from bigrec.models.neural.networks import EmbeddingNetwork, build_network
from bigrec.models.neural.source import TrainingSource

N = 20
ARGUMENTS = TrainingArguments(
    learning_rate=0.1,
    schedule="constant",
    weight_decay=0.0,
    batch_size=1024,
    epochs=1,
    early_stopping_patience=1,
    n_negatives=None,
    robust_weight=0.0,
    robust_temperature=1.0,
    exclude_seen=True,
    seed=0,
)


def gradients(at_once: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[torch.Tensor]:
    """Of a batch with 800 targets."""
    monkeypatch.setattr(EmbeddingNetwork, "scores_at_once", at_once)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build_network("GRU4Rec", n_items=N, max_length=8, hidden_size=8)
        batch = torch.randint(N, (100, 9))
    source = TrainingSource(network, np.zeros(9, np.int64), np.arange(9), None)
    loss, count = source.set_gradients(batch, replace(ARGUMENTS, **changes), Processes())
    assert count == 800
    assert loss > 0
    return [weight.grad for weight in network.parameters() if weight.grad is not None]


@pytest.mark.parametrize("robust_weight", [0.0, 0.5])
def test_blocks_of_scores_have_the_gradients_of_the_batch(
    robust_weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, whole = (
        gradients(at_once, monkeypatch, robust_weight=robust_weight)
        for at_once in (256 * N, 1 << 26)
    )
    assert len(blocks) == len(whole) > 4
    for of_blocks, of_batch in zip(blocks, whole, strict=True):
        torch.testing.assert_close(of_blocks, of_batch, rtol=1e-4, atol=1e-6)
