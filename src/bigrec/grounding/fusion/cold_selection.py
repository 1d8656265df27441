"""The mixture of known and cold titles that does best on validation queries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import numpy as np

from bigrec.grounding.fusion.cold_mixture import ColdMixture, log_sum
from bigrec.grounding.fusion.formulas import z_score
from bigrec.grounding.fusion.gamma_path import Metric
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.tuning import FusionInput, Tolerates
from bigrec.grounding.search.topk import flat_pairs
from bigrec.types import UNRANKED, BoolArray, FloatArray, IntArray

_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_KNOWN_SHARPNESS = (0.25, 0.5, 1.0, 2.0)
_COLD_SHARPNESS = (3.0, 6.0, 12.0, 24.0)


def mix_cold_titles(
    rule: FusionRule, queries: FusionInput, *, metric: Metric, tolerates: Tolerates
) -> FusionRule:
    """The rule with the mixture for cold titles that does best on validation queries.

    Args:
        rule: Fuses the signals.
        queries: Validation queries.
        metric: From ranks to a figure, higher is better.
        tolerates: Whether the rule as it is is good enough beside the mixture.

    Returns:
        The rule as it is where it is good enough or the queries have nothing to mix.
    """
    cold = queries.cold
    if cold is None:
        return rule
    fused = rule.apply(queries.distances[rule.beams], queries.weights)
    mixture = select_mixture(queries, fused, cold=cold, signals=queries.cold_signals, metric=metric)
    if mixture is None:
        return rule
    plain = queries.ranks(fused)
    mixed = queries.ranks(mixture.apply(fused, queries.weights[mixture.signal], cold))
    is_better = metric(mixed) > metric(plain) and not tolerates(mixed, plain)
    return replace(rule, cold=mixture) if is_better else rule


def select_mixture(
    queries: FusionInput,
    fused: FloatArray,
    *,
    cold: BoolArray,
    signals: Sequence[int],
    metric: Metric,
) -> ColdMixture | None:
    """Select the mixture that does best on validation queries.

    Args:
        queries: Validation queries, ``q`` of them.
        fused: Their fused distances, ``[q, t]``, lower is better.
        cold: Whether a title has no training interactions, ``[t]``.
        signals: Positions of the signals that know cold titles.
        metric: From ranks to a figure, higher is better.

    Returns:
        None if no target is cold, so that the queries cannot tell the share, or all titles are.
    """
    if cold.all() or not cold[queries.targets].any():
        return None
    known = _Part.make(
        z_score(-fused[:, ~cold].astype(np.float64)), queries, ~cold, sharpness=_KNOWN_SHARPNESS
    )
    best: tuple[float, ColdMixture] | None = None
    for signal in signals:
        weights = np.broadcast_to(queries.weights[signal], fused.shape)[:, cold]
        of_cold = _Part.make(weights.astype(np.float64), queries, cold, sharpness=_COLD_SHARPNESS)
        for sharpness in product(_KNOWN_SHARPNESS, _COLD_SHARPNESS):
            for share, ranks in zip(_SHARES, _mixed_ranks(known, of_cold, *sharpness), strict=True):
                reached = metric(ranks)
                if best is None or reached > best[0]:
                    best = reached, ColdMixture(signal, share, *sharpness)
    return None if best is None else best[1]


@dataclass(frozen=True, eq=False)
class _Part:
    """The titles of one kind: what queries score them, sorted, and where the targets are.

    Attributes:
        log_sums: Log-sums of the exponentials of the scores times each sharpness, ``[q]``, before
            titles are excluded.
        ascending: The scores sorted, ``[q, m]``, higher is better; excluded titles are negative
            infinity.
        has_target: Whether the target is of this kind, ``[q]``.
        target: The target's score, ``[q]``; 0 where it is of the other kind.
        ahead: Titles of this kind that are ahead of the target, ``[q]``.
        is_excluded: Whether the target is excluded, ``[q]``.
    """

    log_sums: Mapping[float, FloatArray]
    ascending: FloatArray
    has_target: BoolArray
    target: FloatArray
    ahead: IntArray
    is_excluded: BoolArray

    @classmethod
    def make(
        cls,
        scores: FloatArray,
        queries: FusionInput,
        titles: BoolArray,
        *,
        sharpness: Sequence[float],
    ) -> Self:
        """Sort the scores of the titles of one kind, ``titles`` of all ``t``."""
        place = np.cumsum(titles) - 1
        log_sums = {factor: log_sum(factor * scores)[:, 0] for factor in sharpness}
        ranked = scores.copy()
        excluded = np.zeros((len(scores), len(titles)), dtype=np.bool_)
        if queries.exclude is not None:
            excluded[flat_pairs(queries.exclude)] = True
            ranked[excluded[:, titles]] = -np.inf
        every = np.arange(len(scores))
        has_target = titles[queries.targets]
        target = np.where(has_target, scores[every, place[queries.targets]], 0.0)
        ranked.sort(axis=1)
        ahead = _at_least(ranked, target[:, None])[:, 0] - 1
        return cls(
            log_sums,
            ranked,
            has_target,
            target,
            ahead,
            excluded[every, queries.targets] & has_target,
        )


def _mixed_ranks(
    known: _Part, cold: _Part, known_sharpness: float, cold_sharpness: float
) -> Iterator[IntArray]:
    """0-based target ranks by the mixture, ``[q]``, for each of the shares."""
    odds = np.log1p(-np.array(_SHARES)) - np.log(_SHARES)
    # By how much a cold title has to score higher than a known one to be as probable, [q, shares].
    ratio = cold.log_sums[cold_sharpness] - known.log_sums[known_sharpness]
    lead = ratio[:, None] + odds
    of_target = known_sharpness * known.target + cold_sharpness * cold.target
    ranks = np.empty(lead.shape, dtype=np.int64)
    rows = known.has_target
    passing = (of_target[rows, None] + lead[rows]) / cold_sharpness
    ranks[rows] = known.ahead[rows, None] + _at_least(cold.ascending[rows], passing)
    rows = cold.has_target
    passing = (of_target[rows, None] - lead[rows]) / known_sharpness
    ranks[rows] = cold.ahead[rows, None] + _at_least(known.ascending[rows], passing)
    ranks[known.is_excluded | cold.is_excluded] = UNRANKED
    yield from ranks.T


def _at_least(ascending: FloatArray, bounds: FloatArray) -> IntArray:
    """How many of the values of a row ``[q, m]`` are at least its bounds ``[q, s]``, ``[q, s]``."""
    below = [np.searchsorted(row, bound) for row, bound in zip(ascending, bounds, strict=True)]
    counts: IntArray = np.array(below, dtype=np.int64).reshape(bounds.shape)
    return np.asarray(ascending.shape[1] - counts)
