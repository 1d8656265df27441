"""What was seen is no candidate where a network leaves it out."""

import torch

from bigrec.models.neural.losses import all_candidates, sampled_candidates
from bigrec.models.neural.networks import build_network
from bigrec.models.neural.trainer import _items_so_far
from bigrec.models.neural.validation import without_seen

PAD = 5


def test_seen_items_score_lowest_and_padding_stands_for_none() -> None:
    scores = torch.arange(10.0).view(2, 5)
    seen = torch.tensor([[PAD, PAD, 0], [PAD, 3, 4]])
    found = without_seen(scores, seen, padding=PAD)
    assert found.isneginf().tolist() == [
        [True, False, False, False, False],
        [False, False, False, True, True],
    ]


def test_items_so_far_end_where_the_target_begins() -> None:
    inputs = torch.tensor([[PAD, 1, 2], [0, 3, 4]])
    found = _items_so_far(inputs, inputs != PAD, padding=PAD)
    assert found.tolist() == [
        [PAD, 1, PAD],
        [PAD, 1, 2],
        [0, PAD, PAD],
        [0, 3, PAD],
        [0, 3, 4],
    ]
    # Predicting at the last position only, all inputs are there.
    last = _items_so_far(inputs, torch.ones(2, 1, dtype=torch.bool), padding=PAD)
    assert last.tolist() == inputs.tolist()


def test_a_target_that_was_seen_before_stays_a_candidate() -> None:
    network = build_network("GRU4Rec", n_items=5, max_length=3, hidden_size=4, dropout=0.0)
    found = all_candidates(
        network,
        torch.ones(1, 4),
        torch.tensor([2]),
        log_shares=torch.zeros(5),
        seen=torch.tensor([[1, 2, PAD]]),
    )
    assert found.scores[0].isneginf().tolist() == [False, True, False, False, False]


def test_a_sampled_item_that_was_seen_is_left_out_wherever_it_was_drawn() -> None:
    network = build_network("GRU4Rec", n_items=5, max_length=3, hidden_size=4, dropout=0.0)
    found = sampled_candidates(
        network,
        torch.ones(2, 4),
        torch.tensor([2, 4]),
        negatives=torch.tensor([3, 0, 3, 1, 2]),
        log_shares=torch.zeros(5),
        seen=torch.tensor([[PAD, 3, 2], [PAD, PAD, 1]]),
    )
    # The first column is the target, which always stays.
    assert found.log_counts.isneginf().tolist() == [
        [False, True, False, True, False, True],
        [False, False, False, False, True, False],
    ]
