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


def environment(config: str) -> dict[str, str]:
    """What ``accelerate launch --config_file examples/...`` sets for its processes."""
    file = str(ROOT / "examples" / config)
    arguments = launch_command_parser().parse_args(["--config_file", file, "train.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == 2
    set_there: dict[str, str] = prepare_multi_gpu_env(arguments)
    return set_there


def train(
    what: str, model: Path, out: Path, changes: dict[str, Any], *, config: str | None
) -> dict[str, Any]:
    """Losses, and the number of sharded weights."""
    out.mkdir()
    launcher = "torch.distributed.run", "--standalone", "--nproc_per_node", "2"
    command = [
        *(sys.executable, "-m", *(launcher if config else ())),
        *(() if config is None else ("-m",)),
        sharded_training.__name__, what, str(model), str(out), json.dumps(changes),
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
    first: dict[str, Any] = results[0]
    return first


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("generative", {"method": "lora"}),
        ("generative", {"method": "full", "learning_rate": 1e-3}),
        ("retrieval", {}),
    ],
)
def test_two_processes_of_either_configuration_have_the_losses_of_one(
    tiny_model: Path, tmp_path: Path, what: str, changes: dict[str, Any]
) -> None:
    alone = train(what, tiny_model, tmp_path / "alone", changes, config=None)
    assert alone["sharded"] == 0
    for config in ("accelerate-ddp.yaml", "accelerate-fsdp.yaml"):
        together = train(what, tiny_model, tmp_path / config, changes, config=config)
        is_sharded = what == "generative" and "fsdp" in config
        assert (together["sharded"] > 0) == is_sharded
        assert len(together["losses"]) == len(alone["losses"]) > 2
        for entry, expected in zip(together["losses"], alone["losses"], strict=True):
            assert entry == pytest.approx(expected, rel=1e-4)
        if what == "generative":
            lm = load_language_model(str(tiny_model), device="cpu")
            load_trained(lm, tmp_path / config / "training", method=changes["method"])


def test_the_first_version_of_sharding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_sharding()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SettingsError, match="version 1 of FSDP: expected 2"):
        is_sharding()
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert is_sharding()
