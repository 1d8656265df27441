"""Encoded queries with one or several beams, and one distance per title from all beams."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, Self, get_args

import numpy as np

from bigrec.grounding.index import ItemIndex
from bigrec.types import FloatArray, GeneratedText, IntArray

BeamMode = Literal["top1", "all"]
"""``top1`` grounds the most probable beam only, as in the paper; ``all`` grounds every beam."""

# Share of the largest distance that is added to every distance before division by the beam's
# probability. Without it all exact titles would tie at 0, probable or not.
_EPSILON = 1e-6
# exp(100) is far beyond any quotient of two raised distances (at most 1e6 times the number of
# beams), so a beam this improbable never wins, and the limit only keeps the quotient finite.
_MAX_LOG_DIVISOR = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class EncodedQueries:
    """Vectors of ``q`` queries, computed once for any number of rankings.

    In generative mode a query has one vector for each beam: the embedding of the generated text.
    In retrieval mode it has a single vector and no text. By likelihood it has distances, and no
    vector that they are of.

    Attributes:
        vectors: Different vectors of all queries, ``[u, d]``.
        vector_rows: Row of ``vectors`` for every beam, query after query, ``[m]``.
        log_probs: Log-probability of every beam, ``[m]``.
        offsets: Query ``i`` has the beams ``offsets[i]:offsets[i + 1]``, ``[q + 1]``.
        texts: Generated texts of every query, most probable first; empty in retrieval mode.
        distances: Distances to all titles, ``[q, t]``; None if they are those of the vectors.
    """

    vectors: FloatArray = field(repr=False)
    vector_rows: IntArray = field(repr=False)
    log_probs: FloatArray = field(repr=False)
    offsets: IntArray = field(repr=False)
    texts: Sequence[Sequence[GeneratedText]] = field(repr=False)
    distances: FloatArray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_vectors(cls, vectors: FloatArray) -> Self:
        """Queries of one vector each, ``[q, d]``, without texts."""
        q = len(vectors)
        return cls(vectors, np.arange(q), np.zeros(q), np.arange(q + 1), [[] for _ in range(q)])

    @classmethod
    def from_distances(cls, distances: FloatArray) -> Self:
        """Queries with distances to all titles, ``[q, t]``, without vectors and texts."""
        none = np.empty((len(distances), 0), dtype=np.float32)
        return replace(cls.from_vectors(none), distances=distances)

    def has_single_vectors(self, mode: BeamMode) -> bool:
        """Whether a beam mode uses one vector of each query.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_beam_mode(mode)
        if self.distances is not None:
            return False
        return mode == "top1" or bool((np.diff(self.offsets) == 1).all())

    def first(self, count: int) -> Self:
        """The first ``count`` queries."""
        n_beams = int(self.offsets[count])
        return type(self)(
            vectors=self.vectors,
            vector_rows=self.vector_rows[:n_beams],
            log_probs=self.log_probs[:n_beams],
            offsets=self.offsets[: count + 1],
            texts=self.texts[:count],
            distances=None if self.distances is None else self.distances[:count],
        )


