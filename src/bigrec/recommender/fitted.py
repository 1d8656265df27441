"""A fitted recommender: encode a history, rank the catalog, fuse signals."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.data.stored_tables import damaged_table, read_table
from bigrec.errors import BundleError
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranked_lists import RankedLists
from bigrec.grounding.ranker import Fuse
from bigrec.models.base import EmbedTitles, Scorer
from bigrec.recommender.fusion import SignalFusion, known_titles
from bigrec.recommender.query_encoders import QueryEncoder, json_bytes
from bigrec.recommender.scoring import ScoredQueries, TitleScorer
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.training_data import EvalQueries
from bigrec.settings import Settings
from bigrec.types import FloatArray, IntArray, ProgressCallback

_CATALOG, _COUNTS, _SIGNALS = "catalog.parquet", "counts.parquet", "signals"
_COUNTS_TABLE = "counts of items"
# A catalog other than the fitted one: the items, and embeddings of titles that are new in it.
_CHANGED, _EMBEDDINGS, _SENTENCES = "changed", "index", "sentences"


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
        origin: The fitted recommender, if this one is of another catalog.
        new_titles: Sentence vectors of titles that the origin's catalog lacks.
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
    ) -> None:
        self.settings = settings
        self.encoder = encoder
        self.catalog = catalog
        self.counts = counts
        self.item_type = item_type
        self.title_encoder = title_encoder
        self.fusion = fusion
        self._origin = origin or self
        self._new_titles = new_titles or {}
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
        fitted = self._origin.catalog
        if catalog.fingerprint == fitted.fingerprint and catalog.categories == fitted.categories:
            return self._origin
        return self._origin._changed(
            catalog,
            embedded=self.encoder.title_embeddings,
            sentences=self._new_titles,
            embed=self.title_encoder.embed,
            progress=progress,
        )

    def updated(self, interactions: Interactions) -> "FittedRecommender":
        """The same recommender, fitted to later interactions as well; signals stay as they are.

        Args:
            interactions: Of this catalog, later than all that was fitted of their users.

        Raises:
            ValueError: If the mode's model can only be fitted by training.
        """
        whole = self
        if self._origin is not self:
            # Absent items keep what was learned of them. Their numbers come last, so that those of
            # the interactions stay as they are.
            whole = self.with_catalog(self.catalog.joined(self._origin.catalog))
        encoder = whole.encoder.updated(interactions)
        if encoder is None:
            raise ValueError(
                f"a recommender of {self.settings.mode} mode cannot be updated; expected text "
                "mode. Fit it again with the new interactions."
            )
        updated = FittedRecommender(
            self.settings,
            encoder,
            catalog=whole.catalog,
            counts=whole.counts,
            item_type=self.item_type,
            title_encoder=self.title_encoder,
            fusion=whole.fusion,
        )
        return updated if whole is self else updated.with_catalog(self.catalog)

    def _changed(
        self,
        catalog: Catalog,
        *,
        embedded: ItemIndex | None,
        sentences: Mapping[str, FloatArray],
        embed: EmbedTitles,
        progress: ProgressCallback | None = None,
    ) -> "FittedRecommender":
        """The fitted recommender for another catalog.

        Args:
            catalog: The items.
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
        """Write everything but the base model and the settings into a bundle's folder.

        That is the fitted recommender, and a changed catalog with the embeddings of new titles.
        """
        origin = self._origin
        origin.encoder.save(folder)
        origin.catalog.save(folder / _CATALOG)
        pl.DataFrame({"count": origin.counts}).write_parquet(folder / _COUNTS)
        if origin.fusion is not None:
            origin.fusion.save(folder / _SIGNALS)
        if origin is not self:
            self._save_change(folder / _CHANGED)

    def _save_change(self, folder: Path) -> None:
        folder.mkdir()
        self.catalog.save(folder / _CATALOG)
        new = self.encoder.title_embeddings.without(self._origin.encoder.title_embeddings.rows)
        if new is not None:
            new.save(folder / _EMBEDDINGS)
        if self._new_titles:
            vectors = np.stack(list(self._new_titles.values()))
            ItemIndex(tuple(self._new_titles), vectors, _SENTENCES).save(folder / _SENTENCES)

    def with_stored_catalog(self, folder: Path) -> "FittedRecommender":
        """This recommender, as loaded from a bundle, with the catalog that it had when saved.

        Args:
            folder: The bundle.

        Raises:
            BundleError: If a file is missing or damaged, or a new title has no embedding.
        """
        changed = folder / _CHANGED
        if not changed.is_dir():
            return self
        catalog = Catalog.load(changed / _CATALOG)
        embedded, sentences = (
            ItemIndex.load(place, max_bytes=json_bytes(catalog.unique_titles))
            if (place := changed / name).is_dir()
            else None
            for name in (_EMBEDDINGS, _SENTENCES)
        )

        def refuse(titles: Sequence[str]) -> FloatArray:
            raise BundleError(
                f"{changed} cannot be used: it lacks embeddings of {len(titles)} titles, such as "
                f"{titles[0]!r}. Save the recommender again."
            )

        known = self.encoder.title_embeddings.joined(embedded).rows
        missing = [title for title in catalog.unique_titles if title not in known]
        if missing:
            refuse(missing)
        vectors = zip(sentences.titles, sentences.embeddings, strict=True) if sentences else ()
        return self._changed(catalog, embedded=embedded, sentences=dict(vectors), embed=refuse)

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
