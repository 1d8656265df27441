import math

import pytest
import torch
from torch import Tensor

from bigrec.models.neural.losses import (
    Candidates,
    all_candidates,
    robust_loss,
    sampled_candidates,
    softmax_loss,
)
from bigrec.models.neural.networks import EmbeddingNetwork, build_network

N = 5


@pytest.fixture
def network() -> EmbeddingNetwork:
    """A network of five items whose scores differ."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build_network("GRU4Rec", n_items=N, max_length=2, hidden_size=3)
        torch.nn.init.normal_(network.items.weight)
        torch.nn.init.normal_(network.bias)
    return network


HIDDEN = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]])
TARGETS = torch.tensor([3, 0])
LOG_POPULARITY = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1]).log()


def by_hand(scores: list[float], *, target: int) -> Candidates:
    """Candidates for one target: all items, of equal popularity."""
    n = len(scores)
    return Candidates(
        torch.tensor([scores]),
        torch.tensor([target]),
        torch.zeros(n),
        torch.full((n,), 1 / n).log(),
    )


def test_softmax_loss_is_the_negative_log_probability_of_the_target() -> None:
    # e^ln3 / (e^ln3 + e^0) = 3/4
    loss = softmax_loss(by_hand([math.log(3), 0.0], target=0))
    assert float(loss) == pytest.approx(-math.log(3 / 4))


def test_softmax_loss_is_summed_over_targets() -> None:
    first = by_hand([math.log(3), 0.0], target=0)
    both = Candidates(
        first.scores.repeat(2, 1), torch.tensor([0, 1]), first.log_counts, first.log_popularity
    )
    assert float(softmax_loss(both)) == pytest.approx(-math.log(3 / 4) - math.log(1 / 4))


def test_scores_of_all_candidates_are_products_and_biases(network: EmbeddingNetwork) -> None:
    scores = all_candidates(network, HIDDEN, TARGETS, log_popularity=LOG_POPULARITY).scores
    expected = HIDDEN @ network.items.weight[:N].T + network.bias
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("robust", [False, True])
def test_every_item_sampled_once_gives_the_loss_over_all(
    network: EmbeddingNetwork, robust: bool
) -> None:
    def loss(candidates: Candidates) -> Tensor:
        return robust_loss(candidates, temperature=2.0) if robust else softmax_loss(candidates)

    whole = all_candidates(network, HIDDEN, TARGETS, log_popularity=LOG_POPULARITY)
    sampled = sampled_candidates(
        network, HIDDEN, TARGETS, negatives=torch.arange(N), log_popularity=LOG_POPULARITY
    )
    torch.testing.assert_close(loss(sampled), loss(whole))


def test_sampled_sums_are_right_on_average(network: EmbeddingNetwork) -> None:
    # Over all pairs of negatives, the mean of the estimated sum of e^score is the sum itself.
    pairs = torch.cartesian_prod(torch.arange(N), torch.arange(N))
    sums = []
    for negatives in pairs:
        sampled = sampled_candidates(
            network, HIDDEN, TARGETS, negatives=negatives, log_popularity=LOG_POPULARITY
        )
        sums.append((sampled.scores + sampled.log_counts).exp().sum(dim=1))
    expected = network.scores(HIDDEN).exp().sum(dim=1)
    torch.testing.assert_close(torch.stack(sums).mean(dim=0), expected)


def test_a_negative_that_is_the_target_is_excluded(network: EmbeddingNetwork) -> None:
    sampled = sampled_candidates(
        network, HIDDEN, TARGETS, negatives=torch.tensor([3, 3]), log_popularity=LOG_POPULARITY
    )
    # The first target is 3: it has no other candidate.
    assert (sampled.scores + sampled.log_counts)[0, 1:].tolist() == [-math.inf, -math.inf]
    assert torch.isfinite(softmax_loss(sampled))


def test_robust_loss_is_the_log_mean_of_exponentials_of_squared_errors() -> None:
    # errors (2 - 1)^2 = 1 and 1^2 = 1 and 0, each of popularity 1/3, beta_0 = 2
    loss = robust_loss(by_hand([2.0, 1.0, 0.0], target=0), temperature=2.0)
    expected = 2 * math.log((math.exp(1 / 2) + math.exp(1 / 2) + 1) / 3)
    assert float(loss) == pytest.approx(expected)


def test_robust_loss_weighs_errors_by_popularity() -> None:
    candidates = Candidates(
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([0]),
        torch.zeros(2),
        torch.tensor([3 / 4, 1 / 4]).log(),
    )
    # Both errors are 1, so the popularity cancels out; with the second at 0 it does not.
    assert float(robust_loss(candidates, temperature=1.0)) == pytest.approx(1.0)
    candidates.scores[0, 1] = 0.0
    expected = math.log(3 / 4 * math.e + 1 / 4)
    assert float(robust_loss(candidates, temperature=1.0)) == pytest.approx(expected)


def test_robust_loss_of_perfect_scores_is_zero() -> None:
    assert float(robust_loss(by_hand([0.0, 1.0, 0.0], target=1), temperature=1.0)) == 0.0


def test_a_small_temperature_gives_the_largest_error() -> None:
    # 0.01 log(e^(9/0.01) / 3) = 9 - 0.01 log 3
    loss = robust_loss(by_hand([1.0, 3.0, 0.0], target=0), temperature=0.01)
    assert float(loss) == pytest.approx(9 - 0.01 * math.log(3))
