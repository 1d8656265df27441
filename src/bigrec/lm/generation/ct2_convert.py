"""A language model as a CTranslate2 folder: the adapter merged in, converted once and kept.

CTranslate2 knows a model by a folder of its own format. Converting takes about as long as loading
the base model a few times, so folders stay in a cache, of which the latest few are kept. A folder
is only kept once its model has been seen to compute what the original computes: a converter that
overlooks a setting of a newer transformers writes a model that runs, and runs wrong.
"""

import copy
import hashlib
import importlib.metadata
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model_state_dict

from bigrec.errors import ModelError
from bigrec.lm.model import LanguageModel, cache_folder, quiet_peft
from bigrec.storage import atomic_folder, fingerprint
from bigrec.types import FloatArray

logger = logging.getLogger(__name__)

# Each is as large as the base model. Four: the adapters of a comparison over a few seeds.
_KEPT_FOLDERS = 4
# Tokens that the converted model is tried on. Wrong positions show only some way into a text.
_TRIED_TOKENS = 64
# Largest relative error of logits. Right conversions stay below a hundredth of it.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 5e-2}

Convert = Callable[[Any, Path], None]
"""Writes a plain transformers model as a CTranslate2 folder."""


def can_convert(lm: LanguageModel) -> bool:
    """Whether CTranslate2 is installed and knows what this model is made of.

    It may still turn out at the conversion itself that CTranslate2 computes something else.
    """
    return _obstacle(lm) is None


def converted_folder(
    lm: LanguageModel, *, cache: Path | None = None, convert: Convert | None = None
) -> Path:
    """The CTranslate2 folder of a model, its adapter merged in; made if it is not there yet.

    The model itself stays as it is. Weights keep their precision.

    Args:
        lm: The language model, with its adapter if it has one.
        cache: Where converted models are kept, the latest four of them; by default ``ct2`` in
            `cache_folder`.
        convert: Does the conversion; CTranslate2's own converter by default.

    Raises:
        ModelError: If CTranslate2 is not installed, cannot convert the model, or the converted
            model computes something else.
        StorageError: If the cache cannot be written to.
    """
    if (obstacle := _obstacle(lm)) is not None:
        raise ModelError(obstacle)
    cache = cache or cache_folder() / "ct2"
    folder = cache / _identity(lm)
    if not folder.is_dir():
        logger.info("Converting the model for CTranslate2 once into %s", folder)
        with atomic_folder(folder) as temporary, _conversion_errors(lm):
            (convert or convert_with_ctranslate2)(_merged_copy(lm), temporary)
            _try(lm, temporary)
    # A cache that others may not write to serves all the same.
    with suppress(OSError):
        os.utime(folder)
    _keep_latest(cache)
    return folder


def convert_with_ctranslate2(model: Any, folder: Path) -> None:
    """Write a plain transformers model as a CTranslate2 folder, in its own precision.

    Tokens are called by their numbers, ``"0"`` to the last row of the embedding, so that neither
    added tokens nor gaps and padding of the vocabulary can move them. The model is used up.
    """
    from ctranslate2.converters import TransformersConverter  # noqa: PLC0415 - optional

    class InMemory(TransformersConverter):  # type: ignore[misc]
        """Takes the model as it is, not from a folder that would have to be written first."""

        def load_model(self, *_: Any, **__: Any) -> Any:
            return model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return _Numbers(model.get_input_embeddings().weight.shape[0])

    with tempfile.TemporaryDirectory() as config_only:
        model.config.save_pretrained(config_only)
        InMemory(config_only).convert(str(folder), force=True)


class _Numbers:
    """In place of a tokenizer: a vocabulary in which every token is called by its number."""

    # Names that CTranslate2 asks for and that no call of ours depends on.
    bos_token = eos_token = unk_token = pad_token = str(0)

    def __init__(self, size: int) -> None:
        self._size = size

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(self._size)}


def _obstacle(lm: LanguageModel) -> str | None:
    """Why a model cannot be converted and what to do, or None."""
    instead = "or use the transformers backend."
    try:
        known = _known_architectures()
    except ImportError as error:
        return (
            f"the CTranslate2 backend needs the ctranslate2 package ({error}). "
            f"Run: pip install 'bigrec[ctranslate2]', {instead}"
        )
    if lm.device.type not in {"cpu", "cuda"}:
        return (
            f"CTranslate2 computes on cpu and cuda, and the model is on {lm.device.type!r}. Set "
            f"device to 'cpu', {instead}"
        )
    if _is_packed(lm.base):
        return (
            "the base model is loaded in quantized form, which CTranslate2 cannot take over. Load "
            f"it without quantize_bits (CTranslate2 has compute_type 'int8'), {instead}"
        )
    architecture = type(lm.base).__name__
    if architecture not in known:
        return (
            f"CTranslate2 cannot convert the architecture {architecture!r}. Choose another base "
            f"model, {instead}"
        )
    if lm.has_adapter and not isinstance(lm.model.peft_config[lm.model.active_adapter], LoraConfig):
        return f"only LoRA adapters can be merged for CTranslate2. Train one, {instead}"
    return None


