"""Conversion of a language model, with its adapter merged, to a CTranslate2 folder.

CTranslate2 loads models from folders in its format. A conversion takes a few times as long as
loading the base model, so the most recent folders are cached. A folder is cached only if its model
gives the logits of the original: a converter that ignores a setting of a newer transformers writes
a model that runs, but computes something else.
"""

import copy
import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model_state_dict

from bigrec.errors import ModelError
from bigrec.lm.model import LanguageModel, cache_folder, quiet_peft
from bigrec.printable import get_logger
from bigrec.storage import atomic_folder, fingerprint
from bigrec.types import FloatArray

logger = get_logger(__name__)

# Each folder is as large as the base model. Four are the adapters of a comparison of a few seeds.
_KEPT_FOLDERS = 4
# Tokens on which the converted model is checked. Wrong positions have no effect on the first ones.
_CHECKED_TOKENS = 64
# Largest relative error of logits. Correct conversions stay below a hundredth of it.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 5e-2}

Convert = Callable[[Any, Path], None]
"""Converts a plain transformers model to a CTranslate2 folder."""


def can_convert(lm: LanguageModel) -> bool:
    """Whether CTranslate2 is installed and supports the architecture, the device and the adapter.

    The conversion can still fail, if CTranslate2 computes something else than the model.
    """
    return _obstacle(lm) is None


def converted_folder(
    lm: LanguageModel, *, cache: Path | None = None, convert: Convert | None = None
) -> Path:
    """The CTranslate2 folder of a model with its adapter merged, from the cache or converted.

    Args:
        lm: The language model, with its adapter if it has one. It does not change.
        cache: Folder of the four most recently used conversions; by default ``ct2`` in
            `cache_folder`.
        convert: Converts the model in its precision; by default CTranslate2's converter.

    Raises:
        ModelError: If CTranslate2 is not installed, cannot convert the model, or the converted
            model computes something else.
        StorageError: If the cache cannot be written.
    """
    if (obstacle := _obstacle(lm)) is not None:
        raise ModelError(obstacle)
    cache = cache or cache_folder() / "ct2"
    folder = cache / _identity(lm)
    if not folder.is_dir():
        logger.info("Converting the model for CTranslate2 once into %s", folder)
        with atomic_folder(folder) as temporary, _conversion_errors(lm):
            (convert or convert_with_ctranslate2)(_merged_copy(lm), temporary)
            _check_logits(lm, temporary)
    # A read-only cache is usable too.
    with suppress(OSError):
        os.utime(folder)
    _keep_latest(cache)
    return folder


def convert_with_ctranslate2(model: Any, folder: Path) -> None:
    """Convert a plain transformers model to a CTranslate2 folder, in its precision.

    The names of tokens are their numbers, from ``"0"`` to the last row of the embedding, so that
    added tokens, gaps and padding of the vocabulary cannot shift them. The model must not be used
    afterwards.
    """
    from ctranslate2.converters import TransformersConverter  # noqa: PLC0415 - optional

    class InMemory(TransformersConverter):  # type: ignore[misc]
        """Converts a model in memory, without writing it to a folder first."""

        def load_model(self, *_: Any, **__: Any) -> Any:
            return model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return _NumberVocabulary(model.get_input_embeddings().weight.shape[0])

    with tempfile.TemporaryDirectory() as config_only:
        model.config.save_pretrained(config_only)
        InMemory(config_only).convert(str(folder), force=True)


class _NumberVocabulary:
    """Stands in for a tokenizer: the name of every token is its number."""

    # CTranslate2 reads these names. No call of ours depends on them.
    bos_token = eos_token = unk_token = pad_token = str(0)

    def __init__(self, size: int) -> None:
        self._size = size

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(self._size)}


def _obstacle(lm: LanguageModel) -> str | None:
    """The reason why a model cannot be converted, with the remedy, or None."""
    alternative = "or use the transformers backend."
    try:
        supported = _supported_architectures()
    except ImportError as error:
        return (
            f"the CTranslate2 backend needs the ctranslate2 package ({error}). "
            f"Run: pip install 'bigrec[ctranslate2]', {alternative}"
        )
    if lm.device.type not in {"cpu", "cuda"}:
        return (
            f"CTranslate2 computes on cpu and cuda, and the model is on {lm.device.type!r}. Set "
            f"device to 'cpu', {alternative}"
        )
    if _is_packed(lm.base):
        return (
            "the base model is loaded in quantized form, which CTranslate2 cannot convert. Load "
            f"it without quantize_bits (CTranslate2 has compute_type 'int8'), {alternative}"
        )
    architecture = type(lm.base).__name__
    if architecture not in supported:
        return (
            f"CTranslate2 cannot convert the architecture {architecture!r}. Choose another base "
            f"model, {alternative}"
        )
    if lm.has_adapter and not isinstance(lm.model.peft_config[lm.model.active_adapter], LoraConfig):
        return f"only LoRA adapters can be merged for CTranslate2. Train one, {alternative}"
    return None


