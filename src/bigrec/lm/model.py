"""Loading of a base model, its tokenizer and an adapter, and the fingerprint of a model."""

import copy
import importlib.util
import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from bigrec.errors import BigrecError, BundleError, ModelError
from bigrec.lm.adapter_files import ADAPTER_CONFIG, read_adapter
from bigrec.lm.hardware import (
    Dtype,
    disable_cudnn_attention,
    first_line,
    fold_logits,
    pick_device,
    pick_dtype,
)
from bigrec.lm.identity import identify, truncated_fingerprint
from bigrec.lm.locate import ModelSource, find_base_model, loading_remedy
from bigrec.printable import get_logger
from bigrec.storage import atomic_folder, file_digest, fingerprint, read_json, write_json

logger = get_logger(__name__)

_GGUF_CACHE_LIMIT_BYTES = 1 << 30
_TRUST = "Set trust_remote_code if you trust its authors."
CheckFingerprint = Callable[[str], None]
"""Called with the fingerprint of a base model, before it is loaded."""


@dataclass
class LanguageModel:
    """A base model with its tokenizer and, after training, its adapter.

    Attributes:
        source: Location of the base model.
        model: The causal language model; a peft model if an adapter is attached.
        tokenizer: Its tokenizer.
        base_fingerprint: Changes with the base model's weights, tokenizer and code.
        pretrained: The base model, if ``model`` is a copy of it whose weights were all trained.
    """

    source: ModelSource
    model: Any
    tokenizer: PreTrainedTokenizerBase
    base_fingerprint: str
    pretrained: Any = None

    @property
    def device(self) -> torch.device:
        """The device of the model's weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def has_adapter(self) -> bool:
        """Whether a LoRA adapter is attached."""
        return hasattr(self.model, "disable_adapter")

    @property
    def base(self) -> Any:
        """The network itself. An adapter or trained weights change what its layers compute."""
        return self.model.get_base_model() if self.has_adapter else self.model

    def truncate(self, num_layers: int) -> None:
        """Remove all layers of the base model but the first, permanently.

        Args:
            num_layers: Layers to keep, from 1 to all.

        Raises:
            ModelError: If the base model has fewer, or its layers are not in a list.
        """
        decoder: Any = self.base.get_decoder()
        layers = getattr(decoder, "layers", None)
        if not isinstance(layers, torch.nn.ModuleList) or not 1 <= num_layers <= len(layers):
            reason = "has no list of layers" if layers is None else f"has {len(layers)}"
            raise ModelError(
                f"{num_layers} layers of base model {self.source.name!r} cannot be used: it "
                f"{reason}. Set truncate_layers to null to use all layers."
            )
        decoder.layers = layers[:num_layers]
        self.base.config.num_hidden_layers = num_layers
        self.base_fingerprint = truncated_fingerprint(self.base_fingerprint, num_layers)

    def with_random_weights(self, *, seed: int) -> "LanguageModel":
        """A model of this architecture and tokenizer with weights as before pretraining.

        Args:
            seed: Seed of the weights.
        """
        # Drawn on the CPU, so that every device starts from the same weights.
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            model = type(self.base)(copy.deepcopy(self.base.config))
        model = model.to(device=self.device, dtype=self.base.dtype).eval()
        key = fingerprint(["random weights", self.base_fingerprint, seed])
        return replace(self, model=model, base_fingerprint=key)

    def attach_weights(self, model: Any) -> None:
        """Put a copy of the base model with other weights in its place; see `restore_base`."""
        self.restore_base()
        self.model, self.pretrained = model, self.model

    def restore_base(self) -> None:
        """Detach an adapter or trained weights. The base model is as before."""
        if self.pretrained is not None:
            self.model, self.pretrained = self.pretrained, None
        elif self.has_adapter:
            self.model = self.model.unload()

    @contextmanager
    def base_only(self) -> Iterator[PreTrainedModel]:
        """The base model as it was before training, as in the paper for embedding."""
        if self.pretrained is not None:
            yield self.pretrained
            return
        adapter_off = self.model.disable_adapter() if self.has_adapter else nullcontext()
        with adapter_off:
            yield self.base

    @cached_property
    def _base_arguments(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.base.forward).parameters)

    def forward_options(self, mask: torch.Tensor, *, keep: int) -> dict[str, Any]:
        """Arguments of a forward pass over left-padded rows that the architecture supports.

        Args:
            mask: 1 for tokens, 0 for padding, ``[b, width]``.
            keep: Trailing positions whose logits are needed.

        Returns:
            ``position_ids`` that count from each row's first token, and ``logits_to_keep``.
        """
        options = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0), "logits_to_keep": keep}
        return {name: value for name, value in options.items() if name in self._base_arguments}

    def load_adapter(self, folder: Path) -> None:
        """Attach a plain LoRA adapter in peft's layout; it replaces an attached one.

        Raises:
            ModelError: If the folder holds no adapter or one for another architecture.
        """
        self.restore_base()
        try:
            with quiet_peft():
                self.model = read_adapter(self.model, folder)
        except (BundleError, ValueError) as error:
            raise ModelError(
                f"the adapter in {folder} could not be attached to base model "
                f"{self.source.name!r}: {first_line(error)}"
            ) from error
        self.model.eval()

    def save_adapter(
        self, folder: Path, *, weights: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        """Write the adapter in peft's layout, completely or not at all.

        Args:
            folder: Where to.
            weights: All weights by name, where the model holds shards alone.

        Raises:
            ModelError: If there is no adapter.
            StorageError: If the folder cannot be written.
        """
        if not self.has_adapter:
            raise ModelError("there is no adapter to save: train one or load one first.")
        with atomic_folder(folder) as temporary:
            self.model.save_pretrained(
                str(temporary), save_embedding_layers=False, state_dict=weights
            )
            config = temporary / ADAPTER_CONFIG
            # peft writes a path of this machine, which is of no use on another.
            write_json(config, {**read_json(config), "base_model_name_or_path": self.source.origin})


def load_language_model(
    name: str,
    *,
    dtype: Dtype = "auto",
    device: str = "auto",
    quantize_bits: Literal[4, 8] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    cache: Path | None = None,
    check: CheckFingerprint | None = None,
) -> LanguageModel:
    """Load a base model and its tokenizer.

    Args:
        name: Hub id, local folder, ``.gguf`` file or short name; see `find_base_model`.
        dtype: ``auto`` is bfloat16 if the device computes in it natively, else float32 (on a CPU
            without such instructions bfloat16 is a hundred times slower).
        device: ``auto`` takes CUDA, then Apple's GPU, then the CPU.
        quantize_bits: Load the base in 8 or 4 bits with bitsandbytes; CUDA only.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model. Only for authors you trust.
        cache: Folder for unpacked GGUF files; by default `cache_folder`.
        check: Called with the model's fingerprint before anything of it is loaded; its errors
            are passed on.

    Raises:
        ModelError: If the model or its tokenizer cannot be found or loaded.
    """
    source = find_base_model(name)
    target = pick_device(device)
    precision = pick_dtype(dtype, target)
    with loading(name):
        source, base_fingerprint = identify(replace(source, revision=revision))
    if check is not None:
        check(base_fingerprint)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if not source.is_local:
        options["revision"] = source.revision
    with loading(name):
        if source.gguf_file is not None:
            source = _unpack(source, cache or cache_folder())
        tokenizer = _load_tokenizer(source, options)
        model = _load_weights(source, precision, target, quantize_bits, options)
    fold_logits(model)
    disable_cudnn_attention(target)
    model.eval()
    # A folder's own would sample, penalize and forbid where a search does not say otherwise.
    model.generation_config = GenerationConfig()
    return LanguageModel(source, model, tokenizer, base_fingerprint)


def check_base_model(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> None:
    """Check that a base model is available, without loading its weights.

    Raises:
        ModelError: If it cannot be found, or the hub cannot be reached.
    """
    source = find_base_model(name)
    if not source.is_local:
        with loading(name):
            # The smallest file of a model, loaded from the hub like all others.
            AutoConfig.from_pretrained(
                source.location, revision=revision, trust_remote_code=trust_remote_code
            )


def load_tokenizer(name: str, *, cache: Path | None = None) -> PreTrainedTokenizerBase:
    """Load a base model's tokenizer alone.

    Raises:
        ModelError: If it cannot be found or loaded.
    """
    source = find_base_model(name)
    with loading(name):
        if source.gguf_file is not None:
            source = _unpack(source, cache or cache_folder())
        return _load_tokenizer(source, {})


def cache_folder() -> Path:
    """Folder for files that can be recreated: ``BIGREC_CACHE``, or the user's cache folder."""
    if "BIGREC_CACHE" in os.environ:
        return Path(os.environ["BIGREC_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bigrec"


def _unpack(source: ModelSource, cache: Path) -> ModelSource:
    """Convert a GGUF file to a folder, once: reading the file again takes far longer."""
    path = Path(source.location) / str(source.gguf_file)
    digest = file_digest(path)[:16]
    folder = cache / "models" / digest
    if not folder.is_dir():
        if path.stat().st_size > _GGUF_CACHE_LIMIT_BYTES:
            return source
        logger.info("Unpacking %s once into %s", path.name, folder)
        tokenizer = _load_tokenizer(source, {})
        model = _load_weights(source, torch.float32, torch.device("cpu"), None, {})
        with atomic_folder(folder) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    return replace(source, location=str(folder), gguf_file=None)


def _load_tokenizer(source: ModelSource, options: dict[str, Any]) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(source.location, **_gguf_option(source), **options)
    if tokenizer.pad_token_id is None:
        # Padding is masked everywhere, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _load_weights(
    source: ModelSource,
    dtype: torch.dtype,
    device: torch.device,
    quantize_bits: int | None,
    options: dict[str, Any],
) -> PreTrainedModel:
    loading: dict[str, Any] = {**options, **_gguf_option(source)}
    if source.gguf_file is not None:
        # Packed weights would be unpacked for every product, and could not be saved.
        loading["quantization_config"] = GgufConfig(dequantize=True)
    elif quantize_bits is not None:
        loading["quantization_config"] = _bitsandbytes(quantize_bits, dtype, device)
        loading["device_map"] = {"": device}
    model: Any = AutoModelForCausalLM.from_pretrained(source.location, dtype=dtype, **loading)
    on_device: PreTrainedModel = model if quantize_bits is not None else model.to(device)
    return on_device


def _gguf_option(source: ModelSource) -> dict[str, str]:
    return {} if source.gguf_file is None else {"gguf_file": source.gguf_file}


def _bitsandbytes(bits: int, dtype: torch.dtype, device: torch.device) -> BitsAndBytesConfig:
    if device.type != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"quantize_bits is {bits}, which needs a CUDA device and the bitsandbytes package "
            f"(the device is {device.type!r}). Run: pip install 'bigrec[quantized]', or set "
            "quantize_bits to null."
        )
    return BitsAndBytesConfig(
        load_in_8bit=bits == 8,
        load_in_4bit=bits == 4,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
    )


@contextmanager
def loading(name: str, *, what: str = "base model") -> Iterator[None]:
    """Load a model without progress bars, which would interrupt ours.

    Args:
        name: Name of the model as the user gave it.
        what: The kind of model in messages.

    Raises:
        ModelError: If the block fails.
    """
    try:
        with quiet_transformers():
            yield
    except BigrecError:
        raise
    # Loaders check nothing: a damaged file, or a pickle with code, fails in any way.
    except Exception as error:
        remedy = _TRUST if "trust_remote_code" in str(error) else loading_remedy(name)
        raise ModelError(
            f"{what} {name!r} could not be loaded: {first_line(error)} {remedy}"
        ) from error


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Suppress peft's own warning about a deprecated attribute, which callers cannot change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppress progress bars of transformers, which would interrupt ours, and its remarks."""
    has_progress_bar = hf_logging.is_progress_bar_enabled()
    level = hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if has_progress_bar:
            hf_logging.enable_progress_bar()