def _is_packed(base: Any) -> bool:
    config = getattr(base.config, "quantization_config", None)
    # A GGUF file is unpacked when it is loaded; only the note in the config stays.
    method = getattr(config, "quant_method", None)
    return method not in {None, "gguf"} or not all(
        weight.is_floating_point() for weight in base.parameters()
    )


def _known_architectures() -> set[str]:
    from ctranslate2.converters import transformers as converters  # noqa: PLC0415 - optional

    # CTranslate2 has no public list. Without this one, nothing counts as known.
    loaders = getattr(converters, "_MODEL_LOADERS", {})
    return {str(loader.architecture_name) for loader in loaders.values()}


def _identity(lm: LanguageModel) -> str:
    return fingerprint(
        {
            "base": lm.base_fingerprint,
            "adapter": _adapter_identity(lm.model) if lm.has_adapter else None,
            "dtype": str(lm.model.dtype),
            "ctranslate2": importlib.metadata.version("ctranslate2"),
        }
    )


def _adapter_identity(model: Any) -> list[Any]:
    digest = hashlib.sha256()
    # Left to itself, peft asks the hub whether embeddings belong to the adapter.
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name, weight in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().numpy().tobytes())
    config = model.peft_config[model.active_adapter]
    scale = (config.r, config.lora_alpha, config.use_rslora)
    return [digest.hexdigest(), *scale, config.rank_pattern, config.alpha_pattern]


def _merged_copy(lm: LanguageModel) -> Any:
    """A plain model on the CPU whose config says what the converters look for."""
    # Merging changes weights in place, and taking them out again would not restore every bit.
    with quiet_peft():
        model = copy.deepcopy(lm.model).to("cpu")
        if lm.has_adapter:
            model = model.merge_and_unload()
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    theta = (getattr(model.config, "rope_parameters", None) or {}).get("rope_theta")
    if theta is not None and getattr(model.config, "rope_theta", None) is None:
        # Some converters look for it here, where transformers 5 no longer puts it.
        model.config.rope_theta = theta
    return model


@contextmanager
def _conversion_errors(lm: LanguageModel) -> Iterator[None]:
    try:
        yield
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise ModelError(
            f"CTranslate2 could not convert base model {lm.source.name!r} ({error}). Use the "
            "transformers backend."
        ) from error


@torch.inference_mode()
def _try(lm: LanguageModel, folder: Path) -> None:
    """Refuse a converted model whose logits are not those of the original."""
    import ctranslate2  # noqa: PLC0415 - optional

    vocabulary = lm.model.get_input_embeddings().weight.shape[0]
    ids = np.random.default_rng(0).integers(vocabulary, size=(1, _TRIED_TOKENS)).tolist()
    expected = _centred(lm.model(input_ids=torch.tensor(ids, device=lm.device)).logits[0])
    generator = ctranslate2.Generator(
        str(folder), compute_type="float32", intra_threads=torch.get_num_threads()
    )
    view = generator.forward_batch([[str(token) for token in ids[0]]])
    found = _centred(torch.from_numpy(np.array(view)[0]))
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if not error <= _TOLERANCE.get(lm.model.dtype, 0.0):
        raise ModelError(
            f"CTranslate2 does not compute what base model {lm.source.name!r} does: its logits "
            f"are off by {error:.1%}, so its conversion is not used. Use the transformers backend."
        )


def _centred(logits: torch.Tensor) -> FloatArray:
    """Logits without what adds the same to all tokens, which no probability depends on."""
    values: FloatArray = logits.float().cpu().numpy()
    centred: FloatArray = values - values.mean(axis=-1, keepdims=True)
    return centred


def _keep_latest(cache: Path) -> None:
    # Another process may be doing the same; whoever comes second finds nothing to do.
    with suppress(OSError):
        folders = [path for path in cache.iterdir() if path.is_dir() and path.name[0] != "."]
        folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in folders[_KEPT_FOLDERS:]:
            # Out of the way first: half a folder under its name would be taken for a whole one.
            retired = path.with_name(f".tmp-{path.name}")
            path.replace(retired)
            shutil.rmtree(retired, ignore_errors=True)
