"""The contract of query encoders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.evaluation.method import MethodId
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.types import BoolArray, FloatArray, IntArray, ProgressCallback

if TYPE_CHECKING:
    from bigrec.lm.model import LanguageModel


class QueryEncoder(Protocol):
    """Encodes histories as vectors among a catalog's titles.

    Attributes:
        methods: The unfused recommender in tables, by the beam modes that it has.
        ranker: Ranks the catalog by distance to the encoded queries.
    """

    methods: Mapping[BeamMode, MethodId]
    ranker: Ranker

    @property
    def lm(self) -> "LanguageModel | None":
        """The language model; None in text mode."""
        ...

    @property
    def title_embeddings(self) -> ItemIndex:
        """What the language model makes of the catalog's titles."""
        ...

    def encode(
        self,
        histories: Sequence[IntArray],
        *,
        parts_folder: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """Encode histories.

        Args:
            histories: Item numbers of each, oldest first, of any length; the newest
                ``max_history_length`` are read.
            parts_folder: Stores generated texts or states, so that an interrupted call resumes.
                Text and retrieval mode store nothing.
            progress: Called with (histories done, histories in total).
        """
        ...

    def with_catalog(
        self,
        catalog: Catalog,
        *,
        counts: IntArray,
        embedded: ItemIndex | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """The same encoder for another catalog; only new titles are embedded.

        Args:
            catalog: The other catalog.
            counts: Occurrences of each of its items in the training split, ``[n]``.
            embedded: `title_embeddings` of more titles, which are not embedded again.
            progress: Called with (titles embedded, titles to embed).
        """
        ...

    def cold_item_imputer(self, known: BoolArray) -> ColdItemImputer | None:
        """The imputer of signals' scores for cold titles, by their nearest known titles.

        Args:
            known: Titles with training interactions, ``[t]``.

        Returns:
            None if the encoder's space is not made for similarity of titles.
        """
        ...

    def updated(self, interactions: Interactions) -> Self | None:
        """The encoder fitted to later interactions as well; None if that takes training."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was trained and the item index into a bundle's folder."""
        ...

    @property
    def state_encoder(self) -> "QueryEncoder":
        """What encodes states, where texts rank with them; else the encoder itself."""
        ...

    def squared_distances(self, query: FloatArray) -> FloatArray | None:
        """Parts of the squared distances of all titles to one encoded vector ``[d]``, ``[2, t]``.

        The first row is of texts, the second of states; they add up. None where only one ranks.
        """
        ...


class SingleEncoder:
    """The part of `QueryEncoder` that is the same where either texts or states rank."""

    @property
    def state_encoder(self) -> Self:
        """See `QueryEncoder`."""
        return self

    def squared_distances(self, query: FloatArray) -> None:
        """None: there is one part."""
