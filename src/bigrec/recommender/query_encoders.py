"""Query encoders: a language model writes titles, or encodes the history itself.

Text mode has one beside them, without a language model. In each mode a history becomes vectors in
the space of the catalog's titles, and all titles are ranked by distance to them.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.errors import ModelError
from bigrec.evaluation.method import MethodId
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.lm.decoder import check_states
from bigrec.lm.model import LanguageModel
from bigrec.lm.trained import save_trained
from bigrec.models.base import read_model_folder, write_model_folder
from bigrec.models.llm import LLM_RETRIEVAL, LLMRetriever, RetrieverStates, title_vectors
from bigrec.models.text.grounded_titles import GaussianTitles, StoredGaussian
from bigrec.recommender.factory import make_embedder, make_generator, make_renderer
from bigrec.recommender.query_encoder import SingleEncoder
from bigrec.recommender.query_parts import TEXTS, compute_in_parts
from bigrec.recommender.title_index import INDEX_FOLDER
from bigrec.settings import Settings
from bigrec.storage import fingerprint
from bigrec.storage.arrays import unusable
from bigrec.types import BoolArray, GeneratedText, IntArray, ProgressCallback

RETRIEVER_FOLDER = "retriever"
"""The folder of a retriever in a bundle."""

_HEAD, _HEAD_KIND = "head", "retrieval gaussian"


class _Trained(SingleEncoder):
    """The part of `QueryEncoder` that is the same for language models."""

    def updated(self, interactions: Interactions) -> None:
        """None: it takes training."""


class GenerativeQueryEncoder(_Trained):
    """Generative mode: writes titles and embeds them, as in the paper.

    Args:
        settings: Of prompt, decoding and embedding.
        lm: The language model with its adapter.
        catalog: The items.
        counts: Occurrences of each item in the training split, ``[n]``.
        item_type: What the prompt calls one item.
        index: Embeddings made before. Those of another catalog or normalization are updated, those
            of another embedder made anew.
        index_parts: Folder from which an interrupted embedding resumes.
        progress: Called with (titles embedded, titles to embed).
    """

    methods: Mapping[BeamMode, MethodId] = {
        "top1": MethodId("BIGRec"),
        "all": MethodId("BIGRec, all beams"),
    }

    def __init__(
        self,
        settings: Settings,
        lm: LanguageModel,
        *,
        catalog: Catalog,
        counts: IntArray,
        item_type: str,
        index: ItemIndex | None = None,
        index_parts: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        self.lm = lm
        titles = catalog.unique_titles
        normalization = settings.generative.embedding.normalization
        self._embedder = make_embedder(lm, settings)
        self._renderer = make_renderer(lm.tokenizer, settings)
        if index is None or not index.belongs_to(
            self._embedder, titles, normalization=normalization
        ):
            index = ItemIndex.build(
                titles,
                self._embedder,
                normalization=normalization,
                previous=index,
                parts=index_parts,
                progress=progress,
            )
        self.ranker = Ranker(index, catalog.title_ids, counts=counts)
        self.counts = counts
        self._settings = settings
        self._catalog = catalog
        self._item_type = item_type
        self._prepare()

    def _prepare(self) -> None:
        """Make what reads histories, with everything else in place."""
        self._generator = make_generator(
            self.lm, self._renderer, self._catalog.unique_titles, settings=self._settings
        )

    def encode(
        self,
        histories: Sequence[IntArray],
        *,
        parts_folder: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """See `QueryEncoder`."""
        texts = compute_in_parts(
            self._write, histories, TEXTS, folder=parts_folder, progress=progress
        )
        if not all(math.isfinite(text.log_prob) for beams in texts for text in beams):
            raise ModelError(
                "the language model writes texts whose probability is NaN or 0. Run it in float32, "
                "or train it again."
            )
        return self.ranker.encode(texts, self._embedder)

    def _write(
        self, histories: Sequence[IntArray], *, progress: ProgressCallback | None = None
    ) -> list[list[GeneratedText]]:
        titles, prompts = self._catalog.titles, self._prompts(histories)
        if self._settings.generative.decoding.constraint != "unseen":
            return self._generator.generate(prompts, progress=progress)
        n_titles = self._catalog.n_titles
        seen = [{titles[item] for item in history} for history in histories]
        # A history of all titles leaves none unseen: then any may be written.
        excluded = [[] if len(of_one) == n_titles else sorted(of_one) for of_one in seen]
        return self._generator.generate(prompts, excluded=excluded, progress=progress)

    def _prompts(self, histories: Sequence[IntArray]) -> list[list[int]]:
        """Token ids of the prompt for each history."""
        titles, length = self._catalog.titles, self._settings.data.max_history_length
        return [
            self._renderer.prompt_ids([titles[item] for item in history[-length:]], self._item_type)
            for history in histories
        ]

    @property
    def title_embeddings(self) -> ItemIndex:
        """See `QueryEncoder`."""
        return self.ranker.index

    def with_catalog(
        self,
        catalog: Catalog,
        *,
        counts: IntArray,
        embedded: ItemIndex | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """See `QueryEncoder`."""
        return type(self)(
            self._settings,
            self.lm,
            catalog=catalog,
            counts=counts,
            item_type=self._item_type,
            index=self.ranker.index.joined(embedded),
            progress=progress,
        )

    def cold_item_imputer(self, known: BoolArray) -> None:
        """None: the paper's space orders titles by their last token, not by their content."""

    def save(self, folder: Path) -> None:
        """See `QueryEncoder`."""
        save_trained(self.lm, folder)
        self.ranker.index.save(folder / INDEX_FOLDER)


