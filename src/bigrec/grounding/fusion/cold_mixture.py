"""A mixture that ranks titles without training interactions beside those with some.

A fused score cannot compare the two kinds: counts and trained parts know nothing of a cold title,
so it is ranked by what is missing. A mixture ranks each kind by the score that is good at it, and
one number, the share of cold titles among the next items, sets the rate at which they meet.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from bigrec.grounding.fusion.formulas import z_score
from bigrec.types import BoolArray, FloatArray


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
        result[:, ~cold] = log_sum(known) - np.log1p(-self.share) - known
        of_cold = self.cold_sharpness * weights[:, cold].astype(np.float64)
        result[:, cold] = log_sum(of_cold) - np.log(self.share) - of_cold
        return result

    def describe(self) -> str:
        """The mixture as tables show it."""
        return f"cold titles {self.share:.0%}"


def log_sum(logits: FloatArray) -> FloatArray:
    """Logarithms of each row's sum of exponentials, ``[q, 1]``.

    Args:
        logits: ``[q, m]``.
    """
    summed: FloatArray = logsumexp(logits, axis=1, keepdims=True)
    return summed
