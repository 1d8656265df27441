"""Seen items are excluded from candidates and validation."""

import torch

from bigrec.models.neural.losses import all_candidates, sampled_candidates
from bigrec.models.neural.networks import build_network
from bigrec.models.neural.trainer import _items_before_targets
from bigrec.models.neural.validation import exclude_seen

PAD = 5


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
    assert candidates.scores[0].isneginf().tolist() == [False, True, False, False, False]


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
