"""Text mode as a query encoder: bags of untrained title vectors, grounded by a Gaussian model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.evaluation.method import MethodId
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.index import ItemIndex
from bigrec.models.registry import GAUSSIAN
from bigrec.models.text import GaussianText
from bigrec.recommender.state_query_encoder import StateContext, StateQueryEncoder
from bigrec.recommender.user_histories import USERS_FILE
from bigrec.types import IntArray, ProgressCallback

_TEXT = "text"


class TextQueryEncoder(StateQueryEncoder):
    """Text mode: the query is the state of the history's bag of titles, among Gaussian items.

    Args:
        model: Fitted, for the catalog.
        context: What it is for.
    """

    methods: Mapping[BeamMode, MethodId] = {"top1": MethodId(GAUSSIAN)}
    lm: None = None

    def __init__(self, model: GaussianText, context: StateContext) -> None:
        super().__init__(model.grounded, context, key=GAUSSIAN)
        self.model = model

    def encode(
        self,
        histories: Sequence[IntArray],
        *,
        parts_folder: Path | None = None,  # noqa: ARG002 - the protocol's; it takes no time
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """See `QueryEncoder`."""
        encoded = self._encoded(self.model.states(self._newest(histories)))
        if progress is not None:
            progress(len(histories), len(histories))
        return encoded

    def with_catalog(
        self,
        catalog: Catalog,
        *,
        counts: IntArray,
        embedded: ItemIndex | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """See `QueryEncoder`."""
        model = self.model.with_titles(
            catalog.titles,
            old_titles=self._context.catalog.titles,
            embed=self._embed_new(catalog, embedded, progress),
        )
        return type(self)(model, replace(self._context, catalog=catalog, counts=counts))

    def updated(self, interactions: Interactions) -> Self:
        """See `QueryEncoder`."""
        context = self._context
        histories, targets, users = context.users.followed_by(interactions, context.catalog)
        return type(self)(self.model.updated(histories, targets), replace(context, users=users))

    def save(self, folder: Path) -> None:
        """See `QueryEncoder`."""
        self.model.save(folder / _TEXT)
        self._context.users.save(folder / USERS_FILE)

    @classmethod
    def load(cls, folder: Path, context: StateContext) -> Self:
        """Read what `save` wrote into a bundle's folder.

        Raises:
            BundleError: If a file is missing, damaged or of another version.
        """
        return cls(GaussianText.load(folder / _TEXT), context)
