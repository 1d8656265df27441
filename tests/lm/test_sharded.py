"""Two processes that train by the configurations in ``examples/`` have the losses of one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from bigrec.errors import SettingsError
from bigrec.lm.distributed import is_sharding
from bigrec.lm.model import load_language_model
from bigrec.lm.trained import load_trained
from tests.lm import sharded_training

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
# Settings of fine-tuning, or for retrieval the number of other catalogs.
TRAININGS: dict[str, int | dict[str, Any]] = {
    "adapter": {"method": "lora"},
    "full": {"method": "full", "learning_rate": 1e-3},
    "retrieval": 0,
    "retrieval of two catalogs": 1,
}


def environment(config: str) -> dict[str, str]:
    """What ``accelerate launch --config_file examples/...`` sets for its processes."""
    file = str(ROOT / "examples" / config)
    arguments = launch_command_parser().parse_args(["--config_file", file, "train.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == 2
    set_there: dict[str, str] = prepare_multi_gpu_env(arguments)
    return set_there


def train_together(model: Path, out: Path, *, config: str) -> dict[str, dict[str, Any]]:
    """What each training gives, all in the same two processes."""
    out.mkdir()
    # `accelerate launch` starts one process on a CPU unless there is MPI.
    launcher = "torch.distributed.run", "--standalone", "--nproc_per_node", "2"
    command = [
        *(sys.executable, "-m", *launcher, "-m", sharded_training.__name__),
        *(str(model), str(out), json.dumps(TRAININGS)),
    ]
    # After the paths of this process, which may test a copy that is not the installed one.
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    variables = environment(config) | {
        "PYTHONPATH": paths,
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command,
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((out / f"{index}.json").read_text()) for index in (0, 1))
    assert first == second
    trained: dict[str, dict[str, Any]] = first
    return trained


@pytest.fixture(scope="module")
def alone(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each training gives in one process."""
    folder = tmp_path_factory.mktemp("alone")
    return {
        name: sharded_training.train(tiny_model, folder / name, training)
        for name, training in TRAININGS.items()
    }


@pytest.mark.parametrize("config", ["accelerate-ddp.yaml", "accelerate-fsdp.yaml"])
def test_two_processes_have_the_losses_of_one(
    config: str, alone: dict[str, dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    together = train_together(tiny_model, tmp_path / "out", config=config)
    for name, training in TRAININGS.items():
        is_retrieval = isinstance(training, int)
        assert alone[name]["sharded"] == 0
        assert (together[name]["sharded"] > 0) == ("fsdp" in config and not is_retrieval)
        assert (together[name]["fingerprint"] is not None) == is_retrieval
        assert len(together[name]["losses"]) == len(alone[name]["losses"]) > 2
        for entry, expected in zip(together[name]["losses"], alone[name]["losses"], strict=True):
            assert entry == pytest.approx(expected, rel=1e-4)
        if is_retrieval:
            assert len(alone[name]["losses"]) == 4
        if isinstance(training, dict):
            # 8 examples in batches of 4, two epochs.
            assert max(entry["step"] for entry in together[name]["losses"]) == 4
            lm = load_language_model(str(tiny_model), device="cpu")
            load_trained(lm, tmp_path / "out" / name, method=training["method"])


def test_the_first_version_of_sharding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_sharding()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SettingsError, match="version 1 of FSDP: expected 2"):
        is_sharding()
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert is_sharding()
