"""A fresh LoRA adapter for a base model."""

from collections.abc import Sequence

import torch
from peft import LoraConfig, get_peft_model

from bigrec.errors import ModelError
from bigrec.lm.model import LanguageModel, quiet_peft


def attach_adapter(
    lm: LanguageModel,
    *,
    rank: int,
    alpha: int,
    dropout: float,
    target_modules: Sequence[str] | str | None,
) -> None:
    """Attach an untrained adapter, in place of any other; at first it changes nothing.

    Args:
        lm: Carries it afterwards. Its own weights stay as they are and are not trained.
        rank: LoRA rank.
        alpha: LoRA scale, applied as ``alpha / rank``.
        dropout: LoRA dropout, in [0, 1).
        target_modules: Module names, ``"all-linear"``, or None for peft's choice for the
            architecture.

    Raises:
        ModelError: If the target modules do not exist in the model.
    """
    lm.drop_adapter()
    base = lm.model
    names = target_modules
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=names if names is None or isinstance(names, str) else list(names),
    )
    try:
        with quiet_peft():
            lm.model = get_peft_model(base, config)
    except ValueError as error:
        linear = sorted(
            {
                name.rpartition(".")[2]
                for name, part in base.named_modules()
                if isinstance(part, torch.nn.Linear)
            }
        )
        raise ModelError(
            f"LoRA target modules {config.target_modules!r} do not fit the base model "
            f"({error}). Its linear layers are: {', '.join(linear)}. Set target_modules to some of "
            "them or to 'all-linear'."
        ) from error