def _is_packed(base: Any) -> bool:
    config = getattr(base.config, "quantization_config", None)
    # A GGUF file is unpacked when it is loaded, but its config still has the entry.
    method = getattr(config, "quant_method", None)
    return method not in {None, "gguf"} or not all(
        weight.is_floating_point() for weight in base.parameters()
    )


def _supported_architectures() -> set[str]:
    from ctranslate2.converters import transformers as converters  # noqa: PLC0415 - optional

    # CTranslate2 has no public list. Without this private one, no architecture is supported.
    loaders = getattr(converters, "_MODEL_LOADERS", {})
    return {str(loader.architecture_name) for loader in loaders.values()}


def _identity(lm: LanguageModel) -> str:
    return fingerprint(
        {
            "base": lm.base_fingerprint,
            "adapter": _adapter_identity(lm.model) if lm.has_adapter else None,
            "weights": None if lm.pretrained is None else _digest(lm.model.state_dict()),
            "dtype": str(lm.model.dtype),
            "ctranslate2": importlib.metadata.version("ctranslate2"),
        }
    )


def _adapter_identity(model: Any) -> list[Any]:
    # By default peft asks the hub whether embeddings belong to the adapter.
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    config = model.peft_config[model.active_adapter]
    scale = (config.r, config.lora_alpha, config.use_rslora)
    return [_digest(weights), *scale, config.rank_pattern, config.alpha_pattern]


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _merged_copy(lm: LanguageModel) -> Any:
    """A plain model on the CPU, with the config entries that the converters read."""
    # Merging changes weights in place, and unmerging would not restore them bit for bit.
    with quiet_peft():
        model = copy.deepcopy(lm.model).to("cpu")
        if lm.has_adapter:
            model = model.merge_and_unload()
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    theta = (getattr(model.config, "rope_parameters", None) or {}).get("rope_theta")
    if theta is not None and getattr(model.config, "rope_theta", None) is None:
        # Some converters read it here, where transformers 5 no longer stores it.
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
def _check_logits(lm: LanguageModel, folder: Path) -> None:
    """Refuse a converted model whose logits differ from those of the original."""
    import ctranslate2  # noqa: PLC0415 - optional

    vocabulary = lm.model.get_input_embeddings().weight.shape[0]
    ids = np.random.default_rng(0).integers(vocabulary, size=(1, _CHECKED_TOKENS)).tolist()
    expected = _centered(lm.model(input_ids=torch.tensor(ids, device=lm.device)).logits[0])
    generator = ctranslate2.Generator(
        str(folder), compute_type="float32", intra_threads=torch.get_num_threads()
    )
    view = generator.forward_batch([[str(token) for token in ids[0]]])
    converted = _centered(torch.from_numpy(np.array(view)[0]))
    error = float(np.linalg.norm(converted - expected) / np.linalg.norm(expected))
    if not error <= _TOLERANCE.get(lm.model.dtype, 0.0):
        raise ModelError(
            f"CTranslate2 does not compute what base model {lm.source.name!r} does: its logits "
            f"are off by {error:.1%}, so its conversion is not used. Use the transformers backend."
        )


def _centered(logits: torch.Tensor) -> FloatArray:
    """Logits minus their mean over tokens, on which no probability depends."""
    values: FloatArray = logits.float().cpu().numpy()
    centered: FloatArray = values - values.mean(axis=-1, keepdims=True)
    return centered


def _keep_latest(cache: Path) -> None:
    # Another process may do the same. The second one then finds nothing to remove.
    with suppress(OSError):
        folders = [path for path in cache.iterdir() if path.is_dir() and path.name[0] != "."]
        folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in folders[_KEPT_FOLDERS:]:
            # Renamed first: a partly removed folder must not be mistaken for a complete one.
            retired = path.with_name(f".tmp-{path.name}")
            path.replace(retired)
            shutil.rmtree(retired, ignore_errors=True)
