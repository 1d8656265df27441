"""Padding of token rows to batches."""

from collections.abc import Iterator, Sequence

import torch

# Padding tokens in a batch, at most. Another batch costs about as much as a few dozen tokens.
_MAX_PADDING = 64


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


def right_padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, ``[b, width]`` each, every row starting at the first position.

    Causal attention does not read the padding, and positions start at 0.

    Args:
        rows: Token ids of each row, at least one.
    """
    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return ids, mask


def by_token_budget(rows: Sequence[Sequence[int]], budget: int) -> Iterator[list[int]]:
    """Positions in batches of similar length, whose padded size is within the budget."""
    batch: list[int] = []
    padding = 0
    for i in sorted(range(len(rows)), key=lambda i: -len(rows[i])):
        # Longest first, so the first row of a batch sets its width.
        width = len(rows[batch[0]]) if batch else len(rows[i])
        padding += width - len(rows[i])
        if batch and ((len(batch) + 1) * width > budget or padding > _MAX_PADDING):
            yield batch
            batch, padding = [], 0
        batch.append(i)
    if batch:
        yield batch
