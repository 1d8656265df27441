"""LLM retrieval: a language model encodes a history as a vector, and items are ranked by distance.

Step 1 of BIGRec trains the language model to predict the next title's vector instead of its text,
at every position of a sequence and against the whole catalog. Step 2 ranks all items by distance,
as in generative mode. A title is one token of the input, and no text is generated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional

from bigrec.data.catalog import Catalog
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.index import ItemIndex
from bigrec.lm.distributed import all_processes
from bigrec.lm.hardware import attention_by_products
from bigrec.lm.model import LanguageModel
from bigrec.lm.trackers import reporting
from bigrec.models.base import (
    HistoryScorer,
    StoredSettings,
    check_model_arrays,
    history_rows,
    read_model_folder,
    training_rows,
    write_model_folder,
)
from bigrec.models.llm.arguments import training_arguments
from bigrec.models.llm.catalogs import ExtraCatalog, extra_sources
from bigrec.models.llm.features import ItemTextFeatures, title_features
from bigrec.models.llm.network import TwoTowerNetwork, build_network
from bigrec.models.neural.checkpoint import as_arrays, as_tensors
from bigrec.models.neural.dataset import SequenceDataset
from bigrec.models.neural.inference import encode_histories
from bigrec.models.neural.trainer import selected_epoch, train_network
from bigrec.models.registry import TrainingData
from bigrec.settings.sections import ModuleName, PositiveInt, RetrievalSettings
from bigrec.storage import fingerprint
from bigrec.storage.arrays import Arrays, Expected, unusable
from bigrec.types import BoolArray, FloatArray, IntArray, ProgressCallback, TextEmbedder

LLM_RETRIEVAL = "LLM retrieval"
"""Name of the model in tables."""

_STORED_SETTINGS = (
    "lora_r",
    "lora_alpha",
    "target_modules",
    "max_length",
    "content_dim",
    "embedding_dim",
    "projection_dim",
    "id_embedding_dropout",
)
_KNOWN = "known"


@dataclass(frozen=True, eq=False)
class LLMRetriever(HistoryScorer):
    """Scores items by the cosine of their vector to the encoded history.

    Attributes:
        lm: The language model with its trained adapter.
        network: The trained network, the adapter's weights included.
        index: Text features of the catalog's titles.
        title_ids: Title id of every item, ``[n]``.
        known: Whether each title has training interactions, ``[t]``.
        log: ``epoch``, ``loss`` and ``ndcg@10`` (validation) of every epoch, epoch 0 being the
            untrained network; empty once loaded.
    """

    kind: ClassVar[str] = "LLM retriever"
    knows_cold_items: ClassVar[bool] = True

    lm: LanguageModel = field(repr=False)
    network: TwoTowerNetwork = field(repr=False)
    index: ItemIndex
    title_ids: IntArray = field(repr=False)
    known: BoolArray = field(repr=False)
    _settings: Mapping[str, Any] = field(repr=False)
    log: Sequence[Mapping[str, float]] = field(default=(), repr=False)

    @classmethod
    def fit(
        cls,
        lm: LanguageModel,
        index: ItemIndex,
        training_data: TrainingData,
        settings: RetrievalSettings,
        *,
        title_ids: IntArray,
        seed: int,
        extra_catalogs: Sequence[ExtraCatalog] = (),
        text_features: TextEmbedder | None = None,
        stop_after: int | None = None,
        folder: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """Fine-tune a language model to encode histories.

        Args:
            lm: The base model, already truncated; it carries the adapter afterwards.
            index: Text features of the catalog's titles, made by ``text_features``.
            training_data: Training interactions, and validation queries for early stopping.
            settings: Hyperparameters. ``train_on`` and ``truncate_layers`` are not read: they
                decide ``training_data`` and ``lm``.
            title_ids: Title id of every item, ``[n]``.
            seed: Seed of initial weights, order, cuts and dropout.
            extra_catalogs: Further catalogs that the weights are trained on too, all but the ID
                embeddings, which each catalog has for itself. A sequence is scored among the titles
                of its catalog. Their text features are made by ``text_features``.
            text_features: None is `ItemTextFeatures` of ``lm``. A retriever with others than
                `title_features` is for an experiment: it cannot be saved, and new titles cannot be
                added.
            stop_after: Train exactly so many epochs, without early stopping.
            folder: Folder for a checkpoint after every epoch, and for the files of trackers. A
                call with the same arguments is resumed from it. None keeps no checkpoint, and
                trackers write where the program runs.
            progress: Called with (targets done, targets in all epochs).

        All processes of a run train together and call this with the same arguments.

        Raises:
            DataError: If no user of a catalog has two training interactions.
            ModelError: If the target modules do not exist in the model, or training diverges.
            SettingsError: If a tracker of ``report_to`` is not installed or cannot be started.
            StaleIndexError: If the index was made with another model.
            StorageError: If the folder cannot be written.
            KeyboardInterrupt: On Ctrl-C; call again with the same folder to resume.
        """
        for each in (index, *(catalog.index for catalog in extra_catalogs)):
            each.check(text_features or ItemTextFeatures(lm), each.titles, normalization="none")
        users, items = training_rows(
            training_data.interactions, training_data.train, n_items=len(title_ids)
        )
        titles = title_ids[items]
        dataset = SequenceDataset.build(
            users,
            titles,
            histories=[title_ids[history] for history in training_data.valid_histories],
            targets=title_ids[training_data.valid_targets],
            n_items=len(index.titles),
            max_length=settings.max_length,
        )
        stored = settings.model_dump(include=set(_STORED_SETTINGS))
        network = build_network(
            lm,
            _features(index),
            stored,
            seed=seed,
            lora_dropout=settings.lora_dropout,
            feature_dropout=settings.feature_dropout,
            embedding_dropout=settings.embedding_dropout,
        )
        sources = extra_sources(network, extra_catalogs, seed=seed)
        arguments = training_arguments(
            settings,
            n_rows=len(items) + sum(len(source.items) for source in sources),
            n_titles=len(index.titles),
            exclude_seen=training_data.exclude_seen,
            seed=seed,
        )
        known = np.bincount(titles, minlength=len(index.titles)) > 0
        # Before training, so that early stopping judges the vectors that are served.
        network.set_known(known)
        configuration = settings.model_dump(mode="json", exclude={"report_to"})
        with (
            attention_by_products(lm.base, longest=settings.max_length),
            reporting(
                settings.report_to, folder=folder or Path(), configuration=configuration
            ) as report,
        ):
            log = train_network(
                network,
                dataset,
                arguments,
                extra_sources=sources,
                stop_after=stop_after,
                folder=folder,
                processes=all_processes(),
                report=report,
                progress=progress,
            )
        return cls(lm, network, index, title_ids, known, stored, log)

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return LLM_RETRIEVAL

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return len(self.title_ids)

    @property
    def dim(self) -> int:
        """Dimensions of a vector, ``d``."""
        return int(self._settings["content_dim"] + self._settings["embedding_dim"])

    @property
    def selected_epoch(self) -> int | None:
        """Epoch of the weights, selected on validation; None once loaded and for a fixed number."""
        return selected_epoch(self.log)

    @property
    def fingerprint(self) -> str:
        """Changes with the base model and all trained weights."""
        weights = {
            name: float(weight.cpu().double().abs().sum())
            for name, weight in self.network.state_dict().items()
        }
        return fingerprint([self.index.embedder_fingerprint, weights])

    def encode(self, histories: Sequence[IntArray]) -> FloatArray:
        """Encode histories as query vectors.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, d]`` float32 of length 1; zeros for an empty history, at the same distance from
            all titles.

        Raises:
            ValueError: If an item number is out of range.
        """
        starts, items, _ = history_rows(histories, n_items=self.n_items)
        return encode_histories(
            self.network,
            np.split(self.title_ids[items], starts[1:])[:-1],
            transform=lambda states: functional.normalize(states, dim=-1),
            output_dim=self.dim,
        )

    def item_index(self) -> ItemIndex:
        """The vectors of the catalog's titles, in the space of the query vectors."""
        return ItemIndex(self.index.titles, self._title_vectors, self.fingerprint)

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items: cosines of their titles' vectors to the query vectors.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32 in [-1, 1], higher is better; all 0 for an empty history.

        Raises:
            ValueError: If an item number is out of range.
        """
        cosines: FloatArray = self.encode(histories) @ self._title_vectors.T
        return cosines[:, self.title_ids]

    def cold_item_imputer(self, known: BoolArray) -> ColdItemImputer:
        """An imputer that finds nearest neighbors in the content part of the titles' vectors.

        Args:
            known: Whether each title has scores, ``[t]``.
        """
        if np.array_equal(known, self.known):
            return self.network.imputer
        return ColdItemImputer.fit(self.network.content.cpu().numpy(), known)

    def with_catalog(
        self,
        catalog: Catalog,
        *,
        embedded: ItemIndex | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """The same retriever for another catalog. Only new titles are embedded.

        The result knows nothing of titles that the other catalog lacks. Ask the fitted retriever
        for each catalog, so that a title that returns scores as before.

        Args:
            catalog: The other catalog.
            embedded: Text features of more titles, which are not embedded again.
            progress: Called with (titles embedded, titles to embed).
        """
        index = self.index.joined(embedded).updated(
            catalog.unique_titles,
            title_features(self.lm, catalog),
            progress=progress,
        )
        rows = np.array([self.index.rows.get(title, -1) for title in index.titles])
        network = self.network.with_features(_features(index), torch.from_numpy(rows))
        known = (rows >= 0) & self.known[rows]
        network.set_known(known)
        return replace(self, network=network, index=index, title_ids=catalog.title_ids, known=known)

    def save(self, folder: Path) -> None:
        """Write the trained weights to a folder, completely or not at all.

        The text features are not included: save ``index`` too.

        Raises:
            StorageError: If the folder cannot be written.
        """
        arrays = {**as_arrays(self.network.state_dict()), _KNOWN: self.known}
        write_model_folder(folder, self.kind, settings=self._settings, arrays=arrays)

    @classmethod
    def load(
        cls, folder: Path, *, lm: LanguageModel, index: ItemIndex, title_ids: IntArray
    ) -> Self:
        """Read a model that ``save`` wrote.

        Args:
            folder: The folder.
            lm: The base model, already truncated; it carries the adapter afterwards.
            index: Text features of the catalog's titles.
            title_ids: Title id of every item, ``[n]``.

        Raises:
            BundleError: If a file is missing, damaged, of another version or kind, or of another
                base model.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        stored = settings.model_dump()
        features = _features(index)
        _check_sizes(folder, arrays, settings, lm, n_features=features.shape[1])
        network = build_network(lm, features, stored, seed=0)
        expected = {
            name: Expected(tuple(weight.shape)) for name, weight in network.state_dict().items()
        }
        expected[_KNOWN] = Expected((len(features),), dtypes=("bool",))
        check_model_arrays(folder, arrays, expected)
        known = arrays.pop(_KNOWN)
        network.load_state_dict(as_tensors(arrays))
        # The features are standardized anew, with the loaded statistics.
        network = network.with_features(features, torch.arange(len(features)))
        network.set_known(known)
        return cls(lm, network.eval(), index, title_ids, known, stored)

    @cached_property
    def _title_vectors(self) -> FloatArray:
        """Vectors of the titles, ``[t, d]`` of length 1, with those of cold titles imputed."""
        with torch.inference_mode():
            vectors: FloatArray = self.network.item_vectors().cpu().numpy()
        # Two parts of length 1 each.
        return np.asarray(vectors / np.float32(2**0.5))


