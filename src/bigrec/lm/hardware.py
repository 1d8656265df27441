"""Choice of device and precision, and faster implementations of products and attention."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bigrec.errors import ModelError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# The backward pass keeps attention probabilities for every pair of tokens. In longer rows they take
# most of the memory.
_LONGEST_EAGER_ATTENTION = 256
ROWS = 256
"""In training, float32 products on a CPU have a multiple of so many rows."""


def pick_device(device: str) -> torch.device:
    """The device to compute on.

    Args:
        device: ``auto``, or a device in torch's notation. ``auto`` takes CUDA (one GPU for each
            process of a machine), then Apple's GPU, then the CPU.

    Raises:
        ModelError: If torch cannot compute on the device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(
            f"device is {device!r}, which torch cannot use here: expected one of "
            f"{', '.join(map(repr, ['auto', *_available_devices()]))}. Torch's error: "
            f"{first_line(error)}"
        ) from error
    return chosen


def _available_devices() -> list[str]:
    devices = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*devices, "mps"] if torch.backends.mps.is_available() else devices


def pick_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """The precision of weights. ``auto`` is bfloat16 if the device computes in it natively."""
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


def default_batch_tokens(device: torch.device) -> int:
    """Tokens of a batch for inference.

    On a CPU about as many as its caches hold. On CUDA enough to hide the launches of a small
    model's kernels: with SmolLM2-135M on an H200, states of histories took 1.6 times and
    likelihoods 1.9 times as long with 4,096 tokens.

    Args:
        device: The device of a language model.
    """
    return {"cpu": 1024, "cuda": 16_384}.get(device.type, 4096)


def disable_cudnn_attention(device: torch.device) -> None:
    """On CUDA, compute attention without cuDNN, for the whole process.

    Torch prefers cuDNN's attention on datacenter GPUs. On an H200 (torch 2.11) it took twice as
    long in training and four times as long in inference, and full fine-tuning on windows of titles
    ended in weights that were not finite.

    Args:
        device: The device of a language model.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


def fold_logits(model: Any) -> None:
    """Make the states contiguous before the product with the vocabulary.

    States of trailing positions alone are not contiguous, and torch then copies the vocabulary's
    weights once for every row of the batch: a fifth of the training time, and more memory than the
    whole model.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(_contiguous)


def _contiguous(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


@contextmanager
def attention_by_products(
    model: Any, *, longest: int, dtype: torch.dtype | None = None
) -> Iterator[None]:
    """Within the block, compute attention as matrix products if that is faster for training.

    On a CPU the backward pass of torch's fused attention in bfloat16 is three times slower than
    that of matrix products, which use bfloat16 instructions. In float32 there is no difference.

    Args:
        model: A transformers model.
        longest: Tokens of the longest row that it reads within the block.
        dtype: The precision that it computes in; None for that of its weights.
    """
    previous = getattr(model.config, "_attn_implementation", None)
    if (
        model.device.type != "cpu"
        or (dtype or model.dtype) != torch.bfloat16
        or previous != "sdpa"
        or longest > _LONGEST_EAGER_ATTENTION
    ):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(previous)


class QuickProducts(TorchFunctionMode):
    """Within the block, compute float32 products of ``functional.linear`` with oneDNN if faster.

    Torch uses MKL for float32 products, and MKL uses no more than AVX2 on processors that are not
    Intel's. OneDNN, which is part of torch, uses AVX-512 there and is 2.2 times faster. It computes
    in float32 as well; only the order of its sums differs. That holds for the two products of the
    backward pass, too. Nothing changes on other devices and in other precisions.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.linear and not kwargs and _suits_onednn(*args):
            product = _product_for_training if torch.is_grad_enabled() else _onednn_product
            return product(*args)
        return func(*args, **(kwargs or {}))


def _suits_onednn(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> bool:
    operands = (states, weight) if bias is None else (states, weight, bias)
    return (
        all(value.dtype == torch.float32 and value.device.type == "cpu" for value in operands)
        and states.dim() > 1
        and states.numel() > 0
        and weight.dim() == 2
        and (bias is None or bias.shape == weight.shape[:1])
        and not torch.is_autocast_enabled("cpu")
        and _onednn_linear() is not None
    )


def _product_for_training(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The product with gradients, of few shapes.

    OneDNN and torch keep what they prepared for each shape, hundreds of MiB in a training whose
    batches all have other shapes. So rows of 0 are added.
    """
    rows = states.flatten(0, -2)
    count = len(rows)
    if n_missing := -count % ROWS:
        rows = functional.pad(rows, (0, 0, 0, n_missing))
    outputs: torch.Tensor = _OneDnnLinear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    return outputs[:count].view(*states.shape[:-1], len(weight))


class _OneDnnLinear(torch.autograd.Function):
    """``functional.linear`` of a matrix, and its gradients, by oneDNN."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        of_rows, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(rows if of_weight else None, weight if of_rows else None)
        return _onednn_product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        rows, weight = ctx.saved_tensors
        # With other strides oneDNN multiplies a thousand times slower.
        gradient = gradient.contiguous()
        return (
            None if weight is None else _onednn_product(gradient, weight.T),
            None if rows is None else _onednn_product(rows.T, gradient.T).T,
            gradient.sum(dim=0) if ctx.needs_input_grad[2] else None,
        )


def _onednn_product(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    if not (weight.is_contiguous() or weight.T.is_contiguous()):
        weight = weight.contiguous()
    product: torch.Tensor = _onednn_linear()(states, weight, bias, "none", [], "")
    return product


@cache
def _onednn_linear() -> Any:
    """OneDNN's product as torch's compiler calls it; None if it is missing or not faster."""
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not has_avx512 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    product = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    probe = torch.ones(1, 1)
    try:
        # The operator is internal to torch, whose next version may change its arguments.
        product(probe, probe, None, "none", [], "")  # type: ignore[misc]
    except (RuntimeError, TypeError):
        return None
    return product


def first_line(error: BaseException) -> str:
    """First line of an error's message, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _cpu_has_bf16() -> bool:
    # mkldnn also claims support for AVX-512 without bf16 instructions, where it emulates them. The
    # checks below ask the hardware.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool((probe and probe()) or (amx and amx()))
