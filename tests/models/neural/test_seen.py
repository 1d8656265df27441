"""Seen items are excluded from candidates and validation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bigrec.models.neural.losses import (
    all_candidates,
    robust_loss,
    sampled_candidates,
    softmax_loss,
)
from bigrec.models.neural.networks import build_network
from bigrec.models.neural.source import _items_before_targets
from bigrec.models.neural.validation import exclude_seen
from bigrec.storage import read_json
from tests.models.neural.fakes import fit

PAD = 5
PAD_OF_3 = 3


def test_seen_items_score_minus_infinity_and_padding_excludes_none() -> None:
    scores = torch.arange(10.0).view(2, 5)
    seen = torch.tensor([[PAD, PAD, 0], [PAD, 3, 4]])
    excluded = exclude_seen(scores, seen, padding=PAD)
    assert excluded.isneginf().tolist() == [
        [True, False, False, False, False],
        [False, False, False, True, True],
    ]


def test_the_items_before_a_target_end_where_it_begins() -> None:
    inputs = torch.tensor([[PAD, 1, 2], [0, 3, 4]])
    items = _items_before_targets(inputs, inputs != PAD, padding=PAD)
    assert items.tolist() == [
        [PAD, 1, PAD],
        [PAD, 1, 2],
        [0, PAD, PAD],
        [0, 3, PAD],
        [0, 3, 4],
    ]
    # A network that predicts at the last position only has all inputs before the target.
    last = _items_before_targets(inputs, torch.ones(2, 1, dtype=torch.bool), padding=PAD)
    assert last.tolist() == inputs.tolist()


def test_a_target_that_was_seen_before_stays_a_candidate() -> None:
    network = build_network("GRU4Rec", n_items=5, max_length=3, hidden_size=4, dropout=0.0)
    candidates = all_candidates(
        network,
        torch.ones(1, 4),
        torch.tensor([2]),
        log_popularity=torch.zeros(5),
        seen=torch.tensor([[1, 2, PAD]]),
    )
    assert candidates.log_counts[0].isneginf().tolist() == [False, True, False, False, False]
    assert candidates.scores.isfinite().all()


def test_excluded_items_take_no_part_in_either_loss() -> None:
    network = build_network("GRU4Rec", n_items=3, max_length=2, hidden_size=2, dropout=0.0)
    with torch.no_grad():
        network.items.weight.zero_()
        network.bias.copy_(torch.tensor([2.0, 7.0, 1.0]))
    log_popularity = torch.tensor([0.5, 0.25, 0.25]).log()
    candidates = all_candidates(
        network,
        torch.ones(1, 2),
        torch.tensor([0]),
        log_popularity=log_popularity,
        seen=torch.tensor([[PAD_OF_3, 1]]),
    )
    # Scores 2 of the target and 1 of the other one: errors 1 and 1.
    assert float(softmax_loss(candidates).detach()) == pytest.approx(math.log(1 + math.exp(-1)))
    expected = math.log((0.5 + 0.25) * math.e)
    assert float(robust_loss(candidates, temperature=1.0).detach()) == pytest.approx(expected)


def test_a_robust_training_that_excludes_seen_items_has_a_finite_loss(tmp_path: Path) -> None:
    model = fit("GRU4Rec", robust=True, exclude_seen=True, epochs=1, folder=tmp_path)
    checkpoint = read_json(tmp_path / "checkpoint" / "model.json")
    losses = [entry["loss"] for entry in checkpoint["settings"]["log"]]
    assert np.isfinite(losses).all()
    assert np.isfinite(model.scores([np.array([1, 2])])).all()


def test_a_seen_negative_is_excluded_at_every_position() -> None:
    network = build_network("GRU4Rec", n_items=5, max_length=3, hidden_size=4, dropout=0.0)
    candidates = sampled_candidates(
        network,
        torch.ones(2, 4),
        torch.tensor([2, 4]),
        negatives=torch.tensor([3, 0, 3, 1, 2]),
        log_popularity=torch.zeros(5),
        seen=torch.tensor([[PAD, 3, 2], [PAD, PAD, 1]]),
    )
    # The first column is the target, which is never excluded.
    assert candidates.log_counts.isneginf().tolist() == [
        [False, True, False, True, False, True],
        [False, False, False, False, True, False],
    ]
