"""A fitted recommender: encode a history, rank the catalog, fuse signals."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.stored_tables import damaged_table, read_table
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.ranked_lists import RankedLists
from bigrec.grounding.ranker import Fuse
from bigrec.lm.embed import SentenceEmbedder
from bigrec.models.base import Scorer
from bigrec.recommender.fusion import SignalFusion, known_titles
from bigrec.recommender.query_encoders import QueryEncoder
from bigrec.recommender.scoring import ScoredQueries, TitleScorer
from bigrec.recommender.training_data import EvalQueries
from bigrec.settings import Settings
from bigrec.types import FloatArray, IntArray, ProgressCallback

_CATALOG, _COUNTS, _SIGNALS = "catalog.parquet", "counts.parquet", "signals"
_COUNTS_TABLE = "counts of items"


class FittedRecommender:
    """What fitting gives: a query encoder for a catalog, and signals to fuse.

    Args:
        settings: What it was fitted with.
        encoder: The language model, with the ranker of the catalog.
        catalog: The items.
        counts: Occurrences of each item in the training split, ``[n]``.
        item_type: What the prompt calls one item.
        fusion: Signals and rules; None for the language model alone.
    """

    def __init__(
        self,
        settings: Settings,
        encoder: QueryEncoder,
        *,
        catalog: Catalog,
        counts: IntArray,
        item_type: str,
        fusion: SignalFusion | None = None,
    ) -> None:
        self.settings = settings
        self.encoder = encoder
        self.catalog = catalog
        self.counts = counts
        self.item_type = item_type
        self.fusion = fusion
        self._catalog_fusion = (
            None if fusion is None else fusion.for_catalog(catalog, imputer=self._imputer)
        )

    @cached_property
    def _imputer(self) -> ColdItemImputer | None:
        if self.settings.fusion.cold_items == "lowest":
            return None
        return self.encoder.cold_item_imputer(known_titles(self.catalog, self.counts))

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
            fusion=fusion,
        )

    def with_catalog(
        self, catalog: Catalog, *, progress: ProgressCallback | None = None
    ) -> "FittedRecommender":
        """The same recommender for another catalog; only new titles are embedded.

        Args:
            catalog: The items. Counts of items that stay are kept; new items have none.
            progress: Called with (titles embedded, titles to embed).
        """
        fusion = self.fusion
        if fusion is not None:
            fusion = fusion.with_catalog(self.catalog, catalog, embed=self._embed_sentences)
        count_of = dict(zip(self.catalog.item_ids, self.counts.tolist(), strict=True))
        counts = np.array([count_of.get(item, 0) for item in catalog.item_ids], dtype=np.int64)
        return FittedRecommender(
            self.settings,
            self.encoder.with_catalog(catalog, counts=counts, progress=progress),
            catalog=catalog,
            counts=counts,
            item_type=self.item_type,
            fusion=fusion,
        )

    def _embed_sentences(self, titles: Sequence[str]) -> FloatArray:
        return SentenceEmbedder(self.settings.baselines.text_knn.encoder).embed(titles)

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
    ) -> RankedLists:
        """Rank the catalog for encoded histories.

        Args:
            encoded: From the encoder, ``q`` queries.
            histories: Item numbers of each, oldest first, all that is known.
            k: Length of each list.
            exclude_seen: Whether titles in the histories are excluded.
            exclude: Item numbers that each list must not hold either, with their titles.
            beams: The generated texts that are grounded; as `beams` gives them by default.
        """
        excluded = (
            list(exclude) if exclude is not None else [np.zeros(0, dtype=np.int64)] * len(histories)
        )
        if exclude_seen:
            excluded = [
                np.concatenate([more, seen]) for more, seen in zip(excluded, histories, strict=True)
            ]
        return self.encoder.ranker.rank(
            encoded,
            k=k,
            beams=beams or self.beams(exclude_seen=exclude_seen),
            exclude=excluded,
            fuse=self._fuse(histories, exclude_seen=exclude_seen),
        )

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
            full_history=self.settings.fusion.history == "full",
        )

    def save(self, folder: Path) -> None:
        """Write everything but the base model and the settings into a bundle's folder."""
        self.encoder.save(folder)
        self.catalog.save(folder / _CATALOG)
        pl.DataFrame({"count": self.counts}).write_parquet(folder / _COUNTS)
        if self.fusion is not None:
            self.fusion.save(folder / _SIGNALS)

    def _fuse(self, histories: Sequence[IntArray], *, exclude_seen: bool) -> Fuse | None:
        """Fuses the signals into the distances of some of the histories; None without signals."""
        fusion = self._catalog_fusion
        if fusion is None:
            return None
        scored = histories
        if self.settings.fusion.history == "window":
            length = self.settings.data.max_history_length
            scored = [history[-length:] for history in histories]

        def fuse(rows: slice, distances: FloatArray) -> FloatArray:
            return fusion.fuse(distances, scored[rows], exclude_seen=exclude_seen)

        return fuse


def load_catalog(folder: Path) -> tuple[Catalog, IntArray]:
    """Catalog and counts that `FittedRecommender.save` wrote.

    Raises:
        BundleError: If a file is missing or damaged.
    """
    catalog = Catalog.load(folder / _CATALOG)
    path = folder / _COUNTS
    counts = read_table(path, {"count": pl.Int64}, n_rows=catalog.n_items, what=_COUNTS_TABLE)
    if (counts["count"] < 0).any():
        raise damaged_table(path, "a count is negative", what=_COUNTS_TABLE)
    return catalog, counts["count"].to_numpy()


def load_fusion(folder: Path) -> SignalFusion:
    """Signals that `FittedRecommender.save` wrote.

    Raises:
        BundleError: If a file is missing, damaged or of another version.
    """
    return SignalFusion.load(folder / _SIGNALS)
