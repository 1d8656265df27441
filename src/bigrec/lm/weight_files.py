"""Weights of full fine-tuning: stored without pickle, compared with the model before they are used.

They are those of `torch.nn.Module.named_parameters`, in the precision that the model computes in.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bigrec.storage import atomic_folder
from bigrec.storage.arrays import unusable

WEIGHTS_FOLDER = "weights"
"""The folder of a model's weights, in that of its training and in a bundle."""

_WEIGHTS = "model.safetensors"
_FLOATS = frozenset({"F32", "BF16", "F16"})


def write_weights(trained: Mapping[str, torch.Tensor], folder: Path, *, dtype: torch.dtype) -> None:
    """Write a model's weights, completely or not at all.

    Args:
        trained: The weights by name, tied ones once.
        folder: Where to.
        dtype: Their precision in the file.

    Raises:
        StorageError: If the folder cannot be written.
    """
    weights = {
        name: weight.detach().to(device="cpu", dtype=dtype).contiguous()
        for name, weight in trained.items()
    }
    # Serialized in memory and written by Python, so that a full disk is an OSError.
    content = save(weights)
    with atomic_folder(folder) as temporary:
        (temporary / _WEIGHTS).write_bytes(content)


def read_weights(base: Any, folder: Path) -> Any:
    """A copy of a model with stored weights in place of the model's, which need no gradients.

    Args:
        base: The model, which does not change.
        folder: Written by `write_weights`.

    Raises:
        BundleError: If the file is missing or damaged, or its weights are not those of the model.
    """
    path = folder / _WEIGHTS
    if not path.is_file():
        raise unusable(path, "it is missing")
    try:
        with safe_open(path, framework="pt") as stored:
            # Before memory is taken for a copy.
            if (reason := _mismatch(base, stored)) is not None:
                raise unusable(path, reason)
            model = copy.deepcopy(base).requires_grad_(requires_grad=False)
            for name, weight in model.named_parameters():
                values = stored.get_tensor(name)
                if not torch.isfinite(values).all():
                    raise unusable(path, f"{name} holds NaN or infinity; expected finite numbers")
                weight.copy_(values)
    except (SafetensorError, OSError) as error:
        raise unusable(path, f"it is not a safetensors file of arrays ({error})") from None
    return model


def _mismatch(base: Any, stored: Any) -> str | None:
    """What is wrong with names, shapes or types of stored weights."""
    expected = {name: list(weight.shape) for name, weight in base.named_parameters()}
    names = set(stored.keys())
    if missing := sorted(expected.keys() - names):
        return f"it lacks {', '.join(missing)[:200]}"
    if unknown := sorted(names - expected.keys()):
        return f"it holds {', '.join(unknown)[:200]}, which nothing reads"
    for name, shape in expected.items():
        found = stored.get_slice(name)
        if found.get_shape() != shape or found.get_dtype() not in _FLOATS:
            return (
                f"{name} is {found.get_dtype()} of shape {found.get_shape()}; expected "
                f"{' or '.join(sorted(_FLOATS))} of shape {shape}"
            )
    return None
