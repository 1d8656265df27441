"""What the networks are trained on: softmax over all or sampled items, and DROS on top of it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bigrec.models.neural.networks import SequenceNetwork
from bigrec.models.neural.validation import without_seen


@dataclass(frozen=True, eq=False)
class Candidates:
    """Scores of the items that a target is compared with.

    Attributes:
        scores: ``[m, c]``, higher is better.
        places: ``[m]`` the target's column.
        log_counts: ``[c]`` or ``[m, c]``, logarithm of how many items of the catalog a column
            stands for; minus infinity leaves a column out.
        log_shares: ``[c]`` or ``[m, c]``, logarithm of the popularity of a column's item.
    """

    scores: Tensor
    places: Tensor
    log_counts: Tensor
    log_shares: Tensor


def all_candidates(
    network: SequenceNetwork,
    hidden: Tensor,
    targets: Tensor,
    *,
    log_shares: Tensor,
    seen: Tensor | None = None,
) -> Candidates:
    """Every item of the catalog, standing for itself.

    Args:
        network: Scores items.
        hidden: ``[m, d]``.
        targets: ``[m]`` item numbers.
        log_shares: ``[n]`` logarithm of every item's popularity.
        seen: ``[m, h]`` item numbers that are no candidates, unless they are the target.
    """
    scores = network.scores(hidden)
    if seen is not None:
        own = scores.gather(1, targets[:, None])
        scores = without_seen(scores, seen, padding=network.n_items)
        scores = scores.scatter(1, targets[:, None], own)
    return Candidates(scores, targets, torch.zeros_like(log_shares), log_shares)


def sampled_candidates(
    network: SequenceNetwork,
    hidden: Tensor,
    targets: Tensor,
    *,
    negatives: Tensor,
    log_shares: Tensor,
    seen: Tensor | None = None,
) -> Candidates:
    """The target, and items drawn uniformly that stand for all others.

    A drawn item that is the target is left out; each other one stands for ``n / k`` items, so that
    the sum over columns is an unbiased estimate of the sum over the catalog.

    Args:
        network: Scores items.
        hidden: ``[m, d]``.
        targets: ``[m]`` item numbers.
        negatives: ``[k]`` item numbers, drawn from all with replacement, for all targets alike.
        log_shares: ``[n]`` logarithm of every item's popularity.
        seen: ``[m, h]`` item numbers that are no candidates, unless they are the target.
    """
    own = network.score_each(hidden, targets)
    scores = torch.cat([own[:, None], network.scores_of(hidden, negatives)], dim=1)
    log_count = torch.tensor(network.n_items / len(negatives), device=hidden.device).log()
    out = negatives == targets[:, None]
    if seen is not None:
        out = out | _among(negatives, seen)
    others = log_count.masked_fill(out, -torch.inf)
    return Candidates(
        scores,
        torch.zeros_like(targets),
        functional.pad(others, (1, 0)),
        torch.cat([log_shares[targets, None], log_shares[negatives].expand_as(others)], dim=1),
    )


def _among(items: Tensor, lists: Tensor) -> Tensor:
    """Which of the items ``[k]`` are in each list ``[m, h]``, ``[m, k]``."""
    different, place = torch.unique(items, return_inverse=True)
    near = torch.searchsorted(different, lists).clamp(max=len(different) - 1)
    found = torch.zeros(len(lists), len(different) + 1, dtype=torch.bool, device=items.device)
    # What is not among the items marks a column of its own.
    column = torch.where(different[near] == lists, near, len(different))
    return found.scatter(1, column, value=True)[:, place]


def softmax_loss(candidates: Candidates) -> Tensor:
    """Cross-entropy of the targets, summed over them.

    Source: Jean et al. 2015 (arXiv 1412.2007) for the correction of sampled items.
    """
    scores = candidates.scores + candidates.log_counts
    return functional.cross_entropy(scores, candidates.places, reduction="sum")


def robust_loss(candidates: Candidates, *, temperature: float) -> Tensor:
    """DROS: the error under the worst shift of the items' popularity, summed over targets.

    With ``l_i`` the squared error of item i's score, ``(s_i - 1)^2`` for the target and ``s_i^2``
    for any other item, and ``p`` the nominal distribution, the items' popularity in training::

        beta_0 log sum over i of p_i exp(l_i / beta_0)

    This is the dual of the largest expected error over all distributions within a
    Kullback-Leibler ball around ``p``. The authors' program writes ``p_i^0.05 l_i`` in the exponent
    and no ``p_i`` before it; ours is the dual itself.

    Args:
        candidates: Scores and popularity.
        temperature: ``beta_0``, above 0; smaller allows for larger shifts.

    Source: Yang et al. 2023, "A Generic Learning Framework for Sequential Recommendation with
    Distribution Shifts" (SIGIR 2023, doi 10.1145/3539618.3591624).
    """
    wanted = torch.zeros_like(candidates.scores)
    wanted = wanted.scatter(1, candidates.places[:, None], 1.0)
    errors = (candidates.scores - wanted).square()
    log_weights = candidates.log_counts + candidates.log_shares
    return temperature * (log_weights + errors / temperature).logsumexp(dim=1).sum()
