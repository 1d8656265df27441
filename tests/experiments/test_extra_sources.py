"""Retrieval mode trained on several datasets."""

import shutil
from pathlib import Path

import pytest

from bigrec.experiments.pipeline import Pipeline
from bigrec.recommender.bigrec import BIGRec
from tests.conftest import TITLES, tiny_settings

pytestmark = pytest.mark.model


@pytest.mark.parametrize(
    ("train_on", "note"),
    [
        ("interactions", "training interactions of this dataset and 132 of"),
        ("examples", "16 training examples of this dataset and"),
    ],
)
def test_a_network_of_two_datasets_recommends_from_the_first(
    train_on: str, note: str, tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_files, tmp_path / "other")
    titles = (other / "items.csv").read_text().replace("(199", "[199")
    (other / "items.csv").write_text(titles)
    changes = [f"data.source={tiny_files}", f"retrieval.train_on={train_on}"]
    if train_on == "examples":
        changes.append("data.max_train_examples=8")
    alone = Pipeline(
        tmp_path / "alone", tiny_settings(tiny_model, *changes, mode="retrieval")
    ).evaluate()
    changes.append(f"data.extra_train_sources=[{{source: {other}}}]")
    pipeline = Pipeline(tmp_path / "run", tiny_settings(tiny_model, *changes, mode="retrieval"))
    report = pipeline.evaluate()
    assert f"{note} data.extra_train_sources (1)" in report.notes[0]
    # Of the tested dataset it knows what a network of this dataset alone knows.
    assert report.fitted_to[0].interactions == alone.fitted_to[0].interactions
    loaded = BIGRec.load(tmp_path / "run" / "bundle")
    assert set(loaded.catalog.titles) == set(TITLES)
    assert {item.title for item in loaded.recommend(TITLES[:2], k=3)} <= set(TITLES)
