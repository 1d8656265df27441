"""What speaks for each item in each query: distances to answers, and signals' scores.

Evidence comes in pieces of some queries at a time, so that memory does not grow with their number.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.grounding.beams import BeamDistances, BeamMode
from bigrec.grounding.cold_items import Likes
from bigrec.grounding.fusion.rule import Rule
from bigrec.grounding.fusion.tuning import Fusable
from bigrec.models.base import Scorer
from bigrec.models.llm import DirectGrounder
from bigrec.models.precomputed import External
from bigrec.models.scaling import minmax
from bigrec.models.title_groups import group_scores
from bigrec.recommender.factory import Queries
from bigrec.recommender.query_encoders import Answerer, Answers
from bigrec.types import FloatArray, IntArray


def filled(signal: Scorer, scores: FloatArray, likes: Likes | None) -> FloatArray:
    """A signal's scores with those of titles that it never met taken over from their likes.

    Args:
        signal: Scores from files and a model that reads titles know such titles themselves.
        scores: ``[q, g]``.
        likes: None to leave the scores as they are.
    """
    if likes is None or isinstance(signal, (External, DirectGrounder)):
        return scores
    return likes.fill(scores)


@dataclass(frozen=True, eq=False)
class Piece:
    """The evidence of some queries, ``c`` of them.

    Attributes:
        rows: Which queries.
        targets: Group number of each target, ``[c]``.
        seen: Groups of all that each user had before.
    """

    rows: slice
    targets: IntArray = field(repr=False)
    seen: list[IntArray] = field(repr=False)
    _chunk: BeamDistances = field(repr=False)
    _evidence: "Evidence" = field(repr=False)
    _distances: dict[BeamMode, FloatArray] = field(default_factory=dict, repr=False)
    _scores: dict[str, FloatArray] = field(default_factory=dict, repr=False)
    _weights: dict[tuple[str, bool], FloatArray] = field(default_factory=dict, repr=False)

    def distances(self, beams: BeamMode) -> FloatArray:
        """Distances to what the model answered, ``[c, g]``, lower is better."""
        if beams not in self._distances:
            self._distances[beams] = self._chunk.combine(beams)[0]
        return self._distances[beams]

    def scores(self, name: str) -> FloatArray:
        """A signal's scores, ``[c, g]``, higher is better."""
        if name not in self._scores:
            self._scores[name] = self._evidence.scores(name, self.rows)
        return self._scores[name]

    def weights(self, name: str, *, with_model: bool = True) -> FloatArray:
        """A signal's scores scaled to [0, 1] in each query, ``[c, g]``.

        Args:
            name: The signal.
            with_model: Whether titles that it never met get the scores of those that the language
                model finds most like them.
        """
        key = name, with_model
        if key not in self._weights:
            scores = self.scores(name)
            self._weights[key] = minmax(self._evidence.filled(name, scores, with_model=with_model))
        return self._weights[key]

    def fused(self, rule: Rule, names: Sequence[str]) -> FloatArray:
        """Distances with signals put in by a rule, ``[c, g]``, lower is better."""
        return rule.apply(self.distances(rule.beams), [self.weights(name) for name in names])

    def fused_without_model(self, rule: Rule, names: Sequence[str]) -> FloatArray:
        """Signals put into the first of them, as `Fusable.without_model` does, ``[c, g]``."""
        first, *others = (self.weights(name, with_model=False) for name in names)
        return rule.apply(1 - first, others)


class Evidence:
    """Distances and signals of queries whose targets are known.

    Args:
        answerer: The language model, and the ranker that computes the distances.
        answers: Its answers.
        catalog: What is ranked.
        queries: Histories and targets, ``q`` of them.
        signals: By the name that they are asked for with.
        likes: Gives titles that signals never met the scores of those most like them.
        full_history: Whether signals see all that came before a target, not the window alone.
    """

    def __init__(
        self,
        answerer: Answerer,
        answers: Answers,
        catalog: Catalog,
        *,
        queries: Queries,
        signals: Mapping[str, Scorer],
        likes: Likes | None = None,
        full_history: bool = False,
    ) -> None:
        self.signals = dict(signals)
        self.names = answerer.names
        self.targets = catalog.group[queries.targets]
        self.seen = [np.unique(catalog.group[items]) for items in queries.full_histories]
        self._ranker = answerer.ranker
        self._catalog = catalog
        self._likes = likes
        self._histories = queries.full_histories if full_history else queries.histories
        self._answers = answers.queries

    def __len__(self) -> int:
        return len(self.targets)

    def scores(self, name: str, rows: slice) -> FloatArray:
        """A signal's scores for some of the queries, ``[c, g]``, higher is better."""
        signal, histories = self.signals[name], self._histories[rows]
        if isinstance(signal, External):
            signal = signal.take(np.arange(rows.start, rows.stop))
        catalog = self._catalog
        return group_scores(signal.scores(histories), catalog.group, n_groups=catalog.n_groups)

    def filled(self, name: str, scores: FloatArray, *, with_model: bool) -> FloatArray:
        """A signal's scores as they are put into distances, ``[c, g]``; see `Piece.weights`."""
        return filled(self.signals[name], scores, self._likes if with_model else None)

    def pieces(self) -> Iterator[Piece]:
        """The evidence, piece by piece."""
        for chunk in self._ranker.iter_distances(self._answers, beams="all"):
            yield Piece(chunk.rows, self.targets[chunk.rows], self.seen[chunk.rows], chunk, self)

    def fusable(
        self, names: Sequence[str], *, exclude_seen: bool, with_model: bool = True
    ) -> Fusable:
        """Everything that a rule puts together, at once: for as many queries as fit in memory."""
        every = slice(0, len(self))
        return Fusable(
            distances=self._distances,
            weights=[
                minmax(self.filled(name, self.scores(name, every), with_model=with_model))
                for name in names
            ],
            targets=self.targets,
            exclude=self.seen if exclude_seen else None,
        )

    @cached_property
    def _distances(self) -> dict[BeamMode, FloatArray]:
        """Of all queries: every rule that is tried asks for the same."""
        pieces = list(self.pieces())
        return {
            mode: np.concatenate([piece.distances(mode) for piece in pieces]) for mode in self.names
        }
