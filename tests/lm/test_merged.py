"""Merged LoRA layers: peft's outputs for inference, peft's layers for training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import Linear

from bigrec.lm import merged
from bigrec.lm.adapter import attach_adapter
from bigrec.lm.merged import MergedLinear
from bigrec.lm.model import LanguageModel, load_language_model

pytestmark = pytest.mark.model


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    lm = load_language_model(str(tiny_model), device="cpu", dtype="float32")
    attach(lm)
    return lm


def attach(lm: LanguageModel) -> None:
    """Attach an adapter that changes the outputs."""
    attach_adapter(lm, lora_r=2, lora_alpha=6, lora_dropout=0.5, target_modules="all-linear")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in lm.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) / 10)
    lm.model.eval()


def layers(lm: LanguageModel) -> list[Any]:
    return [layer for layer in lm.model.modules() if isinstance(layer, Linear)]


def logits(lm: LanguageModel, *, by_peft: bool = False) -> torch.Tensor:
    for layer in layers(lm):
        layer.__class__ = Linear if by_peft else MergedLinear
    with torch.inference_mode():
        output: torch.Tensor = lm.model(input_ids=torch.arange(8)[None]).logits
    return output


def test_outputs_are_those_of_peft(lm: LanguageModel) -> None:
    assert {type(layer) for layer in layers(lm)} == {MergedLinear}
    torch.testing.assert_close(logits(lm), logits(lm, by_peft=True), rtol=1e-4, atol=1e-5)


def test_the_base_model_computes_as_before(lm: LanguageModel) -> None:
    adapted = logits(lm)
    with lm.base_only():
        off = logits(lm)
    lm.restore_base()
    assert torch.equal(logits(lm), off)
    assert not torch.allclose(off, adapted)


@pytest.mark.parametrize("fused", [True, False])
def test_every_step_of_training_is_seen_and_taken_by_peft(lm: LanguageModel, fused: bool) -> None:
    factors = [weight for name, weight in lm.model.named_parameters() if "lora_" in name]
    optimizer = torch.optim.AdamW(factors, lr=0.1, fused=fused)
    seen = [logits(lm)]
    for _ in range(2):
        losses = []
        for layer in (MergedLinear, Linear):
            for module in layers(lm):
                module.__class__ = layer
            optimizer.zero_grad()
            lm.model.train()
            torch.manual_seed(0)
            loss = lm.model(input_ids=torch.arange(8)[None]).logits.square().mean()
            losses.append(loss.item())
        assert losses[0] == losses[1]
        loss.backward()
        optimizer.step()
        lm.model.eval()
        torch.testing.assert_close(logits(lm), logits(lm, by_peft=True), rtol=1e-3, atol=1e-4)
        seen.append(logits(lm))
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_a_large_model_gets_no_copy_of_its_weights(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "_MAX_BYTES", 0)
    lm = load_language_model(str(tiny_model), device="cpu")
    attach(lm)
    assert {type(layer) for layer in layers(lm)} == {Linear}
