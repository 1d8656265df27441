import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.errors import DataError, SettingsError
from bigrec.evaluation.method import MethodId
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.studies import domain_arms
from bigrec.experiments.studies.domain_arms import (
    ARMS,
    ZERO_SHOT,
    DomainArm,
    domain_settings,
    rank_arm,
)
from bigrec.experiments.studies.domains import contrasts_of, plan_domains, run_domains
from bigrec.experiments.studies.study import ARMS_FOLDER
from bigrec.settings import Settings
from tests.conftest import tiny_frames, tiny_overrides, tiny_settings

QUICK = (
    "generative.truncate_layers=1",
    "generative.prompt.style=list",
    "generative.finetune.loss=titles",
    "baselines.tune=none",
    "data.name=movies",
)


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a second domain: other titles, a shorter catalog."""
    folder = tmp_path_factory.mktemp("games")
    interactions, items = tiny_frames()
    few = items.head(9).with_columns(title=pl.format("Game {}", pl.int_range(9)))
    interactions.write_csv(folder / "interactions.csv")
    few.write_csv(folder / "items.csv")
    return folder


def overrides(tiny_files: Path, games: Path, *, name: str = "games") -> list[str]:
    further = f"data.extra_train_sources=[{{source: {games}, name: {name}, item_type: game}}]"
    return [f"data.source={tiny_files}", further, *QUICK]


@pytest.fixture(scope="module")
def settings(tiny_files: Path, games: Path, tiny_model: Path) -> Settings:
    tiny: Settings = tiny_settings(tiny_model, *overrides(tiny_files, games))
    return tiny


@pytest.mark.model
def test_the_study_ends_in_verdicts_for_each_domain_and_reads_what_is_complete(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run_domains(settings, run_dir=tmp_path)
    labels = [list(dict.fromkeys(group)) for group in report.groups]
    for name, group in zip(("movies", "games"), labels, strict=True):
        assert all(label.startswith(f"{name}: ") for label in group)
        assert f"{name}: BIGRec, latent [other domains]" in group
        assert f"{name}: BIGRec, latent [other domains, items by title]" in group
        assert f"{name}: text kNN" in group
        assert len([question for question in report.verdicts if name in question]) == 6
    assert {row.method.label for row in report.rows} == {*labels[0], *labels[1]}
    assert any(note.startswith("games: 8 training examples; 6 queries") for note in report.notes)
    # Five sums for each decoding of each domain, corrected together.
    assert len(report.findings) == 20
    least = min(report.findings, key=lambda finding: finding.p_value)
    assert least.p_corrected == pytest.approx(min(1, 20 * least.p_value))
    # A model of each domain, of both, and of none for the prompts of each.
    assert len(list((tmp_path / ARMS_FOLDER).glob("finetune-*"))) == 5
    stored = json.loads((tmp_path / "domains" / "study.json").read_text(encoding="utf-8"))
    assert stored["verdicts"] == report.verdicts
    assert (tmp_path / "domains" / "study.png").read_bytes().startswith(b"\x89PNG")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a complete arm ran again")

    monkeypatch.setattr(domain_arms, "evaluate_methods", never)
    assert run_domains(settings, run_dir=tmp_path) == report


@pytest.mark.model
def test_an_arm_ranks_the_catalog_of_the_tested_domain(settings: Settings, tmp_path: Path) -> None:
    _, games = domain_settings(settings)
    table = rank_arm(DomainArm("other", "beams"), games, folder=tmp_path)
    assert all(title.startswith("Game") for title in table.frame["target_title"])
    own = MethodId("games: BIGRec [other domains]")
    assert table.ranks(own, exclude_seen=False).max() < 9


@pytest.mark.model
@pytest.mark.parametrize("head", ["gaussian", "l2"])
def test_items_of_a_domain_that_was_never_seen_are_placed_by_their_titles_alone(
    head: str, tiny_files: Path, games: Path, tiny_model: Path, tmp_path: Path
) -> None:
    of_head = (*overrides(tiny_files, games), f"grounding.head={head}")
    latent = tiny_settings(tiny_model, *of_head, mode="latent")
    _, tested = domain_settings(latent)
    pipeline = Pipeline(tmp_path, ZERO_SHOT.settings(tested), write_settings=False)
    points = domain_arms._placed_by_title(pipeline).encoder.ranker.index.embeddings
    of_examples = pipeline.fitting.unfused.encoder.ranker.index.embeddings
    assert not np.allclose(of_examples, points)
    # Other interactions with the same games change nothing.
    shuffled = tmp_path / "shuffled"
    shutil.copytree(games, shuffled)
    rows = pl.read_csv(games / "interactions.csv")
    rows.with_columns(pl.col("item_id").reverse()).write_csv(shuffled / "interactions.csv")
    changed = ZERO_SHOT.settings(tested.changed({"data.source": str(shuffled)}))
    other = domain_arms._placed_by_title(Pipeline(tmp_path, changed, write_settings=False))
    np.testing.assert_array_equal(other.encoder.ranker.index.embeddings, points)


def test_every_domain_is_tested_once_and_the_others_are_its_further_sources(
    settings: Settings, tiny_files: Path, games: Path
) -> None:
    movies_tested, games_tested = domain_settings(settings)
    assert (movies_tested.data.source, games_tested.data.source) == (str(tiny_files), str(games))
    assert [source.source for source in games_tested.data.extra_train_sources] == [str(tiny_files)]
    # What belongs to a source goes with it, and what belongs to the examples stays.
    assert (games_tested.data.item_type, games_tested.data.name) == ("game", "games")
    assert games_tested.data.max_train_examples == movies_tested.data.max_train_examples == 8
    found = {}
    for arm in ARMS:
        changed = arm.settings(games_tested)
        found[arm.trained_on] = (
            len(changed.data.extra_train_sources),
            changed.data.train_sources,
            changed.generative.finetune.epochs,
        )
    assert found == {
        "none": (0, "all", 0),
        "other": (1, "extra", 1),
        "own": (0, "all", 1),
        "all": (1, "all", 1),
    }


def test_examples_of_a_file_are_of_the_first_domain_alone(settings: Settings) -> None:
    data = settings.data.model_copy(update={"test_file": "examples.json"})
    tested = domain_settings(settings.model_copy(update={"data": data}))
    assert [one.data.test_file for one in tested] == ["examples.json", None]


def test_the_second_domain_is_the_sample_unless_another_is_named(tiny_model: Path) -> None:
    alone = tiny_settings(tiny_model, "data.source=ml-100k", *QUICK)
    assert [one.data.source for one in domain_settings(alone)] == ["ml-100k", "sample"]
    with pytest.raises(SettingsError, match="domains are sample, sample: expected different"):
        domain_settings(tiny_settings(tiny_model, "data.source=sample", *QUICK))


def test_other_domains_are_compared_with_no_training_and_with_what_trains_no_language_model() -> (
    None
):
    labels = [contrast.label for contrast in contrasts_of("games")]
    of_beams, of_latent = labels[:5], labels[5:]
    assert of_beams == [
        "games: BIGRec [all domains] - games: BIGRec [own domain]",
        "games: BIGRec [other domains] - games: BIGRec [untrained]",
        "games: BIGRec [other domains] - games: popularity",
        "games: BIGRec [other domains] - games: tf-idf",
        "games: BIGRec [other domains] - games: text kNN",
    ]
    by_examples, by_title = "[other domains]", "[other domains, items by title]"
    assert (
        of_latent[1] == f"games: BIGRec, latent {by_examples} - games: BIGRec, latent [untrained]"
    )
    assert of_latent[4] == f"games: BIGRec, latent {by_title} - games: text kNN"


def test_two_domains_of_one_name_are_refused(
    tiny_files: Path, games: Path, tiny_model: Path, tmp_path: Path
) -> None:
    same = tiny_settings(tiny_model, *overrides(tiny_files, games, name="movies"))
    with pytest.raises(DataError, match="two domains are called 'movies'"):
        run_domains(same, run_dir=tmp_path)


def test_a_plan_counts_the_examples_of_every_domain(settings: Settings, tmp_path: Path) -> None:
    planned = plan_domains(settings, run_dir=tmp_path)
    beams = {(arm.domain, arm.trained_on): arm for arm in planned if arm.decoding == "beams"}
    assert [*beams] == [
        (name, words)
        for name in ("movies", "games")
        for words in ("untrained", "other domains", "own domain", "all domains")
    ]
    assert [arm.examples for arm in beams.values()] == [8, 8, 8, 16] * 2
    assert beams["games", "untrained"].steps == 0 < beams["games", "own domain"].steps
    tokens = {words: arm.tokens for (name, words), arm in beams.items() if name == "games"}
    # What one domain calls its own is another's other.
    assert tokens["other domains"] == beams["movies", "own domain"].tokens
    assert tokens["all domains"] == beams["movies", "all domains"].tokens
    assert tokens["all domains"] == tokens["own domain"] + tokens["other domains"]


def test_the_command_plans_without_weights(
    tiny_files: Path,
    games: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", never)
    changes = tiny_overrides(tiny_model, *overrides(tiny_files, games), "data.min_history=1")
    options = [part for change in changes for part in ("--set", change)]
    command = ["study", "domains", "--dry-run", "--run-dir", str(tmp_path), *options]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    arms = json.loads(done.stdout)
    assert [arm["domain"] for arm in arms] == ["movies"] * 9 + ["games"] * 9
    shown = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert "games: BIGRec, latent [other domains]" in shown.output
    assert not list(tmp_path.glob("arms/finetune-*"))
