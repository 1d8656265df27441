"""The parts of a fitted recommender, and its lists as callers know the items."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.evaluation.metrics import chosen_by
from bigrec.evidence import Evidence
from bigrec.grounding.beams import BeamMode
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Fuse, RankedLists, Ranker
from bigrec.lm.model import LanguageModel
from bigrec.settings import Settings
from bigrec.signals.protocol import Scorer
from bigrec.statistics import (
    BoundSignals,
    Injected,
    choose_injected,
    fit_signals,
    lessons_of,
)
from bigrec.steps import Drawn, Queries, make_embedder, make_generator, make_renderer
from bigrec.types import GeneratedText, IntArray, Progress, Recommendation, Track


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
            generated_text=texts[lists.beams[query, place]].text,
        )
        for place, item in enumerate(lists.items[query])
        if item >= 0
    ]


class Parts:
    """What a fitted recommender consists of; see `BIGRec.assemble` for the arguments."""

    def __init__(
        self,
        settings: Settings,
        lm: LanguageModel,
        *,
        catalog: Catalog,
        counts: IntArray,
        noun: str,
        index: ItemIndex,
        injected: Injected | None,
    ) -> None:
        self.lm = lm
        self.catalog = catalog
        self.counts = counts
        self.noun = noun
        self.index = index
        self.renderer = make_renderer(lm.tokenizer, settings)
        self.embedder = make_embedder(lm, settings)
        self.generator = make_generator(lm, self.renderer, catalog.group_titles, settings=settings)
        self.ranker = Ranker(index, catalog.group, counts=counts)
        self.bound = None if injected is None else BoundSignals(injected, catalog)
        self._settings = settings

    @property
    def beams(self) -> BeamMode:
        """Which texts are grounded: as the signals' rule says, without one as the settings say."""
        if self.bound is not None:
            return self.bound.injected.rule.beams
        return self._settings.recommend.beams

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
        self,
        queries: Queries,
        *,
        texts: Sequence[Sequence[GeneratedText]],
        signals: Mapping[str, Scorer],
        progress: Progress | None = None,
    ) -> Evidence:
        """What speaks for each item in queries whose targets are known; see `Evidence`."""
        return Evidence(
            self.ranker,
            self.embedder,
            self.catalog,
            queries=queries,
            texts=texts,
            signals=signals,
            full_history=self._settings.signals.history == "full",
            progress=progress,
        )


def learn_injected(
    parts: Parts,
    settings: Settings,
    dataset: Dataset,
    drawn: Drawn,
    *,
    texts: Sequence[Sequence[GeneratedText]],
    folder: Path,
    track: Track,
) -> Injected:
    """Learn the signals of the settings and choose on validation how they are put in.

    Args:
        parts: The recommender's.
        settings: Name the signals and the rule.
        dataset: What is recommended from.
        drawn: Its examples.
        texts: What the model wrote for the validation examples.
        folder: Where networks keep what they learned.
        track: Called with the name of each network's training.
    """
    chosen = settings.recommend
    signals = fit_signals(
        chosen.inject,
        lessons_of(dataset, drawn),
        seed=settings.seed,
        device=settings.model.device,
        folder=folder,
        track=track,
    )
    return choose_injected(
        parts.evidence(drawn.valid_queries, texts=texts, signals=signals),
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
