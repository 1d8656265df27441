"""A fresh LoRA adapter for a base model."""

import copy
from collections.abc import Sequence

import torch
from peft import LoraConfig, get_peft_model

from bigrec.errors import ModelError
from bigrec.lm.merged import merge_for_inference
from bigrec.lm.model import LanguageModel, quiet_peft


def attach_adapter(
    lm: LanguageModel,
    *,
    lora_r: int,
    lora_alpha: int,
    lora_dropout: float,
    target_modules: Sequence[str] | str | None,
    to_copy: bool = False,
) -> None:
    """Attach an untrained adapter, which does not yet change the outputs. It replaces any other.

    Args:
        lm: The language model. Its own weights do not change and are not trained.
        lora_r: LoRA rank.
        lora_alpha: LoRA scale, applied as ``lora_alpha / lora_r``.
        lora_dropout: LoRA dropout, in [0, 1).
        target_modules: Module names, ``"all-linear"``, or None for peft's choice for the
            architecture.
        to_copy: Attach it to a copy of the base model.

    Raises:
        ModelError: If the target modules do not exist in the model.
    """
    lm.restore_base()
    if to_copy:
        lm.attach_weights(copy.deepcopy(lm.model))
    base = lm.model
    modules = target_modules
    config = LoraConfig(
        r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=modules if modules is None or isinstance(modules, str) else list(modules),
    )
    try:
        with quiet_peft():
            lm.model = get_peft_model(base, config)
    except ValueError as error:
        linear = sorted(
            {
                name.rpartition(".")[2]
                for name, module in base.named_modules()
                if isinstance(module, torch.nn.Linear)
            }
        )
        raise ModelError(
            f"LoRA target modules {config.target_modules!r} do not fit the base model "
            f"({error}). Its linear layers are: {', '.join(linear)}. Set target_modules to some of "
            "them or to 'all-linear'."
        ) from error
    merge_for_inference(lm.model)
