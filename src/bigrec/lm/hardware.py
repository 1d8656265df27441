"""What a device computes in, and how it is kept to products that it is quick at."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bigrec.errors import ModelError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Probabilities of attention are kept for the way back, for every pair of tokens: with longer rows
# they would be most of the memory.
_LONGEST_WHOLE_ATTENTION = 256


def pick_device(device: str = "auto") -> torch.device:
    """The device to compute on; ``auto`` takes CUDA, then Apple's GPU, then the CPU.

    Raises:
        ModelError: If the device is not one that torch knows here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device {device!r} cannot be used here: {first_line(error)} Use 'auto' or 'cpu'."
        ) from error
    return chosen


def pick_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """The precision to load weights in; ``auto`` is bfloat16 only where it is native."""
    if dtype != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return torch.float32


def fold_logits(model: Any) -> None:
    """Have the model multiply its vocabulary with one matrix of states, whatever is left out.

    States of trailing positions alone are no plain matrix, for which torch copies the vocabulary's
    weights once for every row of the batch: a fifth of the time of training, and more memory than
    the whole model.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(_contiguous)


def _contiguous(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


@contextmanager
def attention_by_products(model: Any, *, longest: int) -> Iterator[None]:
    """Attention as plain matrix products where these are the fastest for training.

    On a CPU torch's fused attention goes back through bfloat16 three times slower than products
    do, which use its instructions; in float32 there is no such difference.

    Args:
        model: A transformers model.
        longest: Tokens of the longest row that it will read.
    """
    before = getattr(model.config, "_attn_implementation", None)
    if (
        model.device.type != "cpu"
        or model.dtype != torch.bfloat16
        or before != "sdpa"
        or longest > _LONGEST_WHOLE_ATTENTION
    ):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


class QuickProducts(TorchFunctionMode):
    """Float32 products for inference by oneDNN, where torch leaves them to a slower library.

    Torch gives float32 products to MKL, which keeps to AVX2 on processors not made by its maker:
    oneDNN, which torch brings along, uses AVX-512 and is 2.2 times faster there. It computes in
    float32 as well; only the order of its sums is another. Where gradients are needed, on other
    devices and in other precisions nothing changes.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.linear and not kwargs and _suits_onednn(*args):
            states, weight, bias = (*args, None)[:3]
            return _onednn_linear()(states, weight, bias, "none", [], "")
        return func(*args, **(kwargs or {}))


def _suits_onednn(states: torch.Tensor, weight: torch.Tensor, _: Any = None) -> bool:
    return (
        states.dtype == weight.dtype == torch.float32
        and states.device.type == weight.device.type == "cpu"
        and not torch.is_grad_enabled()
        and _onednn_linear() is not None
    )


@cache
def _onednn_linear() -> Any:
    """OneDNN's product as torch's compiler calls it; None where it would not be the faster one."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not wide or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    product = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    one = torch.ones(1, 1)
    try:
        # Torch calls it by itself alone and may change how: where it does not answer, do without.
        product(one, one, None, "none", [], "")  # type: ignore[misc]
    except (RuntimeError, TypeError):
        return None
    return product


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _cpu_has_bf16() -> bool:
    # mkldnn also answers yes for AVX-512 without bf16 instructions, where it emulates; the
    # capability below is the hardware's own word.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool((probe and probe()) or (amx and amx()))