def retrieval_method(head: Literal["l2", "gaussian"]) -> MethodId:
    """The unfused recommender of retrieval mode in tables."""
    return MethodId(LLM_RETRIEVAL if head == "l2" else f"{LLM_RETRIEVAL}, Gaussian head")


class RetrievalQueryEncoder(_Trained):
    """Retrieval mode: the language model's state after a history is the query.

    Args:
        retriever: Trained, for the catalog.
        catalog: The items.
        counts: Occurrences of each item in the training split, ``[n]``.
        max_history_length: Number of newest items that are read of a history.
        head: Titles at the states before them, for the catalog; None ranks by the retriever's own
            vectors of titles.
    """

    def __init__(
        self,
        retriever: LLMRetriever,
        *,
        catalog: Catalog,
        counts: IntArray,
        max_history_length: int,
        head: GaussianTitles | None = None,
    ) -> None:
        self.lm = retriever.lm
        self.head = head
        self.methods: Mapping[BeamMode, MethodId] = {
            "top1": retrieval_method("l2" if head is None else "gaussian")
        }
        index = retriever.item_index()
        if head is not None:
            points = head.item_points()[head.rows[catalog.first_items]]
            index = ItemIndex(index.titles, points, fingerprint([_HEAD, retriever.fingerprint]))
        self.ranker = Ranker(index, catalog.title_ids, counts=counts)
        self._retriever = retriever
        self._max_history_length = max_history_length

    def encode(
        self,
        histories: Sequence[IntArray],
        *,
        parts_folder: Path | None = None,  # noqa: ARG002 - the protocol's; it takes no time
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """See `QueryEncoder`."""
        if self.head is None:
            newest = [history[-self._max_history_length :] for history in histories]
            vectors = self._retriever.encode(newest)
        else:
            states = RetrieverStates(self._retriever, max_history_length=self._max_history_length)
            vectors = self.head.query_points(states.after(histories))
        check_states(vectors)
        encoded = EncodedQueries.from_vectors(vectors)
        if progress is not None:
            progress(len(histories), len(histories))
        return encoded

    @property
    def title_embeddings(self) -> ItemIndex:
        """See `QueryEncoder`."""
        return self._retriever.index

    def with_catalog(
        self,
        catalog: Catalog,
        *,
        counts: IntArray,
        embedded: ItemIndex | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """See `QueryEncoder`."""
        retriever = self._retriever.with_catalog(catalog, embedded=embedded, progress=progress)
        head = self.head
        if head is not None:
            head = head.with_titles(catalog.titles, embed=title_vectors(retriever))
        return type(self)(
            retriever,
            catalog=catalog,
            counts=counts,
            max_history_length=self._max_history_length,
            head=head,
        )

    def cold_item_imputer(self, known: BoolArray) -> ColdItemImputer:
        """See `QueryEncoder`."""
        return self._retriever.cold_item_imputer(known)

    def save(self, folder: Path) -> None:
        """See `QueryEncoder`."""
        self._retriever.save(folder / RETRIEVER_FOLDER)
        self._retriever.index.save(folder / INDEX_FOLDER)
        if self.head is not None:
            write_model_folder(
                folder / _HEAD,
                _HEAD_KIND,
                settings=self.head.to_settings(),
                arrays=self.head.to_arrays(),
            )


def load_head(folder: Path, retriever: LLMRetriever) -> GaussianTitles:
    """Read the head that `RetrievalQueryEncoder.save` wrote into a bundle's folder.

    Args:
        folder: The bundle.
        retriever: The bundle's.

    Raises:
        BundleError: If a file is missing, damaged or of another version.
    """
    stored, arrays = read_model_folder(folder / _HEAD, _HEAD_KIND, StoredGaussian)
    head = GaussianTitles.from_stored(folder / _HEAD, stored, arrays)
    dim = retriever.dim
    if {head.statistics.dim, head.vectors.shape[1]} != {dim}:
        raise unusable(
            folder / _HEAD,
            f"its states have {head.statistics.dim} dimensions and the retriever's {dim}",
        )
    return head
