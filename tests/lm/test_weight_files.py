"""Weights of full fine-tuning: those of the model, or refused before memory is taken."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bigrec.errors import ModelError
from bigrec.lm.model import LanguageModel
from bigrec.lm.trained import load_trained, make_trainable, save_trained
from bigrec.settings.generative import FinetuneSettings

pytestmark = pytest.mark.model

FULL = FinetuneSettings(method="full")
IDS = torch.arange(8)[None]
Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(lm: LanguageModel, tmp_path: Path) -> Path:
    """Weights that training changed."""
    make_trainable(lm, FULL)
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight.mul_(1.5)
    save_trained(lm, tmp_path)
    lm.restore_base()
    return tmp_path


def edit(folder: Path, change: Callable[[Weights], object]) -> None:
    path = folder / "weights" / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def test_weights_are_read_back_as_they_were_saved_and_the_base_stays(
    lm: LanguageModel, folder: Path
) -> None:
    with torch.inference_mode():
        bare = lm.model(IDS).logits
        load_trained(lm, folder, method="full")
        with lm.base_only() as base:
            assert torch.equal(base(IDS).logits, bare)
        assert not torch.allclose(lm.model(IDS).logits, bare)
    base_weights = dict(lm.pretrained.named_parameters())
    for name, weight in lm.model.named_parameters():
        assert torch.equal(weight, base_weights[name] * 1.5)
        assert not weight.requires_grad
    lm.restore_base()
    with torch.inference_mode():
        assert torch.equal(lm.model(IDS).logits, bare)


def test_tied_weights_are_stored_once_and_stay_tied(lm: LanguageModel, folder: Path) -> None:
    assert "lm_head.weight" not in load_file(folder / "weights" / "model.safetensors")
    load_trained(lm, folder, method="full")
    assert lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight


def test_weights_are_stored_in_the_precision_of_the_base(lm: LanguageModel, tmp_path: Path) -> None:
    lm.model = lm.model.bfloat16()
    make_trainable(lm, FULL)
    assert lm.model.dtype == torch.float32
    save_trained(lm, tmp_path)
    stored = load_file(tmp_path / "weights" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    load_trained(lm, tmp_path, method="full")
    assert lm.model.dtype == torch.bfloat16


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weights: weights.pop(NORM), f"it lacks {NORM}"),
        (lambda weights: weights.update(evil=torch.ones(1)), "it holds evil, which nothing reads"),
        (lambda weights: weights.update({NORM: torch.ones(2)}), r"is F32 of shape \[2\]; expected"),
        (lambda weights: weights.update({NORM: torch.ones(32).int()}), "is I32 of shape"),
        (lambda weights: weights[NORM].fill_(torch.nan), "holds NaN or infinity"),
    ],
    ids=["missing", "unknown", "shape", "type", "NaN"],
)
def test_weights_that_are_not_those_of_the_model_are_refused(
    lm: LanguageModel, folder: Path, change: Callable[[Weights], object], reason: str
) -> None:
    edit(folder, change)
    bare = lm.model
    with pytest.raises(ModelError, match=f"could not be given to base model .*{reason}"):
        load_trained(lm, folder, method="full")
    assert lm.model is bare
    assert lm.pretrained is None


def test_a_file_that_is_missing_or_no_safetensors_is_refused(
    lm: LanguageModel, folder: Path
) -> None:
    path = folder / "weights" / "model.safetensors"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match="it is not a safetensors file of arrays"):
        load_trained(lm, folder, method="full")
    path.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be used: it is missing"):
        load_trained(lm, folder, method="full")


def test_quantized_weights_are_not_trained(lm: LanguageModel) -> None:
    layer = lm.model.model.layers[0].mlp
    layer.up_proj.weight = torch.nn.Parameter(
        torch.zeros(1, dtype=torch.uint8), requires_grad=False
    )
    with pytest.raises(ModelError, match=r"Set model\.quantize_bits to null, or"):
        make_trainable(lm, FULL)
