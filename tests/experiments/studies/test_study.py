import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.errors import SettingsError
from bigrec.experiments.compare import compare_pipeline
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.studies import arms
from bigrec.experiments.studies.arms import Arm, run_arm
from bigrec.experiments.studies.designs import SIZES, STUDIES, Design, make_design
from bigrec.experiments.studies.dry_run import plan_study
from bigrec.experiments.studies.study import ARMS_FOLDER, run_study
from bigrec.settings import Settings
from tests.conftest import Mode, tiny_overrides, tiny_settings

QUICK = (
    "generative.prompt.style=list",
    "generative.finetune.loss=titles",
    "baselines.sequential.epochs=1",
    "baselines.tune=none",
)


@pytest.fixture(scope="module")
def settings(tiny_files: Path, tiny_model: Path) -> Settings:
    tiny: Settings = tiny_settings(tiny_model, f"data.source={tiny_files}", *QUICK)
    return tiny


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run directory, in which the studies share their arms."""
    return tmp_path_factory.mktemp("studies")


def design_of(name: str, sizes: Sequence[int | None] = (4, 8)) -> Design:
    return make_design(name, few=8, sizes=sizes)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_ends_in_verdicts_and_files(name: str, settings: Settings, run_dir: Path) -> None:
    report = run_study(design_of(name), settings, run_dir=run_dir)
    labels = {row.method.label for row in report.rows}
    assert set(report.verdicts) == {finding.question for finding in report.findings}
    assert set(report.verdicts.values()) <= {"supported", "contradicted", "undecided"}
    for points in report.curves.values():
        assert list(points) == ["4", "8"]
        assert set(points.values()) <= labels
    folder = run_dir / name
    stored = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    assert stored["verdicts"] == report.verdicts
    assert report.claim in (folder / "study.md").read_text(encoding="utf-8")
    assert report.claim in (folder / "study.html").read_text(encoding="utf-8")
    assert (folder / "study.png").read_bytes().startswith(b"\x89PNG")


def test_a_complete_arm_is_read_and_both_decodings_share_a_checkpoint(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = design_of("fusion")
    first = run_study(design, settings, run_dir=tmp_path)
    assert len(list((tmp_path / ARMS_FOLDER).glob("finetune-*"))) == 1

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a complete arm ran again")

    monkeypatch.setattr(arms, "compare_pipeline", never)
    assert run_study(design, settings, run_dir=tmp_path) == first


def test_a_study_goes_on_with_the_arm_that_was_interrupted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = design_of("samples")
    ran: list[str] = []

    def interrupted(pipeline: Pipeline) -> object:
        ran.append(pipeline.evaluation_stage.folder.name)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return compare_pipeline(pipeline)

    monkeypatch.setattr(arms, "compare_pipeline", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(design, settings, run_dir=tmp_path)
    run_study(design, settings, run_dir=tmp_path)
    assert len(ran) == 5
    assert ran[1] == ran[2]
    assert len(set(ran)) == 4


def test_few_shot_and_samples_have_the_same_arms() -> None:
    sizes = SIZES["paper"]
    assert design_of("few-shot", sizes).arms == design_of("samples", sizes).arms


def test_half_of_the_accuracy_is_asked_of_the_middle_number_of_examples() -> None:
    labels = [contrast.label for contrast in design_of("few-shot", SIZES["paper"]).contrasts]
    assert labels == [
        "BIGRec [1,024] - BIGRec [all] / 2",
        "BIGRec, latent [1,024] - BIGRec, latent [all] / 2",
    ]


def test_the_study_of_selection_tests_both_informative_choices_against_random() -> None:
    labels = [contrast.label for contrast in design_of("selection").contrasts]
    assert labels == [
        "BIGRec [8, influence] - BIGRec [8, random]",
        "BIGRec, latent [8, influence] - BIGRec, latent [8, random]",
        "BIGRec [8, influence + effort] - BIGRec [8, random]",
        "BIGRec, latent [8, influence + effort] - BIGRec, latent [8, random]",
    ]


def test_all_examples_leave_nothing_to_select() -> None:
    with pytest.raises(SettingsError, match="max_train_examples is null"):
        make_design("selection", few=None, sizes=(4, 8))


def test_the_settings_of_the_choice_are_those_of_the_study(settings: Settings) -> None:
    chosen = settings.changed(
        {
            "data.example_selection.method": "influence_effort",
            "data.example_selection.n_strata": 3,
            "data.example_selection.effort_pool": 9,
        }
    )
    of_arms = [
        Arm("beams", 4, selection=selection).settings(chosen).data.example_selection
        for selection in ("random", "influence", "influence_effort")
    ]
    assert [arm.method for arm in of_arms] == ["random", "influence", "influence_effort"]
    assert [arm.n_strata for arm in of_arms[1:]] == [3, 3]
    assert of_arms[2].effort_pool == 9
    assert Arm("beams", 4).settings(chosen).data.example_selection == of_arms[2]


def test_all_arms_rank_the_same_queries(settings: Settings, run_dir: Path) -> None:
    tables = [
        run_arm(Arm(decoding, size), settings, folder=run_dir / ARMS_FOLDER).frame
        for size in (4, 8)
        for decoding in ("beams", "latent")
    ]
    for table in tables[1:]:
        assert table.select("user_id", "target").equals(tables[0].select("user_id", "target"))


def test_a_plan_counts_examples_batches_and_steps_without_weights(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", never)
    beams, latent = sorted(
        plan_study(design_of("ranking"), settings, run_dir=tmp_path), key=lambda arm: arm.decoding
    )
    assert (beams.decoding, latent.decoding) == ("beams", "latent")
    finetune = settings.generative.finetune
    assert (beams.examples, beams.batches) == (8, 2)
    assert beams.steps == 2 * finetune.epochs
    assert beams.queries == 10
    assert beams.longest <= beams.tokens <= beams.examples * beams.longest
    assert latent.tokens == beams.tokens
    selected = plan_study(design_of("selection"), settings, run_dir=tmp_path)
    assert [arm.selection for arm in selected[::2]] == ["random", "influence", "influence_effort"]
    assert [arm.examples for arm in selected] == [8] * 6


def test_an_unknown_study_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match="no study 'speed': expected one of ranking"):
        design_of("speed")


@pytest.mark.parametrize(
    ("mode", "style", "words"),
    [
        ("latent", "list", "generative.decoding.method: beams"),
        ("generative", "auto", "generative.prompt.style is auto"),
    ],
)
def test_settings_under_which_the_decodings_would_differ_are_refused(
    mode: Mode, style: str, words: str, tiny_model: Path, tmp_path: Path
) -> None:
    changed = tiny_settings(tiny_model, f"generative.prompt.style={style}", mode=mode)
    with pytest.raises(SettingsError, match=words):
        run_study(design_of("ranking"), changed, run_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_plans_and_trains_nothing(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    changes = (f"data.source={tiny_files}", "data.min_history=1", *QUICK)
    overrides = tiny_overrides(
        tiny_model, *changes, "generative.truncate_layers=1", "generative.finetune.window=4"
    )
    options = [part for override in overrides for part in ("--set", override)]
    done = CliRunner().invoke(
        app, ["study", "ranking", "--dry-run", "--json", "--run-dir", str(tmp_path), *options]
    )
    assert done.exit_code == 0, done.output
    assert [arm["examples"] for arm in json.loads(done.stdout)] == [8, 8]
    assert not list(tmp_path.glob("arms/finetune-*"))
