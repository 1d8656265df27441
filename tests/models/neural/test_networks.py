import pytest
import torch
from torch import Tensor

from bigrec.models.neural.networks import Architecture, EmbeddingNetwork, build_network
from tests.models.fakes import N
from tests.models.neural.fakes import ARCHITECTURES


def build(architecture: Architecture, *, dropout: float = 0.0) -> EmbeddingNetwork:
    """A network with weights large enough for differences to show."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build_network(
            architecture, n_items=N, max_length=4, hidden_size=8, dropout=dropout
        )
        torch.nn.init.normal_(network.items.weight[:N].data)
    return network.eval()


def last_scores(network: EmbeddingNetwork, items: list[list[int]]) -> Tensor:
    with torch.inference_mode():
        return network.scores(network(torch.tensor(items))[:, -1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_on_the_left_changes_nothing(architecture: Architecture) -> None:
    network = build(architecture)
    torch.testing.assert_close(last_scores(network, [[N, N, 3, 5]]), last_scores(network, [[3, 5]]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_order_of_items_matters(architecture: Architecture) -> None:
    first, second = last_scores(build(architecture), [[1, 2, 3], [2, 1, 3]])
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("architecture", ["SASRec", "GRU4Rec"])
def test_a_position_does_not_depend_on_later_ones(architecture: Architecture) -> None:
    network = build(architecture)
    with torch.inference_mode():
        first, second = network(torch.tensor([[N, 1, 2, 3], [N, 1, 2, 7]]))
    torch.testing.assert_close(first[1:3], second[1:3])
    assert not torch.allclose(first[3], second[3])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_alone_gives_finite_scores(architecture: Architecture) -> None:
    assert last_scores(build(architecture), [[N, N]]).isfinite().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_finite_beside_padding_and_padding_has_none(
    architecture: Architecture,
) -> None:
    network = build(architecture).train()
    scores = network.scores(network(torch.tensor([[N, N, 1, 2], [3, 4, 5, 6]])))
    torch.autograd.backward(scores.sum())
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    gradient = network.items.weight.grad
    assert gradient is not None
    assert not gradient[N].any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_of_some_items_are_those_of_all(architecture: Architecture) -> None:
    network = build(architecture)
    hidden = torch.linspace(-1, 1, 16).view(2, 8)
    items = torch.tensor([5, 0, 5])
    torch.testing.assert_close(network.scores_of(hidden, items), network.scores(hidden)[:, items])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_is_off_outside_of_training(architecture: Architecture) -> None:
    network = build(architecture, dropout=0.5)
    torch.testing.assert_close(last_scores(network, [[1, 2]]), last_scores(network, [[1, 2]]))


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="architecture is 'BERT'; expected SASRec, GRU4Rec, Caser"):
        build_network("BERT", n_items=N, max_length=4, hidden_size=8)


@pytest.mark.parametrize("name", ["max_length", "hidden_size"])
def test_sizes_below_one_are_refused(name: str) -> None:
    sizes = {"max_length": 4, "hidden_size": 8} | {name: 0}
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least 1"):
        build_network("GRU4Rec", n_items=N, **sizes)


def test_a_hidden_size_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden_size is 7; expected a multiple of 2"):
        build_network("SASRec", n_items=N, max_length=4, hidden_size=7)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_a_dropout_out_of_range_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match=f"dropout is {dropout}; expected at least 0 and below 1"):
        build_network("Caser", n_items=N, max_length=4, hidden_size=8, dropout=dropout)