class _Stored(StoredSettings):
    lora_r: PositiveInt
    lora_alpha: PositiveInt
    # Other texts are patterns, which can take forever to match.
    target_modules: list[ModuleName] | ModuleName | None
    max_length: PositiveInt
    content_dim: PositiveInt
    embedding_dim: PositiveInt
    projection_dim: PositiveInt
    id_embedding_dropout: Annotated[float, Field(ge=0, le=1)]


def _check_sizes(
    folder: Path, arrays: Arrays, settings: _Stored, lm: LanguageModel, *, n_features: int
) -> None:
    """Compare the sizes that settings say with those of the arrays, before memory is taken.

    Raises:
        BundleError: If they differ.
    """
    width = lm.base.get_input_embeddings().weight.shape[1]
    expected = {
        "whitening": Expected((n_features, settings.content_dim)),
        "query_projection.weight": Expected((settings.embedding_dim, width)),
        "item_tower.1.weight": Expected((settings.projection_dim, n_features)),
    }
    adapters = [name for name in arrays if "lora_A" in name and arrays[name].size]
    expected |= {name: Expected((settings.lora_r, f"inputs of {name}")) for name in adapters[:1]}
    if not adapters:
        raise unusable(folder, "it has no adapter")
    sized = {name: arrays[name] for name in expected if name in arrays}
    check_model_arrays(folder, sized, expected)


def _features(index: ItemIndex) -> torch.Tensor:
    return torch.from_numpy(index.embeddings.copy())
