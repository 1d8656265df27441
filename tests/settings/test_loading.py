"""Settings: read, overridden, checked whole."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from bigrec.errors import SettingsError
from bigrec.settings import Settings, preset_names
from bigrec.settings.loading import BUNDLE_MANIFEST


def test_defaults_are_valid_and_survive_the_file(tmp_path: Path) -> None:
    settings = Settings()
    settings.write(tmp_path / "settings.yaml")
    assert Settings.read(tmp_path / "settings.yaml") == settings


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("retrieval:\n  epochs: 7\n  lora_r: 4\n")
    settings = Settings.read(path, ["retrieval.epochs=3", "data.source=my.csv", "seed=5"])
    assert (settings.retrieval.epochs, settings.retrieval.lora_r) == (3, 4)
    assert (settings.data.source, settings.seed) == ("my.csv", 5)


def test_a_number_in_scientific_notation_is_a_number() -> None:
    settings = Settings.read(overrides=["retrieval.learning_rate=1e-4"])
    assert settings.retrieval.learning_rate == 1e-4


def test_none_can_be_set() -> None:
    assert Settings.read(overrides=["data.max_test_examples=null"]).data.max_test_examples is None


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid(name: str) -> None:
    assert Settings.read(name) != Settings()


def test_the_paper_preset_holds_the_values_of_the_paper() -> None:
    settings = Settings.read("paper")
    finetune = settings.generative.finetune
    assert (finetune.lora_r, finetune.lora_alpha, finetune.lora_dropout) == (8, 16, 0.05)
    assert (finetune.learning_rate, finetune.warmup_steps, finetune.batch_size) == (1e-4, 20, 128)
    assert (finetune.epochs, finetune.early_stopping_patience, finetune.loss) == (50, 5, "full")
    assert (settings.data.max_history_length, settings.data.max_train_examples) == (10, 1024)
    assert (settings.generative.decoding.num_beams, settings.grounding.beams) == (4, "top1")
    assert settings.generative.prompt.max_tokens == 512


def test_unknown_and_wrong_values_are_all_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.checked({"retrieval": {"epoch": 3, "lora_r": 0}, "sead": 1})
    text = str(caught.value)
    assert "retrieval.epoch: there is no such setting. Known here: train_on, trunc" in text
    assert "retrieval.lora_r: got 0" in text
    assert "sead: there is no such setting. Known here: mode, seed, data" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("retrieval.epochs", "expected section.field=value"),
        ("seed.inner=1", "'seed' is not a section"),
        ("retrieval.epochs=[1", "not valid YAML"),
    ],
)
def test_a_malformed_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.read(overrides=["seed=1", override])


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"No such file.*presets: demo, latent, likeli"):
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
    default = Settings().retrieval
    other = Settings.read(overrides=["retrieval.lora_r=9"]).retrieval
    assert default.fingerprint() == Settings().retrieval.fingerprint() != other.fingerprint()


def test_the_settings_of_a_run_can_change_their_mode(tmp_path: Path) -> None:
    Settings.read(overrides=["seed=3"]).write(tmp_path / "settings.yaml")
    other = Settings.read(previous=tmp_path / "settings.yaml", overrides=["mode=generative"])
    assert (other.mode, other.seed) == ("generative", 3)


@pytest.mark.parametrize(
    "file",
    sorted((Path(__file__).parents[2] / "examples").glob("video-games*.yaml")),
    ids=lambda file: file.stem,
)
def test_the_examples_can_be_read(file: Path) -> None:
    assert Settings.read(file).data.item_type == "video game"


@pytest.mark.parametrize("text", ["[]", "[category]", "[category, title]", "[title, title]"])
def test_a_text_begins_with_the_title_and_has_a_column_once(text: str) -> None:
    with pytest.raises(SettingsError, match=r"data\.text: .*expected title and then"):
        Settings.read(overrides=[f"data.text={text}"])


@pytest.mark.parametrize("is_bundle", [False, True])
def test_a_bundle_has_no_say_in_trust_and_in_the_server_of_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_bundle: bool
) -> None:
    server = "generative.decoding.server.base_url"
    changes = ["mode=generative", "generative.decoding.backend=openai", f"{server}=http://x.y/v1"]
    path = tmp_path / "settings.yaml"
    Settings.read(None, [*changes, "model.trust_remote_code=true", "seed=3"]).write(path)
    if is_bundle:
        (tmp_path / BUNDLE_MANIFEST).write_text("{}")
    read = Settings.read(path)
    address = "http://localhost:8000/v1" if is_bundle else "http://x.y/v1"
    assert read.seed == 3
    assert read.model.trust_remote_code is not is_bundle
    assert read.generative.decoding.server.base_url == address
    assert (f"{server} of {path} is ignored" in caplog.text) is is_bundle
    said = Settings.read(path, ["model.trust_remote_code=true", f"{server}=http://z/v1"])
    assert said.model.trust_remote_code
    assert said.generative.decoding.server.base_url == "http://z/v1"


@pytest.mark.parametrize("content", ["model: 3", "model: {}", "generative: {decoding: [1]}"])
def test_settings_of_a_bundle_may_be_malformed(tmp_path: Path, content: str) -> None:
    (tmp_path / BUNDLE_MANIFEST).write_text("{}")
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    if content == "model: {}":
        assert Settings.read(path) == Settings()
        return
    with pytest.raises(SettingsError, match="the settings cannot be used"):
        Settings.read(path)
