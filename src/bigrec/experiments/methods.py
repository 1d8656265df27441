"""The methods of an evaluation, and the one function that ranks by them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult
from bigrec.grounding.beams import BeamMode
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.ranked_lists import best_titles
from bigrec.grounding.ranks import target_ranks
from bigrec.recommender.joint_query_encoder import JointQueryEncoder
from bigrec.recommender.latent_query_encoder import latent_method
from bigrec.recommender.likelihood_query_encoder import generative_encoder_class
from bigrec.recommender.query_encoders import retrieval_method
from bigrec.recommender.scoring import ScoreBatch, ScoredQueries
from bigrec.recommender.text_query_encoder import TextQueryEncoder
from bigrec.settings import Settings
from bigrec.types import FloatArray, IntArray, ProgressCallback

if TYPE_CHECKING:
    from bigrec.recommender.query_encoder import QueryEncoder

LIST_LENGTH = 20
"""Length of the lists that are kept of every method."""

_NOTHING = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Method:
    """One way of ranking the catalog.

    Attributes:
        id: What it is made of.
        rule: Fuses the signals; None for a model by itself.
        beams: The encoder's beam mode, for the language model by itself.
    """

    id: MethodId
    rule: FusionRule | None = None
    beams: BeamMode | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the signals whose scores it takes; not for the model by itself."""
        return (self.id.label,) if self.rule is None else self.id.signals

    def distances(self, batch: ScoreBatch) -> FloatArray:
        """What the method ranks by, ``[c, t]``, lower is better; not for the model by itself."""
        if self.rule is None:
            return -batch.scores(self.id.label)
        fuse = batch.fused if self.id.model else batch.fused_without_model
        return fuse(self.rule, self.id.signals)

    def describe_rule(self, *, beams: bool) -> str:
        """The rule as tables show it; empty without one.

        Args:
            beams: Name the beam mode, if the language model takes part.
        """
        return "" if self.rule is None else self.rule.describe(beams=beams and bool(self.id.model))


@dataclass(frozen=True, eq=False)
class RankedMethod:
    """Ranks and lists of a method under one protocol.

    Attributes:
        result: Target rank of every query.
        lists: Title ids of the best titles of every query, ``[q, 20]``, -1 where fewer are left.
    """

    result: MethodResult
    lists: IntArray = field(repr=False)


def recommender_ids(settings: Settings) -> list[MethodId]:
    """The mode's model by itself, once for each beam mode."""
    if settings.decodes_states and settings.writes_texts:
        return list(JointQueryEncoder.methods.values())
    if settings.decodes_states:
        return [latent_method(settings.head)]
    if settings.mode == "retrieval":
        return [retrieval_method(settings.head)]
    encoders: Mapping[str, type[QueryEncoder]] = {
        "text": TextQueryEncoder,
        "generative": generative_encoder_class(settings),
    }
    return list(encoders[settings.mode].methods.values())


def model_methods(methods: Mapping[BeamMode, MethodId]) -> list[Method]:
    """The language model by itself, once for each beam mode."""
    return [Method(method, beams=beams) for beams, method in methods.items()]


def evaluate_methods(
    methods: Mapping[bool, Sequence[Method]],
    queries: ScoredQueries,
    *,
    progress: ProgressCallback | None = None,
) -> list[RankedMethod]:
    """Rank every target and list the best titles by every method.

    The language model by itself is ranked by exact distances; signals and fusions by float64
    scores, batch by batch.

    Args:
        methods: By protocol: whether seen items are excluded. A fusion has its own rule in each.
        queries: Histories, targets and signals.
        progress: Called with (queries ranked, queries in total).

    Returns:
        For each protocol its methods in their order.
    """
    pairs = [(exclude_seen, method) for exclude_seen in methods for method in methods[exclude_seen]]
    exact = _exact_ranks({method.beams for _, method in pairs if method.beams}, queries)
    q = len(queries)
    ranked: list[RankedMethod] = []
    scored: list[tuple[bool, Method, RankedMethod]] = []
    k = min(LIST_LENGTH, queries.n_titles)
    for exclude_seen, method in pairs:
        if method.beams is not None:
            ranks, lists = exact[method.beams, exclude_seen]
        else:
            ranks, lists = np.empty(q, dtype=np.int64), np.empty((q, k), dtype=np.int64)
        ranked.append(RankedMethod(MethodResult(method.id, exclude_seen, ranks), lists))
        if method.beams is None:
            scored.append((exclude_seen, method, ranked[-1]))
    if not scored and progress is not None:
        progress(q, q)
    for batch in queries.batches() if scored else ():
        for exclude_seen, method, out in scored:
            distances = method.distances(batch)
            exclude = batch.seen if exclude_seen else [_NOTHING] * len(batch.seen)
            out.result.ranks[batch.rows] = target_ranks(distances, batch.targets, exclude=exclude)
            out.lists[batch.rows] = best_titles(distances, k=k, exclude=exclude)
        if progress is not None:
            progress(batch.rows.stop, q)
    return ranked


def _exact_ranks(
    modes: set[BeamMode], queries: ScoredQueries
) -> dict[tuple[BeamMode, bool], tuple[IntArray, IntArray]]:
    """Ranks and lists of the language model by itself, by beam mode and protocol."""
    evaluations = queries.ranker.evaluate(
        queries.encoded,
        queries.queries.targets,
        k=min(LIST_LENGTH, queries.n_titles),
        exclude=queries.queries.full_histories,
        modes=sorted(modes),
    )
    return {
        (found.beams, found.exclude_seen): (found.ranks, found.lists.title_ids)
        for found in evaluations
    }
