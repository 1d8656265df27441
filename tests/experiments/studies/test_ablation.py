import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.errors import SettingsError
from bigrec.experiments.studies import ablation
from bigrec.experiments.studies.ablation import plan_ablation, run_ablation
from bigrec.experiments.studies.variants import (
    PRETRAINED,
    VARIANTS,
    Variant,
    make_variant,
    noise_features,
    tf_idf_features,
)
from bigrec.lm.model import LanguageModel
from bigrec.settings import Settings
from tests.conftest import TITLES, tiny_overrides, tiny_settings
from tests.models.llm.fakes import load


@pytest.fixture(scope="module")
def settings(tiny_files: Path, tiny_model: Path) -> Settings:
    changes = (f"data.source={tiny_files}", "baselines.tune=none")
    tiny: Settings = tiny_settings(tiny_model, *changes, mode="retrieval")
    return tiny


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    return load(tiny_model)


def test_the_ablation_ends_in_verdicts_and_reads_what_is_complete(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run_ablation(settings, run_dir=tmp_path)
    labels = {row.method.label for row in report.rows}
    assert {variant.label for variant in VARIANTS} <= labels
    assert "co-occurrence & text kNN & Gaussian" in labels
    assert set(report.verdicts) == {finding.question for finding in report.findings}
    stored = json.loads((tmp_path / "ablation" / "study.json").read_text(encoding="utf-8"))
    assert stored["verdicts"] == report.verdicts

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a complete variant ran again")

    monkeypatch.setattr(ablation, "make_variant", never)
    assert run_ablation(settings, run_dir=tmp_path) == report


def test_the_variant_with_nothing_replaced_is_what_retrieval_mode_trains(
    settings: Settings, tmp_path: Path
) -> None:
    pipeline = ablation._pipeline(settings, tmp_path, lambda _: lambda _done, _total: None)
    retriever = pipeline.fitting.retriever()
    assert ablation._fit_variant(PRETRAINED, pipeline).fingerprint == retriever.fingerprint


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_all_variants_have_features_of_the_same_size(variant: Variant, lm: LanguageModel) -> None:
    encoder, features = make_variant(variant, lm, TITLES, seed=0)
    vectors = features.embed(TITLES[:3])
    assert vectors.shape == (3, 64)
    assert vectors.dtype == np.float32
    assert (encoder is lm) == (variant.encoder == "pretrained")


def test_tf_idf_features_have_the_products_of_the_n_grams() -> None:
    titles = ["Alien", "Aliens", "Heat"]
    features = tf_idf_features(titles, dim=8)
    products = features @ features.T
    assert products[0, 1] > 0.1
    np.testing.assert_allclose(products[2, :2], 0, atol=1e-6)
    # Of three titles two components can be kept: the largest, in the last columns.
    assert not features[:, :6].any()
    assert (features[:, 7] ** 2).sum() > (features[:, 6] ** 2).sum()


def test_noise_tells_titles_apart_and_nothing_more() -> None:
    features = noise_features(TITLES, dim=512, seed=0)
    cosines = np.corrcoef(features)
    np.testing.assert_allclose(cosines, np.eye(len(TITLES)), atol=0.2)


@pytest.mark.parametrize(
    "change", [["mode=text"], ["mode=retrieval", "evaluation.refit=train+valid"]]
)
def test_settings_without_a_retriever_to_ablate_are_refused(
    change: list[str], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="needs mode: retrieval"):
        plan_ablation(Settings.read(overrides=change), run_dir=tmp_path)


def test_variants_are_of_one_dataset(tmp_path: Path) -> None:
    several = Settings.read(overrides=["data.extra_train_sources=[{source: sample}]"])
    with pytest.raises(SettingsError, match=r"data.extra_train_sources .* Leave it empty"):
        plan_ablation(several, run_dir=tmp_path)


def test_the_command_plans_the_variants_without_weights(
    tiny_files: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", never)
    overrides = tiny_overrides(
        tiny_model, f"data.source={tiny_files}", "data.min_history=1", mode="retrieval"
    )
    options = [part for override in overrides for part in ("--set", override)]
    done = CliRunner().invoke(
        app, ["study", "ablation", "--dry-run", "--json", "--run-dir", str(tmp_path), *options]
    )
    assert done.exit_code == 0, done.output
    planned = json.loads(done.stdout)
    assert [variant["name"] for variant in planned] == [variant.name for variant in VARIANTS]
    assert [variant["epochs"] for variant in planned] == [2, 0, 2, 2, 2, 2]
    # 20 users, whose first interactions are no targets, up to 80 % of the time.
    assert 0 < planned[0]["targets"] < 140
    assert planned[0]["steps"] == -(-planned[0]["targets"] // 16)
    assert not list(tmp_path.glob("arms/retrieval-*"))
