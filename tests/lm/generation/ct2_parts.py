"""A counted converter and random adapters for the tests of CTranslate2."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from bigrec.lm.generation.ct2_convert import convert_with_ctranslate2
from bigrec.lm.model import LanguageModel, quiet_peft


class Counting:
    """The real converter, with a count of its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model: Any, folder: Path) -> None:
        self.calls += 1
        convert_with_ctranslate2(model, folder)


def attach_adapter(lm: LanguageModel, *, seed: int) -> None:
    """Attach a random adapter, which changes the model's logits."""
    torch.manual_seed(seed)
    with quiet_peft():
        lm.model = get_peft_model(lm.model, LoraConfig(r=2, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in lm.model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    lm.model.eval()
