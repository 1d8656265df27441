"""What a trained network answers to histories, a few hundred at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bigrec.models.neural.networks import SequenceNetwork
from bigrec.models.neural.sequences import padded_histories
from bigrec.types import FloatArray, IntArray

_QUERIES = 512


@torch.inference_mode()
def answers(
    network: SequenceNetwork,
    histories: Sequence[IntArray],
    *,
    give: Callable[[Tensor], Tensor],
    width: int,
) -> FloatArray:
    """Answers made from the network's last state after each history.

    Args:
        network: In evaluation mode.
        histories: Numbers of the network's items for each query, oldest first; -1 is padding.
        give: From states ``[b, d]`` to answers ``[b, width]``.
        width: Of an answer.

    Returns:
        ``[q, width]`` float32; all 0 for an empty history.

    Raises:
        ValueError: If an item number is out of range.
    """
    filled, padded = padded_histories(histories, n_items=network.n_items, length=network.max_length)
    found = np.zeros((len(histories), width), dtype=np.float32)
    for start in range(0, len(filled), _QUERIES):
        some = slice(start, start + _QUERIES)
        states = network(padded[some].to(network.device))[:, -1]
        found[filled[some].numpy()] = give(states).cpu().numpy()
    return found
