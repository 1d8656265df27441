"""Batched inference with a trained network."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bigrec.models.base import history_rows, read_histories
from bigrec.models.neural.networks import SequenceNetwork
from bigrec.types import FloatArray, IntArray

_BATCH_SIZE = 512


@torch.inference_mode()
def encode_histories(
    network: SequenceNetwork,
    histories: Sequence[IntArray],
    *,
    transform: Callable[[Tensor], Tensor],
    output_dim: int,
) -> FloatArray:
    """Encode histories as the network's transformed last states.

    Args:
        network: In evaluation mode.
        histories: Numbers of the network's items for each query, oldest first; -1 is padding.
        transform: Maps states ``[b, d]`` to outputs ``[b, output_dim]``.
        output_dim: Size of an output.

    Returns:
        ``[q, output_dim]`` float32; all 0 for an empty history.

    Raises:
        ValueError: If an item number is out of range.
    """
    histories = read_histories(histories)
    rows, padded = padded_histories(
        histories, n_items=network.n_items, max_length=network.max_length
    )
    encoded = np.zeros((len(histories), output_dim), dtype=np.float32)
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = slice(start, start + _BATCH_SIZE)
        states = network(padded[batch].to(network.device))[:, -1]
        encoded[rows[batch].numpy()] = transform(states).cpu().numpy()
    return encoded


@torch.inference_mode()
def encode_positions(
    network: SequenceNetwork,
    sequences: Sequence[IntArray],
    *,
    transform: Callable[[Tensor], Tensor],
) -> FloatArray:
    """Encode every position of sequences but the last as the state before the next item.

    Args:
        network: In evaluation mode; it predicts at all positions.
        sequences: Numbers of the network's items, oldest first, at least two in each and one more
            than the network reads at most.
        transform: Maps states ``[m, d]`` to outputs ``[m, o]``.

    Returns:
        ``[m, o]`` float32, sequence after sequence.
    """
    _, padded = padded_histories(
        [sequence[:-1] for sequence in sequences],
        n_items=network.n_items,
        max_length=network.max_length,
    )
    items = padded.to(network.device)
    return np.asarray(transform(network(items)[items != network.n_items]).cpu().numpy())


def padded_histories(
    histories: Sequence[IntArray], *, n_items: int, max_length: int
) -> tuple[Tensor, Tensor]:
    """The newest items of every history that is not empty.

    Args:
        histories: Item numbers, oldest first; -1 is padding.
        n_items: Items of the catalog, and the number of padding in the result.
        max_length: Maximum items of a history, the newest ones.

    Returns:
        Numbers of the histories that are not empty, ``[r]``, and their items, ``[r, widest]``,
        padded on the left.

    Raises:
        ValueError: If an item number is out of range.
    """
    starts, items, ages = history_rows(histories, n_items=n_items)
    lengths = np.diff(starts)
    numbers = np.flatnonzero(lengths)
    width = min(int(lengths.max(initial=0)), max_length)
    kept = ages < width
    rows = np.repeat(np.arange(len(numbers)), lengths[numbers])[kept]
    padded = np.full((len(numbers), width), n_items)
    padded[rows, width - 1 - ages[kept]] = items[kept]
    return torch.from_numpy(numbers), torch.from_numpy(padded)
