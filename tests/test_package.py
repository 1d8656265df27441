"""What the package shows to the outside."""

import subprocess
import sys

import pytest

import bigrec


def test_every_public_name_can_be_had() -> None:
    for name in bigrec.__all__:
        assert getattr(bigrec, name) is not None
    assert dir(bigrec) == sorted(bigrec.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Bigrec'"):
        bigrec.Bigrec  # noqa: B018


@pytest.mark.parametrize(
    "module",
    [
        "bigrec", "bigrec.cli", "bigrec.data.sources", "bigrec.grounding.ranker",
        "bigrec.evaluation.reports.evaluation", "bigrec.settings", "bigrec.lm.prompts",
        "bigrec.recommender.bundle",
    ],
)  # fmt: skip
def test_what_needs_no_language_model_does_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
