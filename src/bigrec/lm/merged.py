"""LoRA layers that compute one product for inference, in place of three and their conversions."""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor
from torch.nn import functional

# All merged weights together. For a model of billions of weights the copy would not be worth it.
_MAX_BYTES = 512 * 2**20


class MergedLinear(Linear):
    """peft's LoRA layer, with the product of its factors added to a copy of the base weights.

    The base layer's own weights stay as they are, since titles are embedded with them. The copy is
    made at the first inference, and again when weights have changed. It has the precision of the
    base layer, so that outputs differ from peft's by that rounding. Where gradients are needed, the
    layer is peft's.
    """

    _merged: Tensor | None = None
    _merged_from: tuple[int, ...] = ()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See the base class."""
        adapters = self.active_adapters
        is_plain = not (args or kwargs or self.disable_adapters) and len(adapters) == 1
        is_trained = torch.is_grad_enabled() or self.training
        if is_trained:
            # Not every optimizer lets a weight count its changes.
            self._merged = None
        if is_trained or not is_plain:
            output: Tensor = super().forward(x, *args, **kwargs)
            return output
        base: Any = self.base_layer
        return functional.linear(x, self._weight(base.weight, *adapters), base.bias)

    def _weight(self, base: Tensor, adapter: str) -> Tensor:
        factors: Any = self.lora_A[adapter], self.lora_B[adapter]
        weights = base, *(factor.weight for factor in factors)
        # What is written in place stays where it is and gets another version.
        merged_from = tuple(
            part for weight in weights for part in (weight.data_ptr(), weight._version)
        )
        if self._merged is None or merged_from != self._merged_from:
            merged = base.float() + self.get_delta_weight(adapter).float()
            self._merged, self._merged_from = merged.to(base.dtype), merged_from
        return self._merged


def merge_for_inference(model: torch.nn.Module) -> None:
    """Let the LoRA layers of a model compute one product where no gradients are needed.

    Nothing changes if base weights are quantized, or if the copies would take more than 512 MiB.

    Args:
        model: A model with a plain LoRA adapter.
    """
    layers: list[Any] = [layer for layer in model.modules() if type(layer) is Linear]
    weights = [layer.base_layer.weight for layer in layers]
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    if size <= _MAX_BYTES and all(weight.is_floating_point() for weight in weights):
        for layer in layers:
            layer.__class__ = MergedLinear
