"""Adapters in peft's layout, read without peft's own loader.

Fields of the configuration can make peft import modules by name, or match patterns forever. Only
what describes a plain LoRA adapter is read, and the weights are compared with it before they are
used.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft import set_peft_model_state_dict as set_state_dict
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigrec.lm.merged import merge_for_inference
from bigrec.settings.sections import ModuleName, PositiveInt
from bigrec.storage import first_problems, read_json
from bigrec.storage.arrays import Expected, check_arrays, read_arrays, unusable

ADAPTER_FOLDER = "adapter"
"""The folder of an adapter, in that of its training and in a bundle."""

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_MAX_CONFIG_BYTES = 1 << 20
# They say where the adapter came from, not what it computes.
_NOT_READ = frozenset(
    {"base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping"}
)


class _AdapterConfig(BaseModel):
    """A plain LoRA adapter."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"]
    bias: Literal["none"]
    r: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: list[ModuleName] | ModuleName


def read_adapter(model: Any, folder: Path) -> PeftModel:
    """Attach a LoRA adapter in peft's layout to a model.

    Args:
        model: The base model, without an adapter.
        folder: The adapter.

    Raises:
        BundleError: If a file is missing or damaged, or the weights are not those of the
            configuration.
        ValueError: If the model lacks the adapter's modules.
    """
    config = _read_config(folder / ADAPTER_CONFIG)
    path = folder / _WEIGHTS
    arrays = read_arrays(path)
    # Before memory is taken for a rank that is only what the configuration says.
    first_factors = {name: array for name, array in arrays.items() if "lora_A" in name}
    shapes = {name: Expected((config.r, f"inputs of {name}")) for name in first_factors}
    check_arrays(path, first_factors, shapes)
    if not first_factors or not all(array.size for array in first_factors.values()):
        raise unusable(path, "it holds no weights")
    attached = get_peft_model(model, config, low_cpu_mem_usage=True)
    expected = {
        name: Expected(tuple(weight.shape))
        for name, weight in get_peft_model_state_dict(attached).items()
    }
    try:
        check_arrays(path, arrays, expected)
    except Exception:
        attached.unload()
        raise
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    set_state_dict(attached, weights, low_cpu_mem_usage=True)
    _restore_precision(attached, weights)
    merge_for_inference(attached)
    return attached


def _restore_precision(attached: PeftModel, weights: dict[str, torch.Tensor]) -> None:
    """Give an adapter its stored values again, which peft rounds to the base model's precision.

    It was trained in float32 beside a base model in bfloat16, and is saved as it is in memory.
    """
    for name, weight in attached.named_parameters():
        values = weights.get(name.replace(f".{attached.active_adapter}.", "."))
        if values is not None:
            weight.data = values.to(weight.device)


def _read_config(path: Path) -> LoraConfig:
    values = read_json(path, max_bytes=_MAX_CONFIG_BYTES)
    if not isinstance(values, dict):
        raise unusable(path, "it does not describe an adapter")
    try:
        config = _AdapterConfig.model_validate(values)
    except ValidationError as error:
        raise unusable(path, first_problems(error)) from None
    plain = LoraConfig().to_dict()
    for name, value in values.items():
        known = name in _AdapterConfig.model_fields or name in _NOT_READ
        if not known and value != plain.get(name) and value:
            raise unusable(path, f"{name[:100]} is set, which plain LoRA does not have")
    return LoraConfig(**config.model_dump(), inference_mode=True)
