import numpy as np
import pytest
import torch

from bigrec.evaluation.metrics import ndcg_at
from bigrec.grounding.ranks import target_ranks
from bigrec.models.neural.networks import build_network
from bigrec.models.neural.validation import ndcg_at_10

N = 30


def test_validation_ndcg_is_that_of_the_evaluation() -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build_network("GRU4Rec", n_items=N, max_length=3, hidden_size=4).eval()
        histories, targets = torch.randint(N, (50, 3)), torch.randint(N, (50,))
    with torch.inference_mode():
        scores = network.scores(network(histories)[:, -1]).numpy()
    expected = ndcg_at(target_ranks(-scores, targets.numpy()), k=10)
    assert 0 < expected < 1
    assert ndcg_at_10(network, histories, targets, seen_excluded=False) == pytest.approx(expected)


def test_a_seen_target_is_a_miss_in_a_catalog_of_fewer_items_than_are_counted() -> None:
    network = build_network("GRU4Rec", n_items=4, max_length=3, hidden_size=4).eval()
    histories, targets = torch.tensor([[1, 2, 3], [1, 2, 3]]), torch.tensor([2, 0])
    # The second target alone is left to rank.
    assert ndcg_at_10(network, histories, targets, seen_excluded=True) == 0.5


@pytest.mark.parametrize(("n_items", "expected"), [(10, 1 / np.log2(11)), (11, 0.0)])
def test_items_tied_with_the_target_rank_before_it(n_items: int, expected: float) -> None:
    network = build_network("GRU4Rec", n_items=n_items, max_length=3, hidden_size=4).eval()
    torch.nn.init.zeros_(network.items.weight)
    ndcg = ndcg_at_10(network, torch.tensor([[1]]), torch.tensor([0]), seen_excluded=False)
    assert ndcg == pytest.approx(expected)
