"""Validation NDCG@10 of a network on a full ranking."""

from collections.abc import Callable

import torch
from torch import Tensor

from bigrec.models.neural.networks import SequenceNetwork

# Queries that are scored together: attention and scores of many fill more memory than training.
_MAX_CELLS, _MAX_ROWS = 1 << 24, 256
_K = 10


def exclude_seen(scores: Tensor, seen: Tensor, *, padding: int) -> Tensor:
    """Set the scores of seen items to minus infinity, in place.

    Args:
        scores: ``[m, n]``, higher is better; written to.
        seen: ``[m, h]`` item numbers, at least one in each row that is not padding.
        padding: Number that stands for no item.

    Returns:
        ``scores``.
    """
    # Padding is replaced by a seen item of its row, which is excluded anyway.
    replacement = seen.masked_fill(seen == padding, -1).amax(dim=1, keepdim=True)
    return scores.scatter_(1, torch.where(seen == padding, replacement, seen), -torch.inf)


def ndcg_at_10(
    network: SequenceNetwork,
    histories: Tensor,
    targets: Tensor,
    *,
    seen_excluded: bool,
    score: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Mean NDCG@10 of a full ranking with one target for each query, in [0, 1].

    Items tied with the target rank before it. A target that is excluded as seen is a miss.

    Args:
        network: In evaluation mode.
        histories: ``[q, h]`` item numbers, padded on the left.
        targets: ``[q]`` item numbers.
        seen_excluded: Whether the items of the histories are excluded from the ranking.
        score: Replaces the network's scores: maps ``[m, h]`` histories to ``[m, n]``, which is
            written to.
    """
    ndcg_per_query = []
    rows = min(_MAX_ROWS, max(1, _MAX_CELLS // network.n_items))
    batches = zip(torch.split(histories, rows), torch.split(targets, rows), strict=True)
    with torch.inference_mode():
        for history, target in batches:
            scores = score(history) if score else network.scores(network(history)[:, -1])
            if seen_excluded:
                scores = exclude_seen(scores, history, padding=network.n_items)
            target_scores = scores.gather(1, target[:, None])
            ranks = (scores >= target_scores).sum(dim=1) - 1
            # A target that was seen is not ranked: in a small catalog its place could be a hit.
            is_hit = (ranks < _K) & ~target_scores[:, 0].isneginf()
            ndcg_per_query.append(torch.where(is_hit, 1 / (ranks + 2.0).log2(), 0.0))
    # Apple's GPU has no float64.
    return float(torch.cat(ndcg_per_query).cpu().double().mean())
