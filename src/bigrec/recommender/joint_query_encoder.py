"""Generative mode that writes titles and reads the state before them: both rank, in one space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.evaluation.method import MethodId
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.models.base import StoredSettings, read_model_folder, write_model_folder
from bigrec.recommender.latent_query_encoder import LatentQueryEncoder
from bigrec.recommender.query_encoders import GenerativeQueryEncoder
from bigrec.storage import fingerprint
from bigrec.types import BoolArray, FloatArray, IntArray, ProgressCallback

_JOINT = "joint"
_Factor = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class StoredFactors(StoredSettings):
    """What `JointQueryEncoder.save` stores of `Factors`."""

    texts: _Factor
    states: _Factor


@dataclass(frozen=True)
class Factors:
    """Factors of the two spaces' distances, at least 0.

    Attributes:
        texts: Of the distance to a generated text.
        states: Of the distance to the state.
    """

    texts: float
    states: float


class JointQueryEncoder:
    """Ranks by the distances to generated texts and to the state, squared, weighted and added.

    A squared distance is, but for its sign and a constant, the log-density of a Gaussian, so that
    the sum is that of the product of both. It is the squared distance between vectors of both
    spaces side by side: what ranks, searches and fuses vectors works on them.

    Args:
        texts: Writes titles.
        states: Reads the state before them, of the same language model and catalog.
        factors: Of the two distances.
    """

    methods: Mapping[BeamMode, MethodId] = {
        "top1": MethodId("BIGRec, both"),
        "all": MethodId("BIGRec, both, all beams"),
    }

    def __init__(
        self, texts: GenerativeQueryEncoder, states: LatentQueryEncoder, factors: Factors
    ) -> None:
        self.lm = texts.lm
        self.texts = texts
        self.states = states
        self.factors = factors
        ours, theirs = texts.ranker.index, states.ranker.index
        points = self._side_by_side(_points(ours, ours.embeddings), theirs.embeddings)
        key = fingerprint([ours.embedder_fingerprint, theirs.embedder_fingerprint])
        self.ranker = Ranker(
            ItemIndex(ours.titles, points, key), texts.ranker.title_ids, counts=texts.counts
        )

    def encode(
        self,
        histories: Sequence[IntArray],
        *,
        parts_folder: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """See `QueryEncoder`."""
        written = self.texts.encode(histories, parts_folder=parts_folder, progress=progress)
        return self.join(written, self.states.encode(histories, parts_folder=parts_folder))

    def join(self, written: EncodedQueries, states: EncodedQueries) -> EncodedQueries:
        """Queries of both encoders as queries of this one."""
        points = _points(self.texts.ranker.index, written.vectors)[written.vector_rows]
        query_of_beam = np.repeat(np.arange(len(written)), np.diff(written.offsets))
        vectors = self._side_by_side(points, states.vectors[query_of_beam])
        return replace(written, vectors=vectors, vector_rows=np.arange(len(vectors)))

    @property
    def state_encoder(self) -> LatentQueryEncoder:
        """See `QueryEncoder`."""
        return self.states

    def squared_distances(self, query: FloatArray) -> FloatArray:
        """See `QueryEncoder`."""
        width = self.texts.ranker.index.embeddings.shape[1]
        squared = (self.ranker.index.embeddings.astype(np.float64) - query) ** 2
        return np.stack([squared[:, :width].sum(axis=1), squared[:, width:].sum(axis=1)])

    @property
    def title_embeddings(self) -> ItemIndex:
        """See `QueryEncoder`. Those of both encoders side by side."""
        ours, theirs = self.texts.title_embeddings, self.states.title_embeddings
        return ItemIndex(
            ours.titles, np.hstack([ours.embeddings, theirs.embeddings]), _embedding_key(self)
        )

    def with_catalog(
        self,
        catalog: Catalog,
        *,
        counts: IntArray,
        embedded: ItemIndex | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """See `QueryEncoder`."""
        of_texts = of_states = None
        if embedded is not None and embedded.embedder_fingerprint == _embedding_key(self):
            ours, theirs = self.texts.title_embeddings, self.states.title_embeddings
            width = ours.embeddings.shape[1]
            left, right = embedded.embeddings[:, :width], embedded.embeddings[:, width:]
            of_texts = replace(ours, titles=embedded.titles, embeddings=left)
            of_states = replace(theirs, titles=embedded.titles, embeddings=right)
        options: dict[str, Any] = {"counts": counts, "progress": progress}
        return type(self)(
            self.texts.with_catalog(catalog, embedded=of_texts, **options),
            self.states.with_catalog(catalog, embedded=of_states, **options),
            self.factors,
        )

    def cold_item_imputer(self, known: BoolArray) -> ColdItemImputer:
        """See `QueryEncoder`."""
        return self.states.cold_item_imputer(known)

    def updated(self, interactions: Interactions) -> Self:
        """See `QueryEncoder`. The language model stays as it is."""
        return type(self)(self.texts, self.states.updated(interactions), self.factors)

    def save(self, folder: Path) -> None:
        """See `QueryEncoder`."""
        self.texts.save(folder)
        self.states.save_states(folder)
        values = {"texts": self.factors.texts, "states": self.factors.states}
        write_model_folder(folder / _JOINT, _JOINT, settings=values, arrays={})

    @classmethod
    def load(cls, folder: Path, texts: GenerativeQueryEncoder, states: LatentQueryEncoder) -> Self:
        """Read what `save` wrote into a bundle's folder, but for the two encoders.

        Raises:
            BundleError: If a file is missing, damaged or of another version.
        """
        stored, _ = read_model_folder(folder / _JOINT, _JOINT, StoredFactors)
        return cls(texts, states, Factors(stored.texts, stored.states))

    def _side_by_side(self, texts: FloatArray, states: FloatArray) -> FloatArray:
        """Points of both spaces as vectors of the joint one, ``[m, d]`` float32."""
        factors = self.factors
        joint = np.hstack([factors.texts * texts, factors.states * states])
        return joint.astype(np.float32)


def _points(index: ItemIndex, embeddings: FloatArray) -> FloatArray:
    """Raw embeddings as points of an index's space."""
    return index.scannable(embeddings)[1]


def _embedding_key(encoder: JointQueryEncoder) -> str:
    parts = (encoder.texts.title_embeddings, encoder.states.title_embeddings)
    return fingerprint([part.embedder_fingerprint for part in parts])
