"""Adapters of anybody: plain LoRA that fits the model, or refused before memory is taken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save

from bigrec.errors import ModelError
from bigrec.lm.adapter import attach_adapter
from bigrec.lm.model import LanguageModel, load_language_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> LanguageModel:
    return load_language_model(str(tiny_model), device="cpu")


@pytest.fixture
def folder(lm: LanguageModel, tmp_path: Path) -> Path:
    """A trained adapter: its second factors are not zero."""
    attach_adapter(lm, lora_r=2, lora_alpha=4, lora_dropout=0.1, target_modules=None)
    with torch.no_grad():
        for name, weight in lm.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.5)
    lm.save_adapter(tmp_path / "adapter")
    return tmp_path / "adapter"


def logits(lm: LanguageModel) -> Any:
    with torch.inference_mode():
        return lm.model(input_ids=torch.arange(8)[None]).logits.numpy()


def test_an_adapter_is_read_back_as_it_was_saved(lm: LanguageModel, folder: Path) -> None:
    lm.model.eval()
    saved = logits(lm)
    lm.restore_base()
    bare = logits(lm)
    lm.load_adapter(folder)
    np.testing.assert_array_equal(logits(lm), saved)
    assert not np.allclose(saved, bare)
    assert not any(weight.requires_grad for weight in lm.model.parameters())


def config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "adapter_config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"megatron_config": {"x": 1}, "megatron_core": "evil.code"}, "megatron_config is set"),
        ({"megatron_core": "evil.code"}, "megatron_core is set, which plain LoRA does not have"),
        ({"use_dora": True}, "use_dora is set"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is set"),
        ({"target_modules": "(a+)+$"}, "target_modules"),
        ({"target_modules": ["(a+)+$"]}, "target_modules"),
        ({"peft_type": "IA3"}, "peft_type: Input should be 'LORA'"),
        ({"r": 2_000_000_000}, r"expected float32 of shape \[2000000000, inputs"),
        ({"r": 3}, r"is float32 of shape \[2, 32\]; expected float32 of shape \[3, inputs"),
        ({"r": "2"}, "r: Input should be a valid integer"),
        ({"target_modules": ["q_proj"]}, "which nothing reads"),
        ({"target_modules": ["no_such_layer"]}, "not found in the base model"),
    ],
    ids=str,
)
def test_what_is_not_a_plain_adapter_of_the_model_is_refused(
    lm: LanguageModel, folder: Path, changes: dict[str, Any], reason: str
) -> None:
    config(folder, lambda values: values.update(changes))
    lm.restore_base()
    bare = logits(lm)
    with pytest.raises(ModelError, match=f"could not be attached to base model .*{reason}"):
        lm.load_adapter(folder)
    # Nothing of it stays in the model.
    assert not lm.has_adapter
    np.testing.assert_array_equal(logits(lm), bare)


def test_weights_that_are_pickled_or_not_finite_are_refused(
    lm: LanguageModel, folder: Path
) -> None:
    path = folder / "adapter_model.safetensors"
    arrays = load_file(path)
    arrays[min(arrays)].flat[0] = np.nan
    path.write_bytes(save(arrays))
    with pytest.raises(ModelError, match="holds NaN or infinity"):
        lm.load_adapter(folder)
    path.rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors cannot be used: it is mi"):
        lm.load_adapter(folder)


def test_a_configuration_that_is_no_object_is_refused(lm: LanguageModel, folder: Path) -> None:
    (folder / "adapter_config.json").write_text("[1]")
    with pytest.raises(ModelError, match="it does not describe an adapter"):
        lm.load_adapter(folder)


def test_an_adapter_of_a_bfloat16_model_keeps_the_precision_of_its_training(
    tiny_model: Path, tmp_path: Path
) -> None:
    lm = load_language_model(str(tiny_model), device="cpu", dtype="bfloat16")
    attach_adapter(lm, lora_r=2, lora_alpha=4, lora_dropout=0.1, target_modules=None)
    with torch.no_grad():
        for name, weight in lm.model.named_parameters():
            if "lora_B" in name:
                # No bfloat16 has this value.
                weight.fill_(0.1234567)
    lm.model.eval()
    lm.save_adapter(tmp_path / "adapter")
    with torch.inference_mode():
        expected = lm.model(input_ids=torch.arange(8)[None]).logits
    for _ in range(2):
        # A second load is of what was saved after the first.
        lm.load_adapter(tmp_path / "adapter")
        with torch.inference_mode():
            assert torch.equal(lm.model(input_ids=torch.arange(8)[None]).logits, expected)
        lm.save_adapter(tmp_path / "adapter")
