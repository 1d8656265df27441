"""The beams of a query, and how their distances become one distance per group."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, Self, get_args

import numpy as np

from bigrec.types import FloatArray, IntArray

BeamMode = Literal["first", "all"]

# Share of the largest distance that every distance is raised by before it is divided by the beam's
# probability. Without it all exact titles would tie at 0 whatever their probability.
_EPSILON = 1e-6
# exp(100) is far beyond any quotient of two raised distances (at most 1e6 times the number of
# beams), so a beam this improbable never wins, and the limit only keeps the quotient finite.
_MAX_LOG_DIVISOR = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Generated texts of ``q`` queries, embedded once for any number of rankings.

    Attributes:
        vectors: Raw embeddings of the different texts, ``[u, d]``.
        vector_of: Row of ``vectors`` of every beam, all queries after one another, ``[m]``.
        log_probs: Logarithm of every beam's probability, ``[m]``.
        offsets: Query ``i`` has the beams ``offsets[i]:offsets[i + 1]``, ``[q + 1]``.
    """

    vectors: FloatArray
    vector_of: IntArray
    log_probs: FloatArray
    offsets: IntArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of_points(cls, points: FloatArray) -> Self:
        """Queries with one point each, ``[q, d]``, that needed no text."""
        q = len(points)
        return cls(points, np.arange(q), np.zeros(q), np.arange(q + 1))

    def has_one_text(self, mode: BeamMode) -> bool:
        """Whether of every query the first text alone counts.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        return mode == "first" or bool((np.diff(self.offsets) == 1).all())

    def first(self, count: int) -> Self:
        """The first queries alone."""
        beams = int(self.offsets[count])
        return type(self)(
            vectors=self.vectors,
            vector_of=self.vector_of[:beams],
            log_probs=self.log_probs[:beams],
            offsets=self.offsets[: count + 1],
        )


@dataclass(frozen=True, slots=True, eq=False)
class BeamDistances:
    """Distances of some of the queries, from which either beam mode can be had.

    Attributes:
        rows: Which queries, ``c`` of them.
    """

    rows: slice
    _distances: FloatArray = field(repr=False)  # [different texts, g]
    _text_of: IntArray = field(repr=False)  # row of _distances of every beam, [beams of them all]
    _log_probs: FloatArray = field(repr=False)  # of every beam, as above
    _offsets: IntArray = field(repr=False)  # as in Queries, [c + 1]

    def combine(self, mode: BeamMode) -> tuple[FloatArray, IntArray]:
        """One distance per query and group; see ``combine_beams``.

        Returns:
            Distances ``[c, g]``, lower is better, and the beam each came from, ``[c, g]``.
        """
        check_mode(mode)
        shape = (len(self._offsets) - 1, self._distances.shape[1])
        if mode == "first":
            first = self._distances[self._text_of[self._offsets[:-1]]].astype(np.float64)
            return first, np.broadcast_to(np.int64(0), shape)
        combined, beams = np.empty(shape), np.empty(shape, dtype=np.int16)
        for query, (start, stop) in enumerate(pairwise(self._offsets)):
            combined[query], beams[query] = combine_beams(
                self._distances[self._text_of[start:stop]], self._log_probs[start:stop], mode=mode
            )
        return combined, beams

    def of_groups(self, groups: IntArray, beams: IntArray) -> FloatArray:
        """L2 distances ``[c, k]`` between groups ``[c, k]`` and beams ``[c, k]`` of each query."""
        return np.asarray(self._distances[self._text_of[self._offsets[:-1, None] + beams], groups])


def combine_beams(
    distances: FloatArray, log_probs: FloatArray, *, mode: BeamMode
) -> tuple[FloatArray, IntArray]:
    """Distances of one query's beams as one distance per group.

    ``first`` takes the first beam (published). ``all`` lets every beam speak, by its probability:
    with ``p`` the softmax of ``log_probs`` and ``Dmax`` the largest distance, a group gets
    ``min over beams of (1e-6 * Dmax + D) / p``. Beams that are exact titles come first, the most
    probable first, then the neighbours of all beams. With a single beam the modes are the same.

    Args:
        distances: ``[beams, g]``, lower is nearer, best beam first.
        log_probs: Logarithm of each beam's probability, ``[beams]``.
        mode: Which beams count.

    Returns:
        The combined distances ``[g]`` float64, lower is better, and for each group the beam that
        its distance came from, ``[g]``.

    Raises:
        ValueError: If there is no beam, the lengths differ, a log probability is not finite or
            the mode is unknown.
    """
    check_mode(mode)
    if len(distances) == 0 or len(distances) != len(log_probs):
        raise ValueError(
            f"Got {len(distances)} beams of distances and {len(log_probs)} log probabilities; "
            "expected the same number, at least one."
        )
    check_log_probs(log_probs)
    if mode == "first" or len(distances) == 1:
        return distances[0].astype(np.float64), np.zeros(distances.shape[1], dtype=np.int16)
    log_probs = log_probs - np.max(log_probs)
    log_divisors = np.log(np.exp(log_probs).sum()) - log_probs
    factors = np.exp(np.minimum(log_divisors, _MAX_LOG_DIVISOR))
    raised = _EPSILON * np.float64(distances.max())
    best = (distances[0] + raised) * factors[0]
    beams = np.zeros(len(best), dtype=np.int16)
    # One beam after another: the smallest along the first axis is slow to find for numpy. A later
    # beam has a larger number, and the largest is faster than assignment by a mask.
    for beam in range(1, len(distances)):
        weighted = distances[beam] + raised
        weighted *= factors[beam]
        np.maximum(beams, (weighted < best) * np.int16(beam), out=beams)
        np.minimum(best, weighted, out=best)
    return best, beams


def check_mode(mode: str) -> None:
    """Refuse a beam mode that does not exist.

    Raises:
        ValueError: If the mode is unknown.
    """
    if mode not in get_args(BeamMode):
        raise ValueError(f"Unknown beam mode {mode!r}; expected 'first' or 'all'.")


def check_log_probs(log_probs: FloatArray) -> None:
    """Refuse log probabilities that are not finite.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    if not np.isfinite(log_probs).all():
        raise ValueError(f"log_probs is {log_probs}; expected finite numbers.")
