"""What ``bigrec doctor`` tells of packages, and its exit code."""

import importlib.metadata
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.cli.doctor import DEVELOPMENT, EXTRAS, package_findings

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


class Distribution:
    """Stands in for the installed package: one requirement, one extra."""

    metadata: Any = None

    def __init__(self, *requires: str) -> None:
        self.requires = [*requires, 'polars>=9000; extra == "serve"', 'ruff; extra == "dev"']
        self.metadata = self

    def get_all(self, _: str) -> list[str]:
        return ["serve", "dev"]


def pretend(monkeypatch: pytest.MonkeyPatch, *requires: str) -> None:
    real = importlib.metadata.distribution

    def distribution(name: str) -> Any:
        return Distribution(*requires) if name == "bigrec" else real(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_every_extra_of_the_package_is_explained() -> None:
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - DEVELOPMENT


def test_what_the_doctor_imports_is_required_by_the_package() -> None:
    required = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    names = {Requirement(text).name for text in required}
    assert {"huggingface-hub", "joblib", "packaging", "psutil", "threadpoolctl"} <= names


def test_a_sound_machine_has_exit_code_0_and_the_facts_as_json(tiny_model: Path) -> None:
    result = invoke("--model", str(tiny_model), "--text-encoder", str(tiny_model), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["ok"] is True
    subjects = [finding["subject"] for finding in told["findings"]]
    for subject in ("bigrec", "Packages", "Processor", "Threads", "Memory", "GPU", "Base model"):
        assert subject in subjects
    assert all(finding["meaning"] for finding in told["findings"])


def test_the_table_names_the_model_that_was_looked_for(tiny_model: Path) -> None:
    result = invoke("--model", str(tiny_model / "gone"), "--text-encoder", str(tiny_model))
    assert result.exit_code == 1
    assert "missing" in result.stdout


def test_a_missing_package_is_exit_code_1_without_a_look_at_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "no-such-package>=1", "polars>=9000", "rich")
    result = invoke("--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["ok"] is False
    (packages,) = (f for f in told["findings"] if f["status"] == "missing")
    assert "no-such-package is not installed; polars is" in packages["found"]
    assert "expected >=9000" in packages["found"]
    assert "Processor" not in [finding["subject"] for finding in told["findings"]]


def test_an_extra_that_is_too_old_says_what_does_not_work_and_what_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "rich")
    extras = [f for f in package_findings() if f.subject.startswith("bigrec[")]
    assert [extra.subject for extra in extras] == ["bigrec[serve]"]
    assert extras[0].status == "note"
    assert extras[0].meaning == "Without: bigrec serve. Run: pip install 'bigrec[serve]'"


def test_hostile_paths_are_escaped(tiny_model: Path) -> None:
    result = invoke("--model", "./\x1b[31mgone", "--text-encoder", str(tiny_model))
    assert "\x1b[31mgone" not in result.stdout
