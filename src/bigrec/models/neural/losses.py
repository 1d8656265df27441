"""Losses of networks: softmax over all or sampled items, and the DROS loss."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bigrec.models.neural.networks import SequenceNetwork
from bigrec.models.neural.validation import exclude_seen


@dataclass(frozen=True, eq=False)
class Candidates:
    """Scores of the items that a target is compared with.

    Attributes:
        scores: ``[m, c]``, higher is better.
        target_columns: ``[m]`` column of each target.
        log_counts: ``[c]`` or ``[m, c]``, logarithm of the number of items of the catalog that a
            column stands for; minus infinity excludes a column.
        log_popularity: ``[c]`` or ``[m, c]``, logarithm of the share of training interactions of
            a column's item.
    """

    scores: Tensor
    target_columns: Tensor
    log_counts: Tensor
    log_popularity: Tensor


def all_candidates(
    network: SequenceNetwork,
    hidden: Tensor,
    targets: Tensor,
    *,
    log_popularity: Tensor,
    seen: Tensor | None = None,
) -> Candidates:
    """Candidates for a full softmax: every item of the catalog.

    Args:
        network: Scores items.
        hidden: ``[m, d]``.
        targets: ``[m]`` item numbers.
        log_popularity: ``[n]`` logarithm of every item's popularity.
        seen: ``[m, h]`` item numbers to exclude, except for the target.
    """
    scores = network.scores(hidden)
    log_counts = torch.zeros_like(log_popularity)
    if seen is not None:
        # Not in the scores: the DROS loss squares them, and infinity squared would be the worst.
        log_counts = torch.zeros_like(scores.detach())
        exclude_seen(log_counts, seen, padding=network.n_items)
        log_counts.scatter_(1, targets[:, None], 0.0)
    return Candidates(scores, targets, log_counts, log_popularity)


def sampled_candidates(
    network: SequenceNetwork,
    hidden: Tensor,
    targets: Tensor,
    *,
    negatives: Tensor,
    log_popularity: Tensor,
    seen: Tensor | None = None,
) -> Candidates:
    """Candidates for a sampled softmax: the target, and negatives drawn uniformly.

    A negative that is the target is excluded. Each other one stands for ``n / k`` items, so that
    the sum over columns is an unbiased estimate of the sum over the catalog.

    Args:
        network: Scores items.
        hidden: ``[m, d]``.
        targets: ``[m]`` item numbers.
        negatives: ``[k]`` item numbers, drawn from all with replacement, shared by all targets.
        log_popularity: ``[n]`` logarithm of every item's popularity.
        seen: ``[m, h]`` item numbers to exclude, except for the target.
    """
    target_scores = network.score_each(hidden, targets)
    scores = torch.cat([target_scores[:, None], network.scores_of(hidden, negatives)], dim=1)
    log_count = torch.tensor(network.n_items / len(negatives), device=hidden.device).log()
    excluded = negatives == targets[:, None]
    if seen is not None:
        excluded = excluded | _membership(negatives, seen)
    log_counts = log_count.masked_fill(excluded, -torch.inf)
    of_negatives = log_popularity[negatives].expand_as(log_counts)
    return Candidates(
        scores,
        torch.zeros_like(targets),
        functional.pad(log_counts, (1, 0)),
        torch.cat([log_popularity[targets, None], of_negatives], dim=1),
    )


def _membership(items: Tensor, lists: Tensor) -> Tensor:
    """Whether each of the items ``[k]`` is in each list ``[m, h]``, as ``[m, k]``."""
    distinct, position = torch.unique(items, return_inverse=True)
    nearest = torch.searchsorted(distinct, lists).clamp(max=len(distinct) - 1)
    membership = torch.zeros(len(lists), len(distinct) + 1, dtype=torch.bool, device=items.device)
    # Entries that are not among the items set the additional last column.
    column = torch.where(distinct[nearest] == lists, nearest, len(distinct))
    return membership.scatter(1, column, value=True)[:, position]


def softmax_loss(candidates: Candidates) -> Tensor:
    """Cross-entropy of the targets, summed over them.

    Source: Jean et al. 2015 (arXiv 1412.2007) for the correction of sampled items.
    """
    scores = candidates.scores + candidates.log_counts
    return functional.cross_entropy(scores, candidates.target_columns, reduction="sum")


def robust_loss(candidates: Candidates, *, temperature: float) -> Tensor:
    """DROS: the error under the worst shift of the items' popularity, summed over targets.

    With ``l_i`` the squared error of item i's score, ``(s_i - 1)^2`` for the target and ``s_i^2``
    for any other item, and ``p`` the nominal distribution, the items' popularity in training::

        beta_0 log sum over i of p_i exp(l_i / beta_0)

    This is the dual of the largest expected error over all distributions within a
    Kullback-Leibler ball around ``p``. The authors' program has ``p_i^0.05 l_i`` in the exponent
    and no ``p_i`` before it; this is the dual itself.

    Args:
        candidates: Scores and popularity.
        temperature: ``beta_0``, above 0; a smaller one allows for larger shifts.

    Source: Yang et al. 2023, "A Generic Learning Framework for Sequential Recommendation with
    Distribution Shifts" (SIGIR 2023, doi 10.1145/3539618.3591624).
    """
    labels = torch.zeros_like(candidates.scores)
    labels = labels.scatter(1, candidates.target_columns[:, None], 1.0)
    errors = (candidates.scores - labels).square()
    log_weights = candidates.log_counts + candidates.log_popularity
    return temperature * (log_weights + errors / temperature).logsumexp(dim=1).sum()