@dataclass(frozen=True, slots=True, eq=False)
class BeamDistances:
    """Distances of a batch of ``c`` queries, for either beam mode.

    Attributes:
        rows: Rows of the batch among all queries.
    """

    rows: slice
    _distances: FloatArray = field(repr=False)  # [different vectors of the batch, t]
    _vector_rows: IntArray = field(repr=False)  # row of _distances for every beam of the batch
    _log_probs: FloatArray = field(repr=False)  # of every beam of the batch
    _offsets: IntArray = field(repr=False)  # as in EncodedQueries, [c + 1]

    @classmethod
    def compute(
        cls,
        index: ItemIndex,
        queries: EncodedQueries,
        rows: slice,
        *,
        beams: BeamMode,
        max_bytes: int,
    ) -> Self:
        """Compute the distances of a batch to all titles of an index.

        Args:
            index: Embeddings of the titles.
            queries: All queries.
            rows: Rows of the batch.
            beams: With ``top1`` only the top beam's distances are computed.
            max_bytes: Working memory beside the result.
        """
        if queries.distances is not None:
            distances = queries.distances[rows]
            every = np.arange(len(distances))
            return cls(rows, distances, every, np.zeros(len(every)), np.arange(len(every) + 1))
        offsets = queries.offsets[rows.start : rows.stop + 1]
        batch_beams = np.arange(offsets[0], offsets[-1])
        if beams == "top1":
            batch_beams, offsets = offsets[:-1], np.arange(len(offsets))
        used, vector_rows = np.unique(queries.vector_rows[batch_beams], return_inverse=True)
        distances = np.empty((len(used), len(index.titles)), dtype=np.float32)
        vectors = queries.vectors[used]
        for block, block_distances in index.iter_distances(vectors, max_bytes=max_bytes):
            distances[block] = block_distances
        return cls(
            rows=rows,
            _distances=distances,
            _vector_rows=vector_rows,
            _log_probs=queries.log_probs[batch_beams],
            _offsets=offsets - offsets[0],
        )

    def combine(self, mode: BeamMode) -> tuple[FloatArray, IntArray]:
        """One distance per query and title; see ``combine_beams``.

        Returns:
            Distances ``[c, t]`` float64, lower is better, and the beam of each, ``[c, t]``.

        Raises:
            ValueError: If the mode is unknown or a log-probability is not finite.
        """
        check_beam_mode(mode)
        shape = (len(self._offsets) - 1, self._distances.shape[1])
        if mode == "top1":
            distances = self._distances[self._vector_rows[self._offsets[:-1]]].astype(np.float64)
            return distances, np.broadcast_to(np.int64(0), shape)
        combined, beams = np.empty(shape), np.empty(shape, dtype=np.int16)
        for query, (start, stop) in enumerate(pairwise(self._offsets)):
            combined[query], beams[query] = combine_beams(
                self._distances[self._vector_rows[start:stop]],
                self._log_probs[start:stop],
                mode=mode,
            )
        return combined, beams

    def of_titles(self, title_ids: IntArray, beams: IntArray) -> FloatArray:
        """L2 distances ``[c, k]`` between titles ``[c, k]`` and beams ``[c, k]`` of each query."""
        rows = self._vector_rows[self._offsets[:-1, None] + beams]
        return np.asarray(self._distances[rows, title_ids])


def combine_beams(
    distances: FloatArray, log_probs: FloatArray, *, mode: BeamMode
) -> tuple[FloatArray, IntArray]:
    """Combine the distances of one query's beams into one distance per title.

    ``top1`` takes the top beam, as in the paper. ``all`` takes, with ``p`` the softmax of
    ``log_probs`` and ``Dmax`` the largest distance, ``min over beams of (1e-6 * Dmax + D) / p``.
    Beams that are exact titles come first, the most probable first, then the neighbors of all
    beams. With a single beam the modes are the same.

    Args:
        distances: ``[beams, t]``, lower is better, most probable beam first.
        log_probs: Log-probability of each beam, ``[beams]``.
        mode: Beams that are used.

    Returns:
        The combined distances ``[t]`` float64, lower is better, and the beam that each title's
        distance comes from, ``[t]``.

    Raises:
        ValueError: If there is no beam, the lengths differ, a log-probability is not finite or
            the mode is unknown.
    """
    check_beam_mode(mode)
    if len(distances) == 0 or len(distances) != len(log_probs):
        raise ValueError(
            f"Got {len(distances)} beams of distances and {len(log_probs)} log-probabilities; "
            "expected the same number, at least one."
        )
    check_log_probs(log_probs)
    if mode == "top1" or len(distances) == 1:
        return distances[0].astype(np.float64), np.zeros(distances.shape[1], dtype=np.int16)
    log_probs = log_probs - np.max(log_probs)
    log_divisors = np.log(np.exp(log_probs).sum()) - log_probs
    factors = np.exp(np.minimum(log_divisors, _MAX_LOG_DIVISOR))
    offset = _EPSILON * np.float64(distances.max())
    combined = (distances[0] + offset) * factors[0]
    beams = np.zeros(len(combined), dtype=np.int16)
    # One beam after another: numpy is slow at a minimum along the first axis. A later beam has a
    # larger number, and the maximum is faster than assignment by a mask.
    for beam in range(1, len(distances)):
        weighted = distances[beam] + offset
        weighted *= factors[beam]
        np.maximum(beams, (weighted < combined) * np.int16(beam), out=beams)
        np.minimum(combined, weighted, out=combined)
    return combined, beams


def check_beam_mode(mode: str) -> None:
    """Refuse an unknown beam mode.

    Raises:
        ValueError: If the mode is unknown.
    """
    if mode not in get_args(BeamMode):
        raise ValueError(f"Unknown beam mode {mode!r}; expected 'top1' or 'all'.")


def check_log_probs(log_probs: FloatArray) -> None:
    """Refuse log-probabilities that are not finite.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    if not np.isfinite(log_probs).all():
        raise ValueError(f"log_probs is {log_probs}; expected finite numbers.")
