"""The parts of a fitted recommender, and its lists as callers know the items."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.evaluation.metrics import chosen_by
from bigrec.grounding.beams import BeamMode
from bigrec.grounding.cold_items import Likes
from bigrec.grounding.ranker import Fuse, RankedLists, Ranker
from bigrec.models.base import Scorer
from bigrec.models.registry import COOCCURRENCE, EASE, GRU4REC
from bigrec.recommender.factory import Drawn, Queries
from bigrec.recommender.fusion import (
    BoundSignals,
    Injected,
    choose_injected,
    fit_signals,
)
from bigrec.recommender.query_encoders import Answerer, Answers
from bigrec.recommender.scoring import Evidence
from bigrec.recommender.training_data import lessons_of
from bigrec.settings import Settings
from bigrec.types import GeneratedText, IntArray, Progress, Recommendation, Track

# Items up to which EASE's square matrix, 100 MB then, is worth its place in a bundle.
_SMALL_CATALOG = 5_000


def listed(
    catalog: Catalog, lists: RankedLists, query: int, *, texts: Sequence[GeneratedText]
) -> list[Recommendation]:
    """One query's list, as the caller knows the items."""
    return [
        Recommendation(
            rank=place + 1,
            item_id=catalog.item_ids[item],
            title=catalog.titles[item],
            score=float(lists.scores[query, place]),
            distance=float(lists.distances[query, place]),
            generated_text=texts[lists.beams[query, place]].text if texts else None,
        )
        for place, item in enumerate(lists.items[query])
        if item >= 0
    ]


class Parts:
    """What a fitted recommender consists of.

    Args:
        settings: What the parts were made with.
        answerer: The language model, and the catalog where its answers lie.
        catalog: What can be recommended.
        counts: How often each item occurs in the training split, ``[n]``.
        noun: What the prompt calls a title.
        injected: Signals to put into the distances, and how.
    """

    def __init__(
        self,
        settings: Settings,
        answerer: Answerer,
        *,
        catalog: Catalog,
        counts: IntArray,
        noun: str,
        injected: Injected | None,
    ) -> None:
        self.answerer = answerer
        self.catalog = catalog
        self.counts = counts
        self.noun = noun
        self._settings = settings
        self.bound = None if injected is None else self.bind(injected)

    @property
    def ranker(self) -> Ranker:
        """What ranks the catalog by distance to answers."""
        return self.answerer.ranker

    @cached_property
    def likes(self) -> Likes | None:
        """What stands for titles that signals never met; None where they stay last."""
        if self._settings.signals.new_titles == "last":
            return None
        catalog = self.catalog
        counts = np.bincount(catalog.group, weights=self.counts, minlength=catalog.n_groups)
        return self.answerer.likes(counts > 0)

    def bind(self, injected: Injected) -> BoundSignals:
        """Signals for this catalog."""
        return BoundSignals(injected, self.catalog, likes=self.likes)

    @property
    def beams(self) -> BeamMode:
        """Which texts are grounded: as the signals' rule says, without one as the settings say."""
        if self.bound is not None:
            return self.bound.injected.rule.beams
        chosen = self._settings.recommend.beams
        return chosen if chosen in self.answerer.names else "first"

    def fuse(self, histories: Sequence[IntArray]) -> Fuse | None:
        """What puts the signals into the distances of these histories; None without signals."""
        bound = self.bound
        if bound is None:
            return None
        length = self._settings.data.history_length
        known = histories
        if not bound.injected.full_history:
            known = [history[-length:] for history in histories]
        return lambda rows, distances: bound.fuse(distances, known[rows])

    def evidence(
        self, queries: Queries, answers: Answers, *, signals: Mapping[str, Scorer]
    ) -> Evidence:
        """What speaks for each item in queries whose targets are known; see `Evidence`."""
        return Evidence(
            self.answerer,
            answers,
            self.catalog,
            queries=queries,
            signals=signals,
            likes=self.likes,
            full_history=self._settings.signals.history == "full",
        )


def injected_signals(settings: Settings, *, n_items: int) -> tuple[str, ...]:
    """Names of the signals that the settings put into the distances."""
    chosen = settings.recommend.inject
    if chosen != "auto":
        return chosen
    return (COOCCURRENCE, *((EASE,) if n_items <= _SMALL_CATALOG else ()), GRU4REC)


def learn_injected(
    parts: Parts,
    settings: Settings,
    dataset: Dataset,
    drawn: Drawn,
    *,
    answers: Answers,
    folder: Path,
    track: Track,
) -> Injected:
    """Learn the signals of the settings and choose on validation how they are put in.

    Args:
        parts: The recommender's.
        settings: Name the signals and the rule.
        dataset: What is recommended from.
        drawn: Its examples.
        answers: The language model's, to the validation examples.
        folder: Where networks keep what they learned.
        track: Called with the name of each network's training.
    """
    chosen = settings.recommend
    signals = fit_signals(
        injected_signals(settings, n_items=dataset.catalog.n_items),
        lessons_of(dataset, drawn),
        seed=settings.seed,
        device=settings.model.device,
        folder=folder,
        track=track,
    )
    return choose_injected(
        parts.evidence(drawn.valid_queries, answers, signals=signals),
        signals,
        how=chosen.rule,
        exclude_seen=chosen.exclude_seen,
        full_history=settings.signals.history == "full",
        item_ids=parts.catalog.item_ids,
        metric=chosen_by,
    )


def untracked(_: str) -> Progress:
    """A `Track` that reports nothing."""
    return lambda _done, _total: None
