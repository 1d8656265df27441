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
# Settings of fine-tuning; None trains for retrieval.
TRAININGS: dict[str, dict[str, Any] | None] = {
    "adapter": {"method": "lora"},
    "full": {"method": "full", "learning_rate": 1e-3},
    "retrieval": None,
}


def environment(config: str) -> dict[str, str]:
    """What ``accelerate launch --config_file examples/...`` sets for its processes."""
    file = str(ROOT / "examples" / config)
    arguments = launch_command_parser().parse_args(["--config_file", file, "train.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == 2
    set_there: dict[str, str] = prepare_multi_gpu_env(arguments)
    return set_there


def train(model: Path, out: Path, *, config: str | None) -> dict[str, dict[str, Any]]:
    """Losses and the number of sharded weights of each training, all in the same processes."""
    out.mkdir()
    launcher = "torch.distributed.run", "--standalone", "--nproc_per_node", "2"
    command = [
        *(sys.executable, "-m", *(launcher if config else ())),
        *(() if config is None else ("-m",)),
        sharded_training.__name__, str(model), str(out), json.dumps(TRAININGS),
    ]  # fmt: skip
    variables = dict(os.environ) if config is None else environment(config)
    # After the paths of this process, which may test a copy that is not the installed one.
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    variables |= {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]
    assert len(results) == (1 if config is None else 2)
    assert all(result == results[0] for result in results)
    first: dict[str, dict[str, Any]] = results[0]
    return first


def test_two_processes_of_either_configuration_have_the_losses_of_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    alone = train(tiny_model, tmp_path / "alone", config=None)
    for config in ("accelerate-ddp.yaml", "accelerate-fsdp.yaml"):
        together = train(tiny_model, tmp_path / config, config=config)
        for name, changes in TRAININGS.items():
            is_sharded = changes is not None and "fsdp" in config
            assert alone[name]["sharded"] == 0
            assert (together[name]["sharded"] > 0) == is_sharded
            assert len(together[name]["losses"]) == len(alone[name]["losses"]) > 2
            for entry, expected in zip(
                together[name]["losses"], alone[name]["losses"], strict=True
            ):
                assert entry == pytest.approx(expected, rel=1e-4)
            if changes is not None:
                lm = load_language_model(str(tiny_model), device="cpu")
                load_trained(lm, tmp_path / config / name, method=changes["method"])


def test_the_first_version_of_sharding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_sharding()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SettingsError, match="version 1 of FSDP: expected 2"):
        is_sharding()
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert is_sharding()
