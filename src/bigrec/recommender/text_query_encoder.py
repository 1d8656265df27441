"""Text mode as a query encoder: bags of untrained title vectors, grounded by a Gaussian model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.evaluation.method import MethodId
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.models.registry import GAUSSIAN
from bigrec.models.text import GaussianText
from bigrec.models.text.vectors import normalized, remembering
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.user_histories import UserHistories
from bigrec.storage import fingerprint
from bigrec.types import BoolArray, FloatArray, IntArray, ProgressCallback

_TEXT, _USERS = "text", "users.parquet"


class TextQueryEncoder:
    """Text mode: the query is the state of the history's bag of titles, among Gaussian items.

    Args:
        model: Fitted, for the catalog.
        catalog: The items.
        counts: Occurrences of each item in the training split, ``[n]``.
        title_encoder: Embeds new titles.
        users: Newest items of every user, as many as are read of a history.
    """

    methods: Mapping[BeamMode, MethodId] = {"top1": MethodId(GAUSSIAN)}
    lm: None = None

    def __init__(
        self,
        model: GaussianText,
        *,
        catalog: Catalog,
        counts: IntArray,
        title_encoder: TitleEncoder,
        users: UserHistories,
    ) -> None:
        self.model = model
        self._catalog = catalog
        self._counts = counts
        self._title_encoder = title_encoder
        self._users = users
        # Row of each distinct title: that of its first item.
        firsts = np.unique(catalog.title_ids, return_index=True)[1]
        self._rows = model.rows[firsts]
        points = model.grounding.item_points()[self._rows]
        key = fingerprint([GAUSSIAN, title_encoder.used])
        index = ItemIndex(tuple(catalog.unique_titles), points, key)
        self.ranker = Ranker(index, catalog.title_ids, counts=counts)

    def encode(
        self,
        histories: Sequence[IntArray],
        *,
        texts_folder: Path | None = None,  # noqa: ARG002 - the protocol's; no texts are generated
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """See `QueryEncoder`."""
        newest = [history[-self._users.length :] for history in histories]
        points = self.model.grounding.query_points(self.model.states(newest))
        if progress is not None:
            progress(len(histories), len(histories))
        return EncodedQueries.from_vectors(points)

    @property
    def title_embeddings(self) -> ItemIndex:
        """See `QueryEncoder`."""
        key = self._title_encoder.used or self._title_encoder.fingerprint
        vectors = self.model.vectors[self._rows]
        return ItemIndex(tuple(self._catalog.unique_titles), vectors, key)

    def with_catalog(
        self,
        catalog: Catalog,
        *,
        counts: IntArray,
        embedded: ItemIndex | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """See `QueryEncoder`."""

        def embed(titles: Sequence[str]) -> FloatArray:
            return self._title_encoder.embed(titles, progress=progress)

        known = {}
        if embedded is not None:
            known = dict(zip(embedded.titles, embedded.embeddings, strict=True))
        model = self.model.with_titles(
            catalog.titles, old_titles=self._catalog.titles, embed=remembering(embed, known)
        )
        return type(self)(
            model,
            catalog=catalog,
            counts=counts,
            title_encoder=self._title_encoder,
            users=self._users,
        )

    def updated(self, interactions: Interactions) -> Self:
        """See `QueryEncoder`."""
        histories, targets, users = self._users.followed_by(interactions, self._catalog)
        return type(self)(
            self.model.updated(histories, targets),
            catalog=self._catalog,
            counts=self._counts,
            title_encoder=self._title_encoder,
            users=users,
        )

    def cold_item_imputer(self, known: BoolArray) -> ColdItemImputer:
        """See `QueryEncoder`."""
        return ColdItemImputer.fit(normalized(self.model.vectors[self._rows]), known)

    def save(self, folder: Path) -> None:
        """See `QueryEncoder`."""
        self.model.save(folder / _TEXT)
        self._users.save(folder / _USERS)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        catalog: Catalog,
        counts: IntArray,
        title_encoder: TitleEncoder,
        max_history_length: int,
    ) -> Self:
        """Read what `save` wrote into a bundle's folder.

        Args:
            folder: The bundle.
            catalog: The items.
            counts: Occurrences of each item in the training split, ``[n]``.
            title_encoder: Embeds new titles.
            max_history_length: Number of newest items that are read of a history.

        Raises:
            BundleError: If a file is missing, damaged or of another version.
        """
        return cls(
            GaussianText.load(folder / _TEXT),
            catalog=catalog,
            counts=counts,
            title_encoder=title_encoder,
            users=UserHistories.load(folder / _USERS, length=max_history_length),
        )
