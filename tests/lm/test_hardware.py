"""Faster products and attention: the same numbers up to rounding."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from bigrec.lm import hardware
from bigrec.lm.hardware import (
    QuickProducts,
    attention_by_products,
    default_batch_tokens,
    disable_cudnn_attention,
)
from bigrec.lm.model import load_language_model

pytestmark = pytest.mark.model


def test_quick_products_are_the_products() -> None:
    generator = torch.Generator().manual_seed(0)
    states, weight = (torch.randn(shape, generator=generator) for shape in ((2, 5, 64), (32, 64)))
    bias = torch.randn(32, generator=generator)
    with torch.inference_mode(), QuickProducts():
        plain, biased = functional.linear(states, weight), functional.linear(states, weight, bias)
    expected = states.double() @ weight.double().T
    torch.testing.assert_close(plain.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(biased.double(), expected + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 64), (2, 5, 64), (256, 64), (2, 128, 64)])
@pytest.mark.parametrize("is_expanded", [False, True])
def test_quick_products_have_the_gradients_of_products(
    shape: tuple[int, ...], is_expanded: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(size, generator=generator) for size in (shape, (32, 64), (32,))]
    found, expected = ([value.clone().requires_grad_() for value in inputs] for _ in range(2))
    with QuickProducts():
        outputs = functional.linear(*found)
    products = functional.linear(*(value.double() for value in expected))
    for of in (outputs, products):
        # The gradient of a sum is one number for all elements.
        torch.autograd.backward(of.sum() if is_expanded else of.square().sum())
    for ours, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("count", [256, 300])
def test_quick_products_never_get_strides_that_are_slow(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    operands = []

    def record(states: torch.Tensor, weight: torch.Tensor, *_: object) -> torch.Tensor:
        operands.append(weight)
        return states @ weight.T

    monkeypatch.setattr(hardware, "_onednn_linear", lambda: record)
    states = torch.ones(count, 8, requires_grad=True)
    weight = torch.ones(16, 8, requires_grad=True)
    with QuickProducts():
        scores = functional.linear(states, weight)
    # The gradient of each part is a slice of that of both.
    torch.autograd.backward(torch.cat([states[:, :1], scores], dim=1).square().sum())
    assert len(operands) == 3
    assert all(value.is_contiguous() or value.T.is_contiguous() for value in operands)
    assert operands[2].shape[1] % hardware.ROWS == 0


def test_quick_products_leave_the_shapes_to_torch_that_onednn_does_not_know() -> None:
    weight = torch.ones(3, 4, requires_grad=True)
    with QuickProducts():
        assert functional.linear(torch.ones(0, 4), weight).shape == (0, 3)
        assert functional.linear(torch.ones(2, 0, 4), weight).shape == (2, 0, 3)
        assert functional.linear(torch.ones(4), weight).tolist() == [4, 4, 4]
        product = functional.linear(torch.ones(2, 4), weight)
        assert product.add_(1).tolist() == [[5, 5, 5]] * 2


def test_quick_products_give_a_gradient_only_where_one_is_needed() -> None:
    weight = torch.ones(2, 3, requires_grad=True)
    with QuickProducts():
        torch.autograd.backward(functional.linear(torch.ones(4, 3), weight).sum())
    assert weight.grad is not None
    assert (weight.grad == 4).all()


def test_quick_products_leave_autocast_to_torch() -> None:
    with QuickProducts(), torch.autocast("cpu", dtype=torch.bfloat16):
        product = functional.linear(torch.ones(4, 3), torch.ones(2, 3))
    assert product.dtype == torch.bfloat16


@pytest.mark.parametrize(("dtype", "inside"), [("bfloat16", "eager"), ("float32", "sdpa")])
def test_attention_uses_products_in_bfloat16_on_a_cpu_within_the_block(
    dtype: str, inside: str, tiny_model: Path
) -> None:
    lm = load_language_model(str(tiny_model), device="cpu", dtype=dtype)  # type: ignore[arg-type]
    config = lm.base.config
    with attention_by_products(lm.base, longest=8):
        assert config._attn_implementation == inside
    assert config._attn_implementation == "sdpa"
    with attention_by_products(lm.base, longest=10_000):
        assert config._attn_implementation == "sdpa"


def test_states_are_the_same_with_either_attention(tiny_model: Path) -> None:
    lm = load_language_model(str(tiny_model), device="cpu", dtype="bfloat16")
    ids = torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    with torch.inference_mode():
        before = lm.base(input_ids=ids, attention_mask=mask).logits
        with attention_by_products(lm.base, longest=4):
            after = lm.base(input_ids=ids, attention_mask=mask).logits
    real = mask.bool()
    torch.testing.assert_close(after[real], before[real], rtol=0.05, atol=0.05)


def test_cudnn_attention_is_off_for_models_on_cuda_alone() -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    try:
        torch.backends.cuda.enable_cudnn_sdp(True)
        disable_cudnn_attention(torch.device("cpu"))
        assert torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
        disable_cudnn_attention(torch.device("cuda"))
        assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def test_a_gpu_reads_more_tokens_at_once() -> None:
    by_device = [default_batch_tokens(torch.device(name)) for name in ("cpu", "mps", "cuda:1")]
    assert by_device == [1024, 4096, 16_384]
