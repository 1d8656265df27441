"""Terms of a fused score: what the distance and each signal add to it."""

from collections.abc import Sequence

import numpy as np

from bigrec.grounding.fusion.formulas import RRF_K, normalized_distances, ranks, z_score
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.types import BoolArray, FloatArray


def score_terms(
    rule: FusionRule,
    distances: FloatArray,
    weights: Sequence[FloatArray],
    *,
    cold: BoolArray | None = None,
) -> FloatArray:
    """What the distances and each signal add to the scores by a rule, ``[1 + s, q, t]``.

    The sum of the terms of a title is its score: less the fused distance of `FusionRule.apply`.
    For the product it is the score's order alone, less the logarithm of the fused distance; the
    nearest title's is infinite without a floor, which is why no signal changes rank 1. A mixture
    ranks cold titles by one signal alone: its term is ``cold_sharpness`` times the weight above the
    lowest of all titles, and the others are the lowest.

    Args:
        rule: Fuses ``s`` signals.
        distances: ``[q, t]``, lower is better.
        weights: One array for each signal, ``[q, t]`` or ``[1, t]``, in [0, 1].
        cold: As in `FusionRule.apply`.
    """
    near = normalized_distances(distances)
    gammas = rule.gammas_of(len(weights))
    signals = [np.broadcast_to(of_signal, near.shape) for of_signal in weights]
    first: FloatArray
    others: list[FloatArray]
    if rule.method == "product":
        with np.errstate(divide="ignore"):
            first = -np.log(rule.floor + near)
        others = [
            gamma * np.log1p(of_signal, dtype=np.float64)
            for gamma, of_signal in zip(gammas, signals, strict=True)
        ]
    elif rule.method == "weighted_sum":
        by_deviation = rule.normalization == "z_score"
        first = -(z_score(near) if by_deviation else near)
        others = [
            gamma * (z_score(of_signal) if by_deviation else of_signal)
            for gamma, of_signal in zip(gammas, signals, strict=True)
        ]
    else:
        first = 1 / (RRF_K + ranks(near))
        others = [
            gamma / (RRF_K + ranks(-of_signal))
            for gamma, of_signal in zip(gammas, signals, strict=True)
        ]
    terms = np.stack([first, *others])
    if rule.cold is not None and cold is not None and not cold.all():
        terms[..., cold] = terms.min(axis=-1, keepdims=True)
        weight = signals[rule.cold.signal][:, cold]
        terms[1 + rule.cold.signal][:, cold] += rule.cold.cold_sharpness * weight
    return terms


def shares(terms: FloatArray, title: int) -> tuple[FloatArray, FloatArray]:
    """What a title's terms are above the lowest of all titles, and their shares of the sum.

    A title that is the worst by every term has nothing above; then all shares are 0. A term that
    is infinite has the whole sum.

    Args:
        terms: Of one query, ``[1 + s, t]``.
        title: Title id.

    Returns:
        The differences, at least 0, and the shares, which add up to 1; each ``[1 + s]``.
    """
    above = terms[:, title] - terms.min(axis=1)
    infinite = np.isinf(above)
    parts = infinite.astype(np.float64) if infinite.any() else above
    total = parts.sum()
    return above, parts / total if total > 0 else np.zeros_like(parts)
