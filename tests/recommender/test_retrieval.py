"""A recommender that points at titles, from the data to a bundle and back."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import BundleError, SettingsError
from bigrec.experiments.compare import compare_run
from bigrec.experiments.pipeline import Run
from bigrec.grounding.ranks import target_ranks
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.query_encoders import writer_of
from bigrec.recommender.training_data import direct_lessons
from bigrec.settings import Settings
from tests.conftest import save_tiny_model, tiny_frames, tiny_overrides

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]


def overrides(model: Path, *changes: str) -> list[str]:
    small = [
        "layers=1",
        "rank=2",
        "title_size=8",
        "size=8",
        "hidden_size=16",
        "epochs=2",
        "batch_size=16",
    ]
    return [
        *tiny_overrides(model),
        "grounding=direct",
        *(f"direct.{one}" for one in small),
        *changes,
    ]


@pytest.fixture(scope="module")
def fitted(tiny_model: Path) -> BIGRec:
    settings = Settings.read(overrides=overrides(tiny_model, "recommend.inject=[EASE]"))
    return BIGRec(settings).fit(Dataset.from_frames(*tiny_frames(), noun="movie"))


@pytest.fixture(scope="module")
def bundle(fitted: BIGRec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    fitted.save(folder)
    return folder


@pytest.fixture(scope="module")
def run(tiny_model: Path, tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    changes = [
        f"data.source={tiny_files}",
        "compare.signals=[popularity, EASE]",
        "compare.inject=[EASE, EASE & popularity]",
    ]
    settings = Settings.read(overrides=overrides(tiny_model, *changes))
    return Run(tmp_path_factory.mktemp("run"), settings)


def test_a_list_holds_unseen_items_of_the_catalog_and_no_text(fitted: BIGRec) -> None:
    found = fitted.recommend(HISTORY, k=5)
    assert len({one.item_id for one in found} - set(HISTORY)) == 5
    assert [one.generated_text for one in found] == [None] * 5
    in_a_batch = fitted.recommend_batch([["i1"], HISTORY], k=5)[1]
    assert [one.item_id for one in in_a_batch] == [one.item_id for one in found]


def test_a_loaded_bundle_gives_the_same_lists(fitted: BIGRec, bundle: Path) -> None:
    loaded = BIGRec.load(bundle, device="cpu")
    for history in (HISTORY, [f"i{number % 12}" for number in range(30)]):
        same = loaded.recommend(history, k=6, exclude_seen=False)
        assert same == fitted.recommend(history, k=6, exclude_seen=False)


def test_a_bundle_of_another_base_model_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = save_tiny_model(tmp_path / "other", chat=True, seed=7)
    with pytest.raises(BundleError, match="was made with base model"):
        BIGRec.load(bundle, base_model=str(other), device="cpu")


def test_new_items_are_recommended_without_training(bundle: Path) -> None:
    model = BIGRec.load(bundle, device="cpu")
    _, items = tiny_frames()
    new = pl.concat([pl.DataFrame({"item_id": ["new"], "title": ["Heat (1995)"]}), items])
    model.update_catalog(Catalog.from_frame(new))
    listed = {one.item_id for one in model.recommend(["i0", "i1"], k=11)}
    assert listed == {"new", *(f"i{number}" for number in range(2, 12))}
    assert model.recommend(["i0", "new"], k=3)


def test_a_run_is_taught_once_and_evaluates_by_the_grounders_own_scores(run: Run) -> None:
    report = run.evaluate()
    assert {row.method for row in report.rows} == {"BIGRec, direct", "popularity", "random"}
    assert not report.shares
    log = run.train()
    assert [set(entry) for entry in log] == [{"epoch", "loss", "ndcg@10"}] * 2
    assert {path.name.partition("-")[0] for path in run.folder.glob("*-*")} == {
        "data",
        "direct",
        "evaluation",
    }
    again = Run(run.folder, run.settings)
    assert [row.value for row in again.evaluate().rows] == [row.value for row in report.rows]


def test_a_comparison_sets_it_beside_its_few_shot_self(run: Run) -> None:
    found = compare_run(run)
    names = {one.name for one in found.results}
    assert {"BIGRec, direct", "BIGRec, direct, few-shot", "BIGRec x EASE", "BIGRec + EASE"} <= names
    own = next(o for o in found.results if o.name == "BIGRec, direct" and not o.exclude_seen)
    answerer, test = run.recommender.parts.answerer, run.drawn.test
    scores = answerer.grounder.scores(test.histories)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(own.ranks, target_ranks(-scores, test.targets))


def test_few_shots_alone_can_be_learned_from(run: Run) -> None:
    every = direct_lessons(run.dataset, run.drawn, run.settings)
    assert every.train.sum() == run.drawn.train_rows.sum()
    chosen = run.settings.direct.model_copy(update={"learn_from": "examples"})
    few = direct_lessons(run.dataset, run.drawn, run.settings.model_copy(update={"direct": chosen}))
    assert few.train.sum() == sum(len(items) for items in run.drawn.train_items)


def test_texts_are_not_to_be_had(run: Run) -> None:
    with pytest.raises(SettingsError, match="points at titles and writes none"):
        writer_of(run.recommender.parts.answerer)


def test_the_command_line_goes_all_the_way(
    tiny_model: Path, tiny_files: Path, tmp_path: Path
) -> None:
    common = ["--run", str(tmp_path), "--data", str(tiny_files)]
    common += [part for one in overrides(tiny_model) for part in ("--set", one)]
    for command in ("train", "index", "evaluate"):
        found = CliRunner().invoke(app, [command, *common])
        assert found.exit_code == 0, found.output
    asked = ["recommend", "--bundle", str(tmp_path / "bundle"), "--json", "-k", "2", "i0", "i3"]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.output)) == 2
