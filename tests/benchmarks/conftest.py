"""Data and a model so small that every benchmark takes seconds."""

from pathlib import Path

import pytest

from benchmarks.inputs import Inputs, load_inputs
from bigrec.settings import Settings
from tests.conftest import tiny_overrides


@pytest.fixture
def inputs(tiny_model: Path, tiny_files: Path) -> Inputs:
    """The tiny dataset and a two-layer model without an adapter."""
    source = f"data.source={tiny_files}"
    return load_inputs(Settings.read(overrides=[source, *tiny_overrides(tiny_model)]))
