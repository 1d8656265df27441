"""An experiment whose model was trained on other datasets than the one that is tested."""

import shutil
from pathlib import Path

import pytest

from bigrec.experiments.pipeline import Pipeline
from tests.conftest import Mode, tiny_settings

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("mode", "places_items"), [("generative", False), ("latent", True)])
def test_a_report_says_what_a_zero_shot_model_knows_of_the_tested_dataset(
    mode: Mode, places_items: bool, tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_files, tmp_path / "other")
    changes = (
        f"data.source={tiny_files}",
        f"data.extra_train_sources=[{{source: {other}, item_type: game}}]",
        "data.train_sources=extra",
    )
    pipeline = Pipeline(tmp_path / "run", tiny_settings(tiny_model, *changes, mode=mode))
    report = pipeline.evaluate()
    assert "8 training examples of data.extra_train_sources (1)" in report.notes[0]
    model = report.fitted_to[0]
    assert model.method.label.startswith("BIGRec")
    assert model.interactions == pipeline.prepared.train_rows.sum() * places_items
