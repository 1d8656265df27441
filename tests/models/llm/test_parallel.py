"""Training in parts: on several processes, and in several forward passes for a step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bigrec.lm.distributed import Processes, all_processes
from bigrec.models.neural.gradients import sum_gradients
from bigrec.models.neural.networks import build_network
from tests.models.llm.fakes import extra_catalog, fit, load


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


@pytest.mark.parametrize("n_extra", [0, 1])
def test_two_processes_have_the_loss_curve_of_one(
    n_extra: int, tiny_model: Path, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import json, sys\n"
        "from pathlib import Path\n"
        "from bigrec.lm.distributed import all_processes\n"
        "from bigrec.lm.model import load_language_model\n"
        "from tests.models.llm.fakes import extra_catalog, fit\n"
        "model, out = map(Path, sys.argv[1:])\n"
        "lm = load_language_model(str(model), device='cpu', dtype='float32')\n"
        f"extra = [extra_catalog(lm)] * {n_extra}\n"
        "fitted = fit(lm, epochs=3, folder=out / 'checkpoints', extra=extra)\n"
        "file = out / f'{all_processes().index}.json'\n"
        "file.write_text(json.dumps([list(fitted.log), fitted.fingerprint]))\n"
    )
    root = Path(__file__).parents[3]
    # `accelerate launch --cpu` starts one process unless there is MPI.
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        str(script), str(tiny_model), str(tmp_path),
    ]  # fmt: skip
    # After the paths of this process, which may test a copy that is not the installed one.
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(root)]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{index}.json").read_text()) for index in (0, 1))
    assert first == second
    lm = load(tiny_model)
    alone = fit(lm, epochs=3, extra=[extra_catalog(lm)] * n_extra)
    assert len(alone.log) == len(first[0]) == 4
    for entry, expected in zip(first[0], alone.log, strict=True):
        assert entry == pytest.approx(expected, rel=1e-4)


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
