"""Conversion for CTranslate2: the cache, models that are refused, and the unchanged original."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BitsAndBytesConfig,
    GgufConfig,
    OlmoConfig,
    OlmoForCausalLM,
)

from bigrec.errors import ModelError
from bigrec.lm.generation.ct2_convert import can_convert, converted_folder
from bigrec.lm.model import LanguageModel, load_language_model
from tests.lm.generation.ct2_parts import Counting, attach_adapter

pytest.importorskip("ctranslate2", reason="the ctranslate2 package is not installed")
pytestmark = pytest.mark.model


def with_model(lm: LanguageModel, model: Any) -> LanguageModel:
    return replace(lm, model=model.eval(), base_fingerprint=type(model).__name__)


def test_a_model_is_converted_once(lm: LanguageModel, tmp_path: Path) -> None:
    convert = Counting()
    folders = {converted_folder(lm, cache=tmp_path, convert=convert) for _ in range(2)}
    assert convert.calls == len(folders) == 1


def test_each_adapter_has_its_conversion(lm: LanguageModel, tmp_path: Path) -> None:
    convert = Counting()
    folders = [converted_folder(lm, cache=tmp_path, convert=convert)]
    for seed in (1, 2):
        lm.restore_base()
        attach_adapter(lm, seed=seed)
        folders.append(converted_folder(lm, cache=tmp_path, convert=convert))
    assert convert.calls == len(set(folders)) == 3


def test_a_loaded_adapter_has_the_conversion_of_the_saved_one(
    lm: LanguageModel, tiny_model: Path, tmp_path: Path
) -> None:
    convert = Counting()
    attach_adapter(lm, seed=1)
    folder = converted_folder(lm, cache=tmp_path / "ct2", convert=convert)
    lm.save_adapter(tmp_path / "adapter")
    again = load_language_model(str(tiny_model), device="cpu")
    again.load_adapter(tmp_path / "adapter")
    assert converted_folder(again, cache=tmp_path / "ct2", convert=convert) == folder
    assert convert.calls == 1


def test_the_four_most_recently_used_are_kept(lm: LanguageModel, tmp_path: Path) -> None:
    def folder(name: str) -> Path:
        return converted_folder(replace(lm, base_fingerprint=name), cache=tmp_path)

    folders = [folder(name) for name in "abcd"]
    for age, path in zip((40, 30, 20, 10), folders, strict=True):
        before = path.stat().st_mtime - age
        os.utime(path, (before, before))
    folder("a")
    last = folder("e")
    assert set(tmp_path.iterdir()) == {folders[0], *folders[2:], last}


def test_the_model_does_not_change(lm: LanguageModel, tmp_path: Path) -> None:
    attach_adapter(lm, seed=1)
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    config = lm.model.config.to_dict()
    converted_folder(lm, cache=tmp_path)
    after = lm.model.state_dict()
    assert lm.has_adapter
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert lm.model.config.to_dict() == config


def test_a_conversion_that_fails_leaves_nothing(lm: LanguageModel, tmp_path: Path) -> None:
    def fail(model: Any, folder: Path) -> None:
        (folder / "model.bin").write_bytes(b"half")
        raise NotImplementedError("RoPE scaling type 'x' is not yet implemented.")

    with pytest.raises(ModelError, match=r"could not convert base model .*RoPE.* transformers"):
        converted_folder(lm, cache=tmp_path, convert=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_that_computes_something_else_is_refused(
    lm: LanguageModel, tmp_path: Path
) -> None:
    def ignore_rope(model: Any, folder: Path) -> None:
        model.config.rope_parameters = {"rope_type": "default", "rope_theta": 10.0}
        Counting()(model, folder)

    with pytest.raises(ModelError, match=r"does not compute what base model .* off by \d+\.\d%"):
        converted_folder(lm, cache=tmp_path, convert=ignore_rope)
    assert list(tmp_path.iterdir()) == []


def test_an_unpacked_gguf_model_is_converted(lm: LanguageModel, tmp_path: Path) -> None:
    lm.model.config.quantization_config = GgufConfig(dequantize=True)
    assert can_convert(lm)
    assert converted_folder(lm, cache=tmp_path).is_dir()
    assert lm.model.config.quantization_config is not None


def test_a_model_loaded_in_few_bits_is_refused(lm: LanguageModel, tmp_path: Path) -> None:
    lm.model.config.quantization_config = BitsAndBytesConfig(load_in_8bit=True)
    assert not can_convert(lm)
    with pytest.raises(ModelError, match=r"quantized form, .* without quantize_bits"):
        converted_folder(lm, cache=tmp_path)


def test_an_architecture_that_ctranslate2_does_not_support_is_refused(
    lm: LanguageModel, tmp_path: Path
) -> None:
    small = OlmoConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        pad_token_id=0,
    )
    other = with_model(lm, OlmoForCausalLM(small))
    assert not can_convert(other)
    with pytest.raises(ModelError, match="cannot convert the architecture 'OlmoForCausalLM'"):
        converted_folder(other, cache=tmp_path)


def test_a_device_that_ctranslate2_does_not_support_is_refused(
    lm: LanguageModel, tmp_path: Path
) -> None:
    other = with_model(lm, lm.model.to("meta"))
    assert not can_convert(other)
    with pytest.raises(ModelError, match=r"the model is on 'meta'\. Set device to 'cpu'"):
        converted_folder(other, cache=tmp_path)


def test_a_missing_ctranslate2_says_which_extra_to_install(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ctranslate2", "ctranslate2.converters"):
        monkeypatch.setitem(sys.modules, name, None)
    assert not can_convert(lm)
    with pytest.raises(ModelError, match=r"pip install 'bigrec\[ctranslate2\]'"):
        converted_folder(lm, cache=tmp_path)
