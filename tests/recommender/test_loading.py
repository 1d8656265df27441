"""Bundles of anybody: no code of theirs runs, no key goes where they say, and signatures hold."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from safetensors.numpy import load_file, save

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError, ModelError, StaleIndexError
from bigrec.lm.identity import identify, truncated_fingerprint
from bigrec.lm.locate import find_base_model
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.loading import stored_settings
from bigrec.storage import read_json
from tests.conftest import (
    MODES,
    TRAINED_MODES,
    Mode,
    save_tiny_model,
    tiny_dataset,
    tiny_settings,
)
from tests.lm.generation.openai.server import CompletionsServer
from torture.damage import resign

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3"]
CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({marker!r}).touch()
class Config(LlamaConfig):
    model_type = "custom"
class Model(LlamaForCausalLM):
    config_class = Config
"""


@pytest.fixture(scope="module")
def bundles(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Mode, Path]:
    made = {}
    for mode in MODES:
        made[mode] = tmp_path_factory.mktemp(mode) / "bundle"
        BIGRec(tiny_settings(tiny_model, mode=mode)).fit(tiny_dataset()).save(made[mode])
    return made


@pytest.fixture(params=TRAINED_MODES)
def bundle(bundles: dict[Mode, Path], request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return copied(bundles[request.param], tmp_path)


@pytest.fixture
def generative(bundles: dict[Mode, Path], tmp_path: Path) -> Path:
    return copied(bundles["generative"], tmp_path)


def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def edit_settings(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "settings.yaml"
    settings = yaml.safe_load(path.read_text())
    change(settings)
    path.write_text(yaml.safe_dump(settings))
    resign(bundle)


def with_base(bundle: Path, base: str) -> None:
    edit_settings(bundle, lambda values: values["model"].update(base=base, trust_remote_code=True))


def with_code(folder: Path, marker: Path) -> Path:
    """A model folder whose configuration asks for the code in it."""
    save_tiny_model(folder, chat=True)
    config = read_json(folder / "config.json")
    config |= {
        "model_type": "custom",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(CODE.format(marker=str(marker)))
    return folder


def made_with(bundle: Path, base: Path) -> None:
    """Let the manifest say that a bundle was made with a base model."""
    _, fingerprint = identify(find_base_model(str(base)))
    settings = yaml.safe_load((bundle / "settings.yaml").read_text())
    if (layers := settings.get(settings["mode"], {}).get("truncate_layers")) is not None:
        fingerprint = truncated_fingerprint(fingerprint, layers)
    manifest = read_json(bundle / "manifest.json")
    manifest["base_model"]["fingerprint"] = fingerprint
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("place", ["bundle/base", "base", "org/base"])
def test_a_base_model_that_a_bundle_brings_runs_no_code(
    bundle: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    base = with_code(tmp_path / place, marker)
    with_base(bundle, place)
    made_with(bundle, base)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"code\.py|a bundle never brings its own"):
        BIGRec.load("bundle", device="cpu")
    assert not marker.exists()


@pytest.mark.parametrize("alias", ["{bundle}/base", "{bundle}/../bundle/base", "{link}/base"])
def test_no_path_leads_into_the_bundle(bundle: Path, tmp_path: Path, alias: str) -> None:
    (tmp_path / "link").symlink_to(bundle)
    name = alias.format(bundle=bundle, link=tmp_path / "link")
    with_base(bundle, name)
    with pytest.raises(BundleError, match=r"model\.base of .* lies in the bundle: a bundle never"):
        BIGRec.load(bundle, device="cpu")


@pytest.mark.parametrize(
    "name", ["../base", "~/base", "~nobody/base", "models/x.gguf", "a/b/c", ""]
)
def test_a_base_model_beside_the_reader_is_for_the_reader_to_name(bundle: Path, name: str) -> None:
    with_base(bundle, name)
    with pytest.raises(BundleError, match="is not an absolute path, hub id or short name"):
        BIGRec.load(bundle, device="cpu")


def test_code_of_a_base_model_runs_only_if_the_caller_says_so(bundle: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    base = with_code(tmp_path / "base", marker)
    with_base(bundle, str(base))
    made_with(bundle, base)
    for base_model in (None, str(base)):
        with pytest.raises(ModelError, match="trust_remote_code"):
            BIGRec.load(bundle, device="cpu", base_model=base_model)
    assert not marker.exists()
    # The weights are another model's; what counts is that the code was asked for.
    with contextlib.suppress(BundleError, ModelError):
        BIGRec.load(bundle, device="cpu", trust_remote_code=True)
    assert marker.exists()


def test_another_base_model_is_refused_before_it_is_loaded(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save_tiny_model(tmp_path / "other", chat=True, seed=9)
    for loader in ("AutoModelForCausalLM", "AutoTokenizer"):
        monkeypatch.delattr(f"bigrec.lm.model.{loader}")
    with pytest.raises(BundleError, match="was made with base model"):
        BIGRec.load(bundle, base_model=str(other), device="cpu")
    with_base(bundle, str(other))
    with pytest.raises(BundleError, match="was made with base model"):
        BIGRec.load(bundle, device="cpu")


@pytest.mark.parametrize("setting", ["generative.embedding.embedder", "text.encoder"])
def test_a_sentence_encoder_that_a_bundle_brings_is_refused(
    generative: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(values: dict[str, Any]) -> None:
        *sections, field = setting.split(".")
        for section in sections:
            values = values[section]
        values[field] = "bundle/encoder"
        if field == "embedder":
            del values["pooling"]

    edit_settings(generative, change)
    monkeypatch.chdir(generative.parent)
    (generative.parent / "bundle" / "encoder").mkdir()
    with pytest.raises(
        BundleError, match=f"{setting} of bundle is 'bundle/encoder', which is a pa"
    ):
        BIGRec.load("bundle", device="cpu")


def test_a_revision_is_a_revision(bundle: Path) -> None:
    edit_settings(bundle, lambda values: values["model"].update(revision="../../x"))
    with pytest.raises(BundleError, match=r"model\.revision of .* is '../../x': expected a b"):
        BIGRec.load(bundle, device="cpu")


def test_a_relative_base_model_is_saved_by_its_place(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    settings = tiny_settings(Path(tiny_model.name), mode="retrieval")
    BIGRec(settings).fit(tiny_dataset()).save(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    assert BIGRec.load("bundle", device="cpu").recommend(HISTORY, k=1)


def served(generative: Path, base_url: str) -> None:
    def change(values: dict[str, Any]) -> None:
        decoding = values["generative"]["decoding"]
        decoding |= {"backend": "openai", "server": {"base_url": base_url, "model": "tiny"}}
        for setting in ("batch_size", "compute_type"):
            decoding.pop(setting, None)

    edit_settings(generative, change)


def answer(_: dict[str, Any]) -> tuple[int, Any]:
    logprobs = {"tokens": ["a"], "token_logprobs": [-1.0]}
    choices = [{"index": i, "text": "a", "logprobs": logprobs} for i in range(2)]
    return 200, {"choices": choices}


def test_a_key_goes_to_no_address_of_a_bundle(
    generative: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with CompletionsServer(answer) as theirs, CompletionsServer(answer) as ours:
        served(generative, theirs.base_url)
        with pytest.raises(BundleError, match=r"pass base_url \(--base-url\) or set OPENAI_BASE"):
            BIGRec.load(generative, device="cpu")
        model = BIGRec.load(generative, device="cpu", base_url=ours.base_url)
        assert model.recommend(HISTORY, k=2)
        monkeypatch.setenv("OPENAI_BASE_URL", ours.base_url)
        assert BIGRec.load(generative, device="cpu").recommend(HISTORY, k=2)
        assert not theirs.requests
        assert len(ours.requests) >= 2
        # Nor is an address of the caller kept for those who get the bundle next.
        model.save(generative)
        assert ours.base_url not in (generative / "settings.yaml").read_text()


@pytest.mark.parametrize(
    ("mode", "file", "message"),
    [
        ("generative", "adapter/adapter_model.safetensors", "writes texts whose probability is Na"),
        ("retrieval", "retriever/arrays.safetensors", "encodes a history as NaN or infinity"),
    ],
)
def test_weights_that_overflow_are_told(
    bundles: dict[Mode, Path], tmp_path: Path, mode: Mode, file: str, message: str
) -> None:
    bundle = copied(bundles[mode], tmp_path)
    arrays = load_file(bundle / file)
    for name in arrays:
        if "lora_B" in name or name == "query_projection.weight":
            arrays[name].fill(3e38)
    (bundle / file).write_bytes(save(arrays))
    resign(bundle)
    model = BIGRec.load(bundle, device="cpu")
    with pytest.raises(ModelError, match=message):
        model.recommend(HISTORY, k=2)


def test_an_address_without_a_server_is_refused(bundle: Path) -> None:
    with pytest.raises(ValueError, match="uses no server; expected None"):
        BIGRec.load(bundle, device="cpu", base_url="http://localhost:1/v1")


def test_a_mode_and_its_base_model_go_together(bundles: dict[Mode, Path], tmp_path: Path) -> None:
    other = json.loads((bundles["retrieval"] / "manifest.json").read_text())["base_model"]
    cases: list[tuple[Mode, Any, str]] = [
        ("text", other, "it is of text mode with a base model"),
        ("retrieval", None, "it is of retrieval mode without a base model"),
    ]
    for mode, base_model, message in cases:
        folder = tmp_path / mode
        shutil.copytree(bundles[mode], folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "base_model": base_model}))
        with pytest.raises(BundleError, match=message):
            BIGRec.load(folder, device="cpu")


def test_new_titles_need_the_encoder_that_embedded_the_others(
    bundles: dict[Mode, Path], tmp_path: Path
) -> None:
    other = save_tiny_model(tmp_path / "other", chat=True, seed=9)
    model = BIGRec.load(bundles["text"], text_encoder=str(other), device="cpu")
    assert model.recommend(HISTORY, k=3)
    items = pl.concat(
        [model.catalog.to_frame(), pl.DataFrame({"item_id": ["new"], "title": ["Heat (1995)"]})]
    )
    with pytest.raises(StaleIndexError, match=r"embedded by another encoder .* Load the bundle wi"):
        model.update_catalog(Catalog.from_frame(items))


ANSWERING = """
import sys
from pathlib import Path

import polars as pl

import bigrec
from bigrec.recommender.recommend_all import RecommendAll
from bigrec.serving import app, service

model = bigrec.BIGRec.load({bundle!r})
for title in model.recommend({history!r}, k=3), model.similar("i0"), model.explain(["i0"], "i3"):
    assert title
later = {{"user_id": ["new", "new"], "item_id": ["i1", "i2"], "timestamp": [10**6, 10**6 + 1]}}
model.update(pl.DataFrame(later)).save({again!r})
sys.exit(" ".join({{"torch", "transformers", "matplotlib"}} & set(sys.modules)) or 0)
"""


def test_text_mode_answers_and_learns_without_loading_torch(
    bundles: dict[Mode, Path], tmp_path: Path
) -> None:
    again = tmp_path / "again"
    code = ANSWERING.format(bundle=str(bundles["text"]), history=HISTORY, again=str(again))
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert BIGRec.load(again).recommend(["i1", "i2"])


def test_a_bundle_holds_no_password_of_the_data(tiny_model: Path) -> None:
    secret = "https://me:pass@host/data.csv?sig=abc#x"  # noqa: S105 - of nobody
    further = {"source": "s3://me:pass@bucket/more", "items": "titles.csv"}
    changes = [f"data.source={secret}", f"data.items={secret}"]
    changes += [f"data.extra_train_sources={json.dumps([further])}"]
    settings = tiny_settings(tiny_model, *changes, mode="generative")
    data = stored_settings(settings).data
    assert (data.source, data.items) == ("https://host/data.csv", "https://host/data.csv")
    assert data.extra_train_sources[0].source == "s3://bucket/more"
    assert data.extra_train_sources[0].items == "titles.csv"
    assert settings.data.source == secret
