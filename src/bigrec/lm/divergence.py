"""Training that diverges is stopped before its weights are lost."""

import torch

from bigrec.errors import ModelError


def check_gradients(model: torch.nn.Module, *, place: str, learning_rate: float) -> None:
    """Refuse gradients that are not finite.

    Args:
        model: With gradients that are clipped, so that their sums cannot overflow.
        place: Where training is, for the error.
        learning_rate: The peak learning rate.

    Raises:
        ModelError: If a gradient is not finite.
    """
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    # Of a sharded weight, the share of this process.
    own = [getattr(gradient, "_local_tensor", gradient) for gradient in gradients]
    # All before the first is read, so that a GPU is waited for once.
    sums = [gradient.sum(dtype=torch.float32) for gradient in own]
    if sums and not bool(torch.stack(sums).isfinite().all()):
        raise diverged(place, learning_rate=learning_rate)


def diverged(place: str, *, learning_rate: float) -> ModelError:
    """The error of a gradient that is not finite.

    Args:
        place: Where training is.
        learning_rate: The peak learning rate.
    """
    return ModelError(
        f"training diverged in {place}: a gradient is NaN or infinite; the learning rate is "
        f"{learning_rate:g}. Lower learning_rate. If the error stays and a language model is "
        "trained, check its weights, or compute in another precision (model.dtype)."
    )
