"""Training in several forward passes for a step; `tests.lm.test_sharded` has several processes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bigrec.lm.distributed import Processes, all_processes
from bigrec.models.neural.gradients import sum_gradients
from bigrec.models.neural.networks import build_network
from tests.models.llm.fakes import fit, load


@pytest.mark.parametrize("size", [1, 5])
def test_gradients_of_parts_of_a_batch_add_up_to_those_of_the_batch(
    size: int, tiny_model: Path
) -> None:
    whole = fit(load(tiny_model), epochs=2)
    parts = fit(load(tiny_model), epochs=2, per_device_batch_size=size)
    for first, second in zip(whole.log, parts.log, strict=True):
        assert second == pytest.approx(first, rel=1e-4)
    histories = [np.array([2, 3]), np.array([5])]
    np.testing.assert_allclose(whole.scores(histories), parts.scores(histories), atol=1e-3)


def test_a_run_of_one_process_has_one() -> None:
    processes = all_processes()
    assert processes == Processes(index=0, count=1)
    vector = torch.ones(3)
    assert processes.add(vector) is vector


def test_gradients_that_a_process_lacks_count_as_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network("GRU4Rec", n_items=4, max_length=3, hidden_size=2)
    network.bias.grad = torch.arange(4.0)
    # The other process has the same gradients, and these alone.
    monkeypatch.setattr(Processes, "add", lambda _, vector: 2 * vector)
    assert sum_gradients(network, 1.5, Processes(0, 2)) == 3
    for name, weight in network.named_parameters():
        expected = 2 * torch.arange(4.0) if name == "bias" else torch.zeros(weight.shape)
        torch.testing.assert_close(weight.grad, expected)
