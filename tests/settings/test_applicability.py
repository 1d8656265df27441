"""A setting that has no effect is refused, never ignored."""

from pathlib import Path

import pytest
import yaml

from bigrec.errors import SettingsError
from bigrec.settings import Settings


@pytest.mark.parametrize(
    ("overrides", "needs"),
    [
        (["generative.finetune.epochs=5"], "generative.finetune.epochs: .* mode: generative"),
        (["generative={}"], "generative: .* mode: generative"),
        (["mode=generative", "retrieval.epochs=3"], "retrieval.epochs: .* mode: retrieval"),
        (["grounding.beams=all"], "grounding.beams: .* mode: generative"),
        (["compare.retrieval=true"], "compare.retrieval: .* mode: generative"),
        (["data.max_train_examples=9"], "max_train_examples: .* retrieval.train_on: examples"),
        (
            ["data.example_selection={}"],
            "example_selection: .* mode: generative or retrieval.train_on: examples",
        ),
        (
            [
                "mode=generative",
                "data.max_train_examples=null",
                "data.example_selection.method=influence",
            ],
            "example_selection.method: .* with data.max_train_examples",
        ),
        (
            [
                "mode=generative",
                "baselines.windows=2",
                "data.example_selection.method=influence",
            ],
            "example_selection.method: .* baselines.windows: 1",
        ),
        (
            ["mode=generative", "data.example_selection.n_strata=9"],
            "n_strata: .*example_selection.method: influence or",
        ),
        (
            ["mode=generative", "data.example_selection={method: influence, effort_pool: 9}"],
            "effort_pool: .*example_selection.method: influence_effort",
        ),
        (
            ["retrieval.train_on=examples", "data.example_selection.method=influence_effort"],
            "influence_effort reads the loss .* Use influence, or mode: generative",
        ),
        (
            ["mode=text", "data.extra_train_sources=[]"],
            "extra_train_sources: .* mode: generative, or mode: retrieval",
        ),
        (
            ["mode=generative", "data.train_sources=extra"],
            "train_sources: .* mode: generative, with data.extra_train_sources",
        ),
        (["mode=generative", "fusion.cold_items=knn"], "fusion.cold_items: .* mode: retrieval"),
        (
            ["mode=generative", "generative.decoding.server.retries=2"],
            "decoding.server.retries: .*backend: openai",
        ),
        (
            ["mode=generative", "generative.decoding={method: latent, batch_size: 8}"],
            "batch_size: .*generative.decoding.method: beams, both or likelihood",
        ),
        (
            ["mode=generative", "generative.prompt={style: list, response_prefix: Next}"],
            "response_prefix: .*style: plain",
        ),
        (
            ["mode=generative", "generative.finetune={method: full, lora_r: 8}"],
            "lora_r: .* generative.finetune.method: lora",
        ),
        (
            ["mode=generative", "generative.finetune={softmax: trie, loss_tokens: branching}"],
            "loss_tokens: .* generative.finetune.softmax: vocabulary or titles",
        ),
        (
            ["mode=generative", "generative.finetune.softmax=trie"],
            "constraint: none writes. Set it to catalog or unseen",
        ),
        (["fusion.signals=[]", "fusion.method=rrf"], "fusion.method: .* fusion.signals"),
        (["fusion.gammas={EASE: 1}"], "fusion.gammas.* fusion.method: paper, product or"),
        (
            ["fusion.signals=[EASE]", "fusion.method=product", "fusion.gammas={SASRec: 1}"],
            "'SASRec' is not fused. fusion.signals is EASE",
        ),
    ],
)
def test_what_has_no_effect_is_refused(overrides: list[str], needs: str) -> None:
    with pytest.raises(SettingsError, match=needs):
        Settings.read(overrides=overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["mode=generative", "compare.retrieval=true", "retrieval.epochs=3"],
        ["data.extra_train_sources=[{source: sample}]"],
        ["retrieval.train_on=examples", "data.max_train_examples=9"],
        ["retrieval.train_on=examples", "data.example_selection.method=influence"],
        ["mode=generative", "data.example_selection={method: influence_effort, effort_pool: 9}"],
        ["fusion.signals=[EASE]", "fusion.method=product", "fusion.gammas={EASE: 0.5}"],
        ["generative={finetune: {softmax: trie}, decoding: {method: latent}}", "mode=generative"],
        ["mode=generative", "generative.decoding={backend: openai, server: {retries: 2}}"],
        ["mode=generative", "generative.decoding={method: likelihood, batch_size: 8}"],
    ],
)
def test_the_same_settings_are_taken_where_they_have_an_effect(overrides: list[str]) -> None:
    Settings.read(overrides=overrides)


@pytest.mark.parametrize(
    ("preset", "override"), [("latent", "generative.finetune.method=full"), ("demo", "mode=text")]
)
def test_what_a_preset_says_gives_way_to_an_override(preset: str, override: str) -> None:
    settings = Settings.read(preset, overrides=[override])
    assert settings == Settings.checked(settings.to_dict())


def test_an_override_without_effect_is_refused_with_a_preset_too() -> None:
    overrides = ["generative.finetune.method=full", "generative.finetune.lora_r=4"]
    with pytest.raises(SettingsError, match="lora_r: it has no effect here"):
        Settings.read("latent", overrides=overrides)
    with pytest.raises(SettingsError, match=r"retrieval\.epochs: it has no effect here"):
        Settings.read("demo", overrides=["mode=text", "retrieval={epochs: 2}"])


def test_a_written_file_holds_what_has_an_effect_and_nothing_else(tmp_path: Path) -> None:
    for mode, other in (("retrieval", "generative"), ("generative", "retrieval")):
        Settings.read(overrides=[f"mode={mode}"]).write(tmp_path / "settings.yaml")
        written = yaml.safe_load((tmp_path / "settings.yaml").read_text())
        assert mode in written
        assert other not in written
    assert "max_train_examples" in written["data"]
