"""What the package shows to the outside, and what its sources keep to."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import bigrec
from bigrec import errors
from tests.conftest import UNTRACED

pytestmark = UNTRACED

SOURCES = Path(bigrec.__file__).parent


def error_tree() -> set[str]:
    """Names of all errors of bigrec."""
    return {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.BigrecError)
    }


@pytest.mark.parametrize("name", bigrec.__all__)
def test_a_public_name_resolves(name: str) -> None:
    assert getattr(bigrec, name) is not None


def test_dir_lists_the_public_names_in_order() -> None:
    assert dir(bigrec) == sorted(bigrec.__all__) == bigrec.__all__
    assert len(set(bigrec.__all__)) == len(bigrec.__all__)


def test_every_error_is_public() -> None:
    assert len(error_tree()) >= 8
    assert error_tree() <= set(bigrec.__all__)
    for name in error_tree():
        assert getattr(bigrec, name) is getattr(errors, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Bigrec'"):
        bigrec.Bigrec  # noqa: B018


@pytest.mark.parametrize(
    "module",
    [
        "bigrec", "bigrec.cli", "bigrec.data.sources", "bigrec.grounding.ranker",
        "bigrec.evaluation.reports.evaluation", "bigrec.settings", "bigrec.lm.prompts",
        "bigrec.recommender.bigrec", "bigrec.serving.app",
    ],
)  # fmt: skip
def test_what_needs_no_language_model_does_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'matplotlib'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_top_level_stays_small() -> None:
    names = {path.name for path in SOURCES.iterdir() if not path.name.startswith("__")}
    # Twelve packages, four modules that all of them use, and py.typed.
    assert len(names) <= 17, sorted(names)


def test_no_source_file_is_over_400_lines() -> None:
    lengths = {
        str(path.relative_to(SOURCES)): len(path.read_text(encoding="utf-8").splitlines())
        for path in SOURCES.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}
