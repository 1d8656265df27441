"""What fine-tuning trains of a language model: an adapter, or a copy of all weights."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from bigrec.errors import BundleError, ModelError
from bigrec.lm.adapter import attach_adapter
from bigrec.lm.adapter_files import ADAPTER_FOLDER
from bigrec.lm.distributed import is_sharding
from bigrec.lm.model import LanguageModel
from bigrec.lm.weight_files import WEIGHTS_FOLDER, read_weights, write_weights
from bigrec.settings.generative import FinetuneSettings

Method = Literal["lora", "full"]


def trained_folder(folder: Path, method: Method) -> Path:
    """Where `save_trained` writes below a folder."""
    return folder / (ADAPTER_FOLDER if method == "lora" else WEIGHTS_FOLDER)


def make_trainable(lm: LanguageModel, settings: FinetuneSettings) -> None:
    """Attach an untrained adapter, or a copy of all weights in float32, to a base model.

    The base model's own weights stay as they are: with them titles are embedded. Where weights are
    sharded over processes, an adapter is attached to a copy: a module cannot be put together again.

    Args:
        lm: The base model.
        settings: The method, and the adapter's size.

    Raises:
        ModelError: If the target modules do not exist in the model, or weights that are quantized
            would be trained.
    """
    if settings.method == "lora":
        attach_adapter(
            lm,
            to_copy=is_sharding(),
            lora_r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=settings.target_modules,
        )
        return
    lm.restore_base()
    base = lm.model
    if not all(weight.is_floating_point() for weight in base.parameters()):
        raise ModelError(
            f"the weights of base model {lm.source.name!r} are quantized, and full fine-tuning "
            "trains them: expected floating-point weights. Set model.quantize_bits to null, or "
            "generative.finetune.method to lora."
        )
    # Steps are smaller than what bfloat16 can add to a weight.
    lm.attach_weights(copy.deepcopy(base).float().requires_grad_(requires_grad=True))


def save_trained(
    lm: LanguageModel,
    folder: Path,
    *,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the adapter or the weights below a folder, completely or not at all.

    Args:
        lm: The trained model.
        folder: The folder.
        weights: Its weights by name, where it holds shards alone.

    Raises:
        ModelError: If nothing was trained.
        StorageError: If the folder cannot be written.
    """
    if lm.pretrained is None or lm.has_adapter:
        lm.save_adapter(folder / ADAPTER_FOLDER, weights=weights)
        return
    trained = dict(lm.model.named_parameters())
    if weights is not None:
        # Tied weights occur once.
        trained = {name: weights[name] for name in trained}
    write_weights(trained, folder / WEIGHTS_FOLDER, dtype=lm.pretrained.dtype)


def load_trained(lm: LanguageModel, folder: Path, *, method: Method) -> None:
    """Attach what `save_trained` wrote; it replaces what is attached.

    Args:
        lm: The base model.
        folder: The folder.
        method: How it was trained.

    Raises:
        ModelError: If the folder does not hold it, or it is of another architecture.
    """
    if method == "lora":
        lm.load_adapter(folder / ADAPTER_FOLDER)
        return
    lm.restore_base()
    try:
        with torch.no_grad():
            weights = read_weights(lm.model, folder / WEIGHTS_FOLDER)
    except BundleError as error:
        raise ModelError(
            f"the weights in {folder} could not be given to base model {lm.source.name!r}: {error}"
        ) from error
    lm.attach_weights(weights.eval())
