"""Gradients of processes that train one network together."""

import torch

from bigrec.lm.distributed import Processes
from bigrec.models.neural.networks import SequenceNetwork


def sum_gradients(network: SequenceNetwork, loss: float, processes: Processes) -> float:
    """Replace the gradients of every process by their sum; returns that of the losses.

    Args:
        network: Of every process, with the same weights.
        loss: Of this process.
        processes: All of them call this.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    gradients = [
        weight.new_zeros(weight.shape) if weight.grad is None else weight.grad for weight in weights
    ]
    parts = [gradient.float().flatten() for gradient in gradients]
    summed = processes.add(torch.cat([*parts, parts[0].new_tensor([loss])]))
    *sums, total = torch.split(summed, [*map(len, parts), 1])
    for weight, gradient in zip(weights, sums, strict=True):
        weight.grad = gradient.view_as(weight).to(weight.dtype)
    return float(total)
