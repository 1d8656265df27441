"""What the folder of a stage depends on."""

import shutil
from pathlib import Path

import pytest

from bigrec.experiments.workspace import Workspace
from bigrec.recommender.fit_store import StageName
from bigrec.settings import Settings
from tests.conftest import MODES, Mode, mode_overrides

_STAGES: dict[Mode, tuple[StageName, ...]] = {
    "text": ("text", "models"),
    "retrieval": ("retrieval", "models"),
    "generative": ("finetune", "index", "texts-valid", "texts-test", "texts-shuffled", "models"),
    "latent": ("finetune", "latent", "texts-valid", "texts-test", "texts-shuffled", "models"),
    "likelihood": ("finetune", "index", "texts-valid", "texts-test", "texts-shuffled", "models"),
}


def stage_names(mode: Mode, source: Path, *changes: str) -> dict[str, str]:
    settings = Settings.read(overrides=[*mode_overrides(mode), f"data.source={source}", *changes])
    workspace = Workspace(Path("runs/any"), settings)
    names: dict[str, str] = {
        "data": workspace.data_stage.folder.name,
        "evaluation": workspace.evaluation_stage.folder.name,
    }
    for name in _STAGES[mode]:
        names[name] = workspace.stage(name).folder.name
    return names


def changed(mode: Mode, source: Path, *changes: str) -> set[str]:
    before, after = stage_names(mode, source), stage_names(mode, source, *changes)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("mode", MODES)
def test_a_copy_of_the_data_is_the_same_data(tmp_path: Path, mode: Mode) -> None:
    first, copied = tmp_path / "here" / "games", tmp_path / "there" / "games"
    first.mkdir(parents=True)
    (first / "interactions.csv").write_text("user_id,item_id\n1,2\n")
    shutil.copytree(first, copied, copy_function=shutil.copyfile)
    assert stage_names(mode, copied) == stage_names(mode, first)


@pytest.mark.parametrize("mode", MODES)
def test_data_that_changed_are_other_data(tmp_path: Path, mode: Mode) -> None:
    file = tmp_path / "interactions.csv"
    file.write_text("user_id,item_id\n1,2\n")
    before = stage_names(mode, tmp_path)
    file.write_text("user_id,item_id\n1,3\n")
    after = stage_names(mode, tmp_path)
    assert not set(after.values()) & set(before.values())


@pytest.mark.parametrize(
    ("mode", "change", "expected"),
    [
        ("text", "text.encoder=base", {"text", "evaluation"}),
        ("text", "baselines.gaussian.window=5", {"text", "evaluation"}),
        ("text", "data.max_test_examples=9", {"evaluation"}),
        ("retrieval", "retrieval.epochs=3", {"retrieval", "evaluation"}),
        ("retrieval", "fusion.history=full", {"evaluation"}),
        # Networks are trained and stopped for the protocol that is reported.
        ("retrieval", "recommend.exclude_seen=false", {"retrieval", "models", "evaluation"}),
        ("retrieval", "baselines.ease.decay=0.5", {"evaluation"}),
        ("retrieval", "data.max_test_examples=9", {"evaluation"}),
        ("retrieval", "model.device=cpu", set()),
        ("retrieval", "compare.seeds=[1]", set()),
        ("retrieval", "evaluation.refit=train+valid", {"evaluation"}),
        ("retrieval", "data.extra_train_sources=[{source: x}]", {"retrieval", "evaluation"}),
        ("latent", "grounding.head=l2", {"evaluation"}),
        (
            "latent",
            "generative.latent.train_on=examples",
            {"latent", "evaluation"},
        ),
        ("generative", "grounding.beams=top1", {"evaluation"}),
        (
            "generative",
            "data.example_selection.method=influence",
            {"finetune", "texts-valid", "texts-test", "texts-shuffled", "evaluation"},
        ),
        (
            "generative",
            "data.max_train_examples=9",
            {"finetune", "texts-valid", "texts-test", "texts-shuffled", "evaluation"},
        ),
        ("generative", "generative.decoding.batch_size=2", set()),
        ("generative", "compare.shuffle_history=true", set()),
        ("generative", "data.max_test_examples=9", {"texts-test", "texts-shuffled", "evaluation"}),
        ("generative", "generative.finetune.per_device_batch_size=2", set()),
        ("generative", "generative.embedding.pooling=mean", {"index", "evaluation"}),
        (
            "generative",
            "generative.decoding.num_beams=2",
            {"texts-valid", "texts-test", "texts-shuffled", "evaluation"},
        ),
        (
            "generative",
            "generative.prompt.style=plain",
            {"finetune", "texts-valid", "texts-test", "texts-shuffled", "evaluation"},
        ),
    ],
)
def test_a_setting_moves_the_stages_that_depend_on_it_and_no_other(
    tmp_path: Path, mode: Mode, change: str, expected: set[str]
) -> None:
    assert changed(mode, tmp_path, change) == expected


def test_examples_chosen_by_effort_depend_on_the_model_that_they_would_move(tmp_path: Path) -> None:
    def changed_by(change: str, method: str) -> set[str]:
        chosen = f"data.example_selection.method={method}"
        before = stage_names("generative", tmp_path, chosen)
        after = stage_names("generative", tmp_path, chosen, change)
        return {name for name in before if before[name] != after[name]}

    for change in ("generative.truncate_layers=3", "generative.prompt.style=plain"):
        assert "finetune" in changed_by(change, "influence_effort")
    # Models of all interactions are the same, and few-shot ones tell examples by themselves.
    for method in ("random", "influence", "influence_effort"):
        assert "models" not in changed_by("generative.truncate_layers=3", method)
        assert "models" not in changed_by("generative.finetune.loss=titles", method)


def domain_stages(tested: str, further: str, *changes: str) -> dict[str, str]:
    sources = ["data.max_train_examples=8", f"data.extra_train_sources=[{{source: {further}}}]"]
    return stage_names("generative", Path(tested), *sources, *changes)


def test_a_model_of_several_datasets_is_trained_once_and_tested_on_each() -> None:
    first, second = domain_stages("a", "b"), domain_stages("b", "a")
    assert {name for name in first if first[name] == second[name]} == {"finetune"}


def test_a_loss_over_a_catalog_makes_a_model_of_the_dataset_that_is_tested() -> None:
    loss = ("generative.finetune.loss=titles", "generative.finetune.softmax=titles")
    first, second = domain_stages("a", "b", *loss), domain_stages("b", "a", *loss)
    assert not [name for name in first if first[name] == second[name]]


def test_a_zero_shot_model_is_that_of_the_other_dataset() -> None:
    zero_shot = domain_stages("a", "b", "data.train_sources=extra")
    own = stage_names("generative", Path("b"), "data.max_train_examples=8")
    assert {name for name in own if own[name] == zero_shot[name]} == {"finetune"}


def test_what_knows_the_tested_dataset_alone_is_shared_by_all_that_is_trained() -> None:
    own = stage_names("generative", Path("a"), "data.max_train_examples=8")
    for other in (domain_stages("a", "b"), domain_stages("a", "b", "data.train_sources=extra")):
        shared = {name for name in own if own[name] == other[name]}
        assert shared == {"data", "index", "models"}
