"""A mixture that ranks titles without training interactions beside those with some.

A fused score cannot compare the two kinds: counts and trained parts know nothing of a cold title,
so it is ranked by what is missing. A mixture ranks each kind by the score that is good at it, and
one number, the share of cold titles among the next items, sets the rate at which they meet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol, Self

import numpy as np
from scipy.special import logsumexp

from bigrec.grounding.fusion.formulas import z_score
from bigrec.grounding.search.topk import flat_pairs
from bigrec.types import UNRANKED, BoolArray, FloatArray, IntArray

_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_KNOWN_SHARPNESS = (0.25, 0.5, 1.0, 2.0)
_COLD_SHARPNESS = (3.0, 6.0, 12.0, 24.0)


@dataclass(frozen=True, slots=True)
class ColdMixture:
    """Probability of the next title as a mixture of known and cold titles.

    With ``z`` the negated fused distances of a query, centered and scaled over its known titles,
    and ``w`` the weights of one signal that knows cold titles::

        P(known title i) = (1 - share) exp(known_sharpness z_i) / sum over known titles
        P(cold title j)  =      share  exp(cold_sharpness  w_j) / sum over cold titles

    The order among known titles is that of the fused distances, the order among cold titles that of
    the signal.

    Attributes:
        signal: Position of the signal among the fused ones.
        share: Share of cold titles among the next items, in (0, 1).
        known_sharpness: Factor of ``z``, more than 0.
        cold_sharpness: Factor of ``w``, more than 0.

    Raises:
        ValueError: If a value is out of range.
    """

    signal: int
    share: float
    known_sharpness: float
    cold_sharpness: float

    def __post_init__(self) -> None:
        if self.signal < 0 or not 0 < self.share < 1:
            raise ValueError(
                f"signal is {self.signal} and share is {self.share}; expected a position from 0 "
                "and a number between 0 and 1."
            )
        for name in ("known_sharpness", "cold_sharpness"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; expected a number more than 0.")

    def apply(self, fused: FloatArray, weights: FloatArray, cold: BoolArray) -> FloatArray:
        """Negated log-probabilities of the titles, ``[q, t]`` float64, lower is better.

        Args:
            fused: Fused distances, ``[q, t]``, lower is better.
            weights: Of the signal, ``[q, t]`` or ``[1, t]``, in [0, 1].
            cold: Whether a title has no training interactions, ``[t]``. Without a title of either
                kind the fused distances are returned.
        """
        if cold.all() or not cold.any():
            return fused
        result = np.empty(fused.shape)
        known = self.known_sharpness * z_score(-fused[:, ~cold].astype(np.float64))
        result[:, ~cold] = _log_sum(known) - np.log1p(-self.share) - known
        of_cold = self.cold_sharpness * weights[:, cold].astype(np.float64)
        result[:, cold] = _log_sum(of_cold) - np.log(self.share) - of_cold
        return result

    def describe(self) -> str:
        """The mixture as tables show it."""
        return f"cold titles {self.share:.0%}"


def _log_sum(logits: FloatArray) -> FloatArray:
    summed: FloatArray = logsumexp(logits, axis=1, keepdims=True)
    return summed


class ColdQueries(Protocol):
    """Validation queries with what a mixture ranks by; see `FusionInput`."""

    @property
    def weights(self) -> Sequence[FloatArray]:
        """One array for each signal, ``[q, t]``, in [0, 1]."""

    @property
    def targets(self) -> IntArray:
        """Title id of each query's target, ``[q]``."""

    @property
    def exclude(self) -> Sequence[IntArray] | None:
        """For each query the titles excluded from the ranking, or None."""


def select_mixture(
    queries: ColdQueries,
    fused: FloatArray,
    *,
    cold: BoolArray,
    signals: Sequence[int],
    metric: Callable[[IntArray], float],
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
        queries: ColdQueries,
        titles: BoolArray,
        *,
        sharpness: Sequence[float],
    ) -> Self:
        """Sort the scores of the titles of one kind, ``titles`` of all ``t``."""
        place = np.cumsum(titles) - 1
        log_sums = {factor: _log_sum(factor * scores)[:, 0] for factor in sharpness}
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
