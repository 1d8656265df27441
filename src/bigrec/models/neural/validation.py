"""How well a network ranks the targets of held-out histories."""

from collections.abc import Callable

import torch
from torch import Tensor

from bigrec.models.neural.networks import SequenceNetwork

_CELLS = 1 << 24
_K = 10


def without_seen(scores: Tensor, seen: Tensor, *, padding: int) -> Tensor:
    """Scores with those of seen items at minus infinity.

    Args:
        scores: ``[m, n]``.
        seen: ``[m, h]`` item numbers, at least one of each row real.
        padding: Number that stands for no item.
    """
    # Padding stands for some item of its row, which is left out anyway.
    real = seen.masked_fill(seen == padding, -1).amax(dim=1, keepdim=True)
    return scores.scatter(1, torch.where(seen == padding, real, seen), -torch.inf)


def ndcg_at_10(
    network: SequenceNetwork,
    histories: Tensor,
    targets: Tensor,
    *,
    scores_of: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Mean NDCG@10 of a full ranking with one target each, in [0, 1]; ties count against it.

    Ranked without what was seen, where the network leaves that out.

    Args:
        network: In evaluation mode.
        histories: ``[q, h]`` item numbers, padded on the left.
        targets: ``[q]`` item numbers.
        scores_of: What ranks instead of the network, from ``[m, h]`` histories to ``[m, n]``.
    """
    gains = []
    rows = max(1, _CELLS // network.n_items)
    with torch.inference_mode():
        for some, wanted in zip(
            torch.split(histories, rows), torch.split(targets, rows), strict=True
        ):
            scores = scores_of(some) if scores_of else network.scores(network(some)[:, -1])
            if network.leaves_seen_out:
                scores = without_seen(scores, some, padding=network.n_items)
            of_target = scores.gather(1, wanted[:, None])
            ranks = (scores >= of_target).sum(dim=1) - 1
            gains.append(torch.where(ranks < _K, 1 / (ranks + 2.0).log2(), 0.0))
    return float(torch.cat(gains).double().mean())
