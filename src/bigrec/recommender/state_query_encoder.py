"""Query encoders whose query is a state among grounded titles: text mode and latent decoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigrec.data.catalog import Catalog
from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.models.base import EmbedTitles
from bigrec.models.text.grounded_titles import GroundedTitles
from bigrec.models.text.vectors import TitleEmbedder, normalized, remembering
from bigrec.recommender.query_encoder import SingleEncoder
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.user_histories import USERS_FILE, UserHistories
from bigrec.settings import Settings
from bigrec.storage import fingerprint
from bigrec.types import BoolArray, FloatArray, IntArray, ProgressCallback


@dataclass(frozen=True, eq=False)
class StateContext:
    """What a state's query encoder is for.

    Attributes:
        catalog: The items.
        counts: Occurrences of each item in the training split, ``[n]``.
        title_encoder: Embeds new titles.
        users: Newest items of every user, as many as are read of a history.
    """

    catalog: Catalog
    counts: IntArray
    title_encoder: TitleEncoder
    users: UserHistories


class StateQueryEncoder(SingleEncoder):
    """The part of `QueryEncoder` that is the same for states among grounded titles.

    Args:
        grounded: The titles, for the catalog.
        context: What it is for.
        key: Identifies how states are made, JSON-like.
    """

    def __init__(self, grounded: GroundedTitles, context: StateContext, *, key: Any) -> None:
        self._grounded = grounded
        self._context = context
        catalog = context.catalog
        self._rows = grounded.rows[catalog.first_items]
        points = grounded.item_points()[self._rows]
        index = ItemIndex(
            tuple(catalog.unique_titles), points, fingerprint([key, context.title_encoder.used])
        )
        self.ranker = Ranker(index, catalog.title_ids, counts=context.counts)

    @property
    def grounded(self) -> GroundedTitles:
        """The titles, grounded by the states before them."""
        return self._grounded

    @property
    def title_embeddings(self) -> ItemIndex:
        """See `QueryEncoder`."""
        encoder = self._context.title_encoder
        key = encoder.used or encoder.fingerprint
        titles = self._context.catalog.unique_titles
        return ItemIndex(tuple(titles), self._grounded.vectors[self._rows], key)

    def cold_item_imputer(self, known: BoolArray) -> ColdItemImputer:
        """See `QueryEncoder`."""
        return ColdItemImputer.fit(normalized(self._grounded.vectors[self._rows]), known)

    def _newest(self, histories: Sequence[IntArray]) -> list[IntArray]:
        """Newest items of histories, as many as are read."""
        return [history[-self._context.users.length :] for history in histories]

    def _encoded(self, states: FloatArray) -> EncodedQueries:
        """States ``[q, d]`` as encoded queries."""
        return EncodedQueries.from_vectors(self._grounded.query_points(states))

    def _embed_new(
        self, catalog: Catalog, embedded: ItemIndex | None, progress: ProgressCallback | None
    ) -> EmbedTitles:
        """Embeds titles, but for those that are embedded already.

        Args:
            catalog: Has their texts.
            embedded: Those, if there are any.
            progress: Called with (titles embedded, titles to embed).
        """
        known = {}
        if embedded is not None:
            known = dict(zip(embedded.titles, embedded.embeddings, strict=True))
        embedder = TitleEmbedder(self._context.title_encoder, catalog)

        def embed(titles: Sequence[str]) -> FloatArray:
            return embedder.embed(titles, progress=progress)

        return remembering(embed, known)


def load_users(folder: Path, settings: Settings) -> UserHistories:
    """Read the newest items of every user from a bundle's folder, as many as are read.

    Raises:
        BundleError: If the file is missing or damaged.
    """
    return UserHistories.load(folder / USERS_FILE, length=settings.data.max_history_length)
