"""Settings: read, overridden, checked whole."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from bigrec.errors import SettingsError
from bigrec.settings import Settings, preset_names


def test_defaults_are_valid_and_survive_the_file(tmp_path: Path) -> None:
    settings = Settings()
    settings.write(tmp_path / "settings.yaml")
    assert Settings.read(tmp_path / "settings.yaml") == settings


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("train:\n  epochs: 7\n  rank: 4\n")
    settings = Settings.read(path, ["train.epochs=3", "data.source=my.csv", "seed=5"])
    assert (settings.train.epochs, settings.train.rank) == (3, 4)
    assert (settings.data.source, settings.seed) == ("my.csv", 5)


def test_a_number_in_scientific_notation_is_a_number() -> None:
    assert Settings.read(overrides=["train.learning_rate=1e-4"]).train.learning_rate == 1e-4


def test_none_can_be_set() -> None:
    assert Settings.read(overrides=["data.train_examples=null"]).data.train_examples is None


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid(name: str) -> None:
    assert Settings.read(name) != Settings()


def test_the_published_preset_holds_the_values_of_the_paper() -> None:
    settings = Settings.read("published")
    train = settings.train
    assert (train.rank, train.alpha, train.dropout) == (8, 16, 0.05)
    assert (train.learning_rate, train.warmup_steps, train.batch_size) == (1e-4, 20, 128)
    assert (train.epochs, train.patience, train.loss_on) == (50, 5, "all")
    assert (settings.data.history_length, settings.data.train_examples) == (10, 1024)
    assert (settings.generate.beams, settings.recommend.beams) == (4, "first")
    assert settings.prompt.max_tokens == 512


def test_unknown_and_wrong_values_are_all_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.checked({"train": {"epoch": 3, "rank": 0}, "sead": 1})
    text = str(caught.value)
    assert "train.epoch: there is no such setting. Known here: rank, alpha" in text
    assert "train.rank: got 0" in text
    assert "sead: there is no such setting. Known here: data, prompt" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "expected section.field=value"),
        ("seed.inner=1", "'seed' is not a section"),
        ("train.epochs=[1", "not valid YAML"),
    ],
)
def test_a_malformed_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.read(overrides=["seed=1", override])


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"No such file.*presets: demo, few-shot, published"):
        Settings.read(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("- a\n- b\n")
    with pytest.raises(SettingsError, match="holds a list: expected sections"):
        Settings.read(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("a: [")
    with pytest.raises(SettingsError, match="is not valid YAML"):
        Settings.read(tmp_path / "b.yaml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 3


def test_a_fingerprint_follows_the_values() -> None:
    first, second = Settings().train, Settings.read(overrides=["train.rank=9"]).train
    assert first.fingerprint() == Settings().train.fingerprint() != second.fingerprint()


@pytest.mark.parametrize(
    "file",
    sorted((Path(__file__).parents[2] / "examples").glob("*.yaml")),
    ids=lambda one: one.stem,
)
def test_the_examples_can_be_read(file: Path) -> None:
    assert Settings.read(file).data.noun == "video game"
