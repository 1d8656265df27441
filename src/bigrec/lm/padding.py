"""Padding of token rows to one batch."""

from collections.abc import Sequence

import torch


def left_padded(rows: Sequence[Sequence[int]], *, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, ``[b, width]`` each, every row ending at the last position.

    Args:
        rows: Token ids of each row, at least one.
        pad: Token before shorter rows. It is masked, so any token will do.
    """
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, width - len(tokens) :] = torch.tensor(tokens)
        mask[row, width - len(tokens) :] = 1
    return ids, mask
