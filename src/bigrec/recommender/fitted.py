"""A fitted recommender: encode a history, rank the catalog, fuse signals."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.neighbors.candidates import CandidateRanker
from bigrec.grounding.ranked_lists import RankedLists
from bigrec.grounding.ranker import Fuse, Ranker
from bigrec.models.base import EmbedTitles, Scorer
from bigrec.models.text.vectors import TitleEmbedder, normalized
from bigrec.recommender.approximate import candidate_ranker
from bigrec.recommender.candidates import Candidates
from bigrec.recommender.fusion import SignalFusion
from bigrec.recommender.query_encoder import QueryEncoder
from bigrec.recommender.scoring import ScoredQueries, TitleScorer
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.training_data import EvalQueries
from bigrec.recommender.version import version_of_catalog, version_of_fit, version_of_update
from bigrec.settings import Settings
from bigrec.types import BoolArray, FloatArray, IntArray, ProgressCallback, Source


class FittedRecommender:
    """What fitting gives: a query encoder for a catalog, and signals to fuse.

    A recommender of a changed catalog keeps the one that was fitted: every further catalog is made
    from that, so that an item that leaves and returns has all that was learned of it.

    Args:
        settings: What it was fitted with.
        encoder: The mode's model, with the ranker of the catalog.
        catalog: The items.
        counts: Occurrences of each item in the training split, ``[n]``.
        item_type: What the prompt calls one item.
        title_encoder: Embeds new titles for models of titles.
        fusion: Signals and rules; None for the mode's model alone.
        origin: The fitted recommender, if this one is of another catalog; else it is this one.
        new_titles: Sentence vectors of titles that the origin's catalog lacks.
        version: Its version, where it is not that of a new fit.
        graph: File of a graph over its titles, for approximate search; None builds one.
    """

    def __init__(
        self,
        settings: Settings,
        encoder: QueryEncoder,
        *,
        catalog: Catalog,
        counts: IntArray,
        item_type: str,
        title_encoder: TitleEncoder,
        fusion: SignalFusion | None = None,
        origin: "FittedRecommender | None" = None,
        new_titles: Mapping[str, FloatArray] | None = None,
        version: str | None = None,
        graph: Path | None = None,
    ) -> None:
        self.settings = settings
        self.encoder = encoder
        self.catalog = catalog
        self.counts = counts
        self.item_type = item_type
        self.title_encoder = title_encoder
        self.fusion = fusion
        # Not itself: a reference to itself would keep the arrays of every state that was replaced.
        self._origin = origin
        self.new_titles = new_titles or {}
        self._version = version
        self._graph = graph
        self._catalog_fusion = (
            None
            if fusion is None
            else fusion.for_catalog(catalog, cold=self.cold_titles, imputer=self._imputer)
        )

    @property
    def origin(self) -> "FittedRecommender":
        """See the class."""
        return self if self._origin is None else self._origin

    @cached_property
    def version(self) -> str:
        """Identifies what was fitted, the updates since and the catalog."""
        if self.origin is not self:
            return version_of_catalog(self.origin.version, self.catalog)
        return self._version or version_of_fit(
            self.settings,
            self.catalog,
            self.counts,
            index=self.encoder.ranker.index,
            fusion=self.fusion,
        )

    @property
    def source(self) -> Source:
        """What ranks the lists."""
        return self.model_source if self.fusion is None else "fused"

    @property
    def model_source(self) -> Source:
        """What ranks lists without signals."""
        return "text" if self.settings.mode == "text" else "llm"

    @cached_property
    def title_ranker(self) -> Ranker:
        """Ranks titles by their likeness to a title.

        Text mode and latent decoding compare vectors of titles, the others what ranks histories.
        """
        encoder, settings = self.encoder.state_encoder, self.settings
        if settings.mode != "text" and not settings.decodes_states:
            return encoder.ranker
        index = encoder.title_embeddings
        index = replace(index, embeddings=normalized(index.embeddings))
        return Ranker(index, self.catalog.title_ids, counts=self.counts)

    @cached_property
    def candidate_ranker(self) -> CandidateRanker | None:
        """Ranks candidates in place of all titles; None with exact search."""
        return candidate_ranker(self.encoder.ranker, self.settings.index, graph=self._graph)

    @cached_property
    def rising_items(self) -> IntArray:
        """Item numbers by training interactions, the fewest first, ``[n]``; ties the last first."""
        return np.lexsort((-np.arange(self.catalog.n_items), self.counts))

    @cached_property
    def every_item(self) -> Candidates:
        """The candidates where none are excluded: made once, as it takes a pass over all items."""
        return Candidates.select(self.catalog, self.rising_items, items=None, exclude=())

    @cached_property
    def title_counts(self) -> IntArray:
        """Training interactions of every title, ``[t]`` int64."""
        return self.catalog.counts_by_title(self.counts)

    @cached_property
    def cold_titles(self) -> BoolArray:
        """Whether a title has no training interactions, ``[t]``."""
        return np.asarray(self.title_counts == 0)

    def rule(
        self, *, exclude_seen: bool, gammas: Mapping[str, float] | None = None
    ) -> FusionRule | None:
        """The rule that fuses signals; None without signals.

        Args:
            exclude_seen: The protocol that it was selected for.
            gammas: Other gammas of some signals, by their names.

        Raises:
            ValueError: If a signal is not fused or a gamma is out of range.
        """
        if self.fusion is not None:
            return self.fusion.rule(exclude_seen=exclude_seen, gammas=gammas)
        if gammas is not None:
            raise ValueError(
                f"gammas is {gammas!r}, and no signals are fused here: expected None. Fit with "
                "fusion.signals to have some."
            )
        return None

    @cached_property
    def _imputer(self) -> ColdItemImputer | None:
        if self.settings.fusion.cold_items == "lowest":
            return None
        return self.encoder.cold_item_imputer(~self.cold_titles)

    @property
    def imputes_cold_items(self) -> bool:
        """Whether signals' weights of cold titles are imputed."""
        return self._imputer is not None

    def with_fusion(self, fusion: SignalFusion) -> "FittedRecommender":
        """The same recommender with signals."""
        return FittedRecommender(
            self.settings,
            self.encoder,
            catalog=self.catalog,
            counts=self.counts,
            item_type=self.item_type,
            title_encoder=self.title_encoder,
            fusion=fusion,
        )

    def with_catalog(
        self, catalog: Catalog, *, progress: ProgressCallback | None = None
    ) -> "FittedRecommender":
        """The same recommender for another catalog; only new titles are embedded.

        It does not depend on the catalogs between the fitted one and this one.

        Args:
            catalog: The items. Items of the fitted catalog have their counts; new items have none.
            progress: Called with (titles embedded, titles to embed).
        """
        catalog = catalog.reading(self.settings.data.text_columns, known=self.origin.catalog)
        for known in (self, self.origin):
            if catalog.titles_fingerprint == known.catalog.titles_fingerprint:
                return known._with_columns(catalog)
        stale = self.catalog.other_texts(catalog)
        return self.origin.changed(
            catalog,
            embedded=self.encoder.title_embeddings.without(stale),
            sentences={key: value for key, value in self.new_titles.items() if key not in stale},
            embed=TitleEmbedder(self.title_encoder, catalog).embed,
            progress=progress,
        )

    def _with_columns(self, catalog: Catalog) -> "FittedRecommender":
        """The same recommender for a catalog of the same items that differs in its columns."""
        if catalog.content_fingerprint == self.origin.catalog.content_fingerprint:
            return self.origin
        other = copy.copy(self)
        other.catalog = catalog
        other.__dict__.pop("version", None)
        return other

    def updated(self, interactions: Interactions) -> "FittedRecommender":
        """The same recommender, fitted to later interactions as well; signals stay as they are.

        Args:
            interactions: Of this catalog, later than all that was fitted of their users.

        Raises:
            ValueError: If the mode's model can only be fitted by training.
        """
        whole = self
        if self.origin is not self:
            # Absent items keep what was learned of them. Their numbers come last, so that those of
            # the interactions stay as they are.
            whole = self.with_catalog(self.catalog.joined(self.origin.catalog))
        if (encoder := whole.encoder.updated(interactions)) is None:
            raise ValueError(
                f"a recommender of {self.settings.mode} mode cannot be updated; expected text "
                "mode or latent decoding. Fit it again with the new interactions."
            )
        updated = FittedRecommender(
            self.settings,
            encoder,
            catalog=whole.catalog,
            counts=whole.counts,
            item_type=self.item_type,
            title_encoder=self.title_encoder,
            fusion=whole.fusion,
            version=version_of_update(self.version, interactions, self.catalog.item_ids),
        )
        return updated if whole is self else updated.with_catalog(self.catalog)

    def changed(
        self,
        catalog: Catalog,
        *,
        embedded: ItemIndex | None,
        sentences: Mapping[str, FloatArray],
        embed: EmbedTitles,
        progress: ProgressCallback | None = None,
    ) -> "FittedRecommender":
        """The fitted recommender, which this is, for another catalog.

        Args:
            catalog: The items, with their texts.
            embedded: Embeddings of titles, which are not embedded again.
            sentences: Sentence vectors of titles, likewise.
            embed: Embeds all other titles as sentences.
            progress: Called with (titles embedded, titles to embed).
        """
        vectors = dict(sentences)
        fusion = self.fusion
        if fusion is not None:
            fusion = fusion.with_catalog(self.catalog, catalog, embed=embed, vectors=vectors)
        count_of = dict(zip(self.catalog.item_ids, self.counts.tolist(), strict=True))
        counts = np.array([count_of.get(item, 0) for item in catalog.item_ids], dtype=np.int64)
        return FittedRecommender(
            self.settings,
            self.encoder.with_catalog(catalog, counts=counts, embedded=embedded, progress=progress),
            catalog=catalog,
            counts=counts,
            item_type=self.item_type,
            title_encoder=self.title_encoder,
            fusion=fusion,
            origin=self,
            new_titles={title: vectors[title] for title in catalog.titles if title in vectors},
        )

    def beams(self, *, exclude_seen: bool) -> BeamMode:
        """The generated texts that are grounded: the fusion rule's, else the settings'."""
        if self.fusion is not None:
            return self.fusion.rules[exclude_seen].beams
        beams = self.settings.grounding.beams
        return beams if beams in self.encoder.methods else "top1"

    def rank(
        self,
        encoded: EncodedQueries,
        histories: Sequence[IntArray],
        *,
        k: int,
        exclude_seen: bool,
        exclude: Sequence[IntArray] | None = None,
        beams: BeamMode | None = None,
        gammas: Mapping[str, float] | None = None,
        exact: bool = False,
    ) -> RankedLists:
        """Rank the catalog for encoded histories.

        Args:
            encoded: From the encoder, ``q`` queries.
            histories: Item numbers of each, oldest first, all that is known.
            k: Length of each list.
            exclude_seen: Whether titles in the histories are excluded.
            exclude: Item numbers that each list must not hold either, with their titles.
            beams: The generated texts that are grounded; as `beams` gives them by default.
            gammas: Other gammas of some signals than those of the selected rule, by their names.
            exact: Rank all titles, also where the settings ask for candidates.

        Raises:
            ValueError: If a signal is not fused or a gamma is out of range.
        """
        nothing = [np.zeros(0, dtype=np.int64)] * len(histories)
        excluded = nothing if exclude is None else list(exclude)
        if exclude_seen:
            excluded = [
                np.concatenate([more, seen]) for more, seen in zip(excluded, histories, strict=True)
            ]
        rule = self.rule(exclude_seen=exclude_seen, gammas=gammas)
        beams = beams or self.beams(exclude_seen=exclude_seen)
        candidates = None if exact else self.candidate_ranker
        if candidates and encoded.has_single_vectors(beams) and candidates.ranks_by(rule):
            lists = candidates.rank(
                encoded,
                k=k,
                exclude=excluded,
                rule=rule,
                weights=lambda rows: self.weights(histories[rows]) if rule else [],
            )
            if lists is not None:
                return lists
        fuse = self.fuse(histories, rule)
        return self.encoder.ranker.rank(encoded, k=k, beams=beams, exclude=excluded, fuse=fuse)

    def score(
        self, encoded: EncodedQueries, queries: EvalQueries, *, signals: Mapping[str, Scorer]
    ) -> ScoredQueries:
        """Distances and signals' scores of queries whose targets are known.

        Args:
            encoded: The queries' histories, encoded.
            queries: Histories and targets.
            signals: By name, fitted on this catalog's items.
        """
        return ScoredQueries(
            self.encoder.ranker,
            encoded,
            self.catalog,
            queries=queries,
            signals={
                name: TitleScorer(signal, self.catalog, imputer=self._imputer)
                for name, signal in signals.items()
            },
            beams=list(self.encoder.methods),
            cold=self.cold_titles,
            full_history=self.settings.fusion.history == "full",
        )

    def fuse(self, histories: Sequence[IntArray], rule: FusionRule | None) -> Fuse | None:
        """Fuses the signals into the distances of some of the histories; None without a rule."""
        fusion = self._catalog_fusion
        if fusion is None or rule is None:
            return None
        scored = self._scored(histories)

        def fuse(rows: slice, distances: FloatArray) -> FloatArray:
            return fusion.fuse(distances, scored[rows], rule=rule)

        return fuse

    def weights(self, histories: Sequence[IntArray]) -> list[FloatArray]:
        """Weights of each signal for the titles, ``[q, t]`` in [0, 1]; none without signals."""
        fusion = self._catalog_fusion
        return [] if fusion is None else fusion.weights(self._scored(histories))

    def _scored(self, histories: Sequence[IntArray]) -> Sequence[IntArray]:
        """What the signals read of histories."""
        if self.settings.fusion.history == "full":
            return histories
        length = self.settings.data.max_history_length
        return [history[-length:] for history in histories]
