"""Direct grounding: from a history to a point among the titles, without a text in between.

Step 1 teaches the language model where the next title lies instead of how it is written, on every
title of a sequence at once and against the whole catalog; step 2 is as ever: all items, ranked by
their distance. A prompt of a hundred tokens becomes one of ten, and nothing is decoded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.nn import functional

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError
from bigrec.grounding.cold_items import Likes
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranks import check_range
from bigrec.lm.adapter import attach_adapter
from bigrec.lm.hardware import attention_by_products
from bigrec.lm.model import LanguageModel
from bigrec.models.base import load_signal, save_signal, training_rows
from bigrec.models.llm.features import TitleFeatures
from bigrec.models.llm.network import DirectNetwork
from bigrec.models.neural.arguments import Recipe, usual_negatives
from bigrec.models.neural.checkpoint import as_arrays, as_tensors
from bigrec.models.neural.dataset import Lessons as Sequences
from bigrec.models.neural.inference import answers
from bigrec.models.neural.trainer import train_network
from bigrec.models.registry import Lessons
from bigrec.models.scaling import minmax
from bigrec.storage import fingerprint
from bigrec.types import BoolArray, FloatArray, IntArray, Progress

DIRECT = "BIGRec, direct"
"""What direct grounding is called in tables."""

_KIND = "direct grounding"
_SHAPE = (
    "rank",
    "alpha",
    "target_modules",
    "max_length",
    "title_size",
    "size",
    "hidden_size",
    "id_dropout",
)
_KNOWN = "known"
# Of an epoch, and targets in each, unless the caller says otherwise.
_STEPS = 100
_BATCH_SIZES = (128, 768)


@dataclass(frozen=True, eq=False)
class DirectGrounder:
    """Points at the next title; as a signal, the language model's own scores of all items.

    Attributes:
        lm: The language model with its trained adapter.
        network: What was trained, the adapter's weights among it.
        index: Features of the catalog's titles.
        group: Group number of every item, ``[n]``.
        known: Which titles occurred in what was learned from, ``[g]``.
        log: ``epoch``, ``loss`` and ``ndcg@10`` (validation) of every epoch; none once loaded.
    """

    lm: LanguageModel = field(repr=False)
    network: DirectNetwork = field(repr=False)
    index: ItemIndex
    group: IntArray = field(repr=False)
    known: BoolArray = field(repr=False)
    _settings: Mapping[str, Any] = field(repr=False)
    log: Sequence[Mapping[str, float]] = field(default=(), repr=False)

    @classmethod
    def fit(
        cls,
        lm: LanguageModel,
        index: ItemIndex,
        lessons: Lessons,
        *,
        group: IntArray,
        rank: int = 16,
        alpha: int = 32,
        lora_dropout: float = 0.0,
        target_modules: Sequence[str] | str | None = "all-linear",
        max_length: int = 50,
        title_size: int = 512,
        size: int = 256,
        hidden_size: int = 1024,
        item_dropout: float = 0.2,
        input_dropout: float = 0.1,
        id_dropout: float = 0.2,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        batch_size: int | None = None,
        epochs: int = 5,
        patience: int = 2,
        seed: int = 0,
        folder: Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Teach a language model to point at the next title.

        Args:
            lm: The base model; it carries the adapter afterwards.
            index: Features of the catalog's titles, made by `TitleFeatures` of this base model.
            lessons: Interactions to learn from, and examples whose NDCG@10 chooses the epoch.
            group: Group number of every item, ``[n]``.
            rank: LoRA rank.
            alpha: LoRA scale, applied as ``alpha / rank``.
            lora_dropout: LoRA dropout, in [0, 1).
            target_modules: Modules that get an adapter: names, ``"all-linear"``, or None for
                peft's choice for the architecture.
            max_length: Most items of a history that are read, the newest ones.
            title_size: Of the part of a point in which like titles are near each other.
            size: Of the part that is learned.
            hidden_size: Of the layer between a title's features and the part that is learned.
            item_dropout: Share of an item's features left out in training, in [0, 1).
            input_dropout: Share of what comes in left out in training, in [0, 1).
            id_dropout: Share of titles whose own vector is left out in training, in [0, 1]; at 1
                they have none, and are what their features say.
            learning_rate: Of AdamW, at the top of a cosine.
            weight_decay: Of AdamW.
            batch_size: Targets of an optimizer step, about; None takes a hundredth of all, from 128
                to 768.
            epochs: Passes over the interactions, at most.
            patience: Epochs without a better validation NDCG@10 after which training stops.
            seed: Decides initial weights, order, cuts and dropout.
            folder: Where a checkpoint is kept after every epoch. A call with the same arguments
                goes on from there.
            progress: Called with (targets learned, targets to learn in all epochs).

        Raises:
            DataError: If no user has two interactions to learn from.
            ModelError: If the target modules do not exist in the model.
            ValueError: If an argument is out of range.
            StorageError: If the folder cannot be written.
            KeyboardInterrupt: On Ctrl-C; call again with the same folder to go on.
        """
        index.check(TitleFeatures(lm), index.titles, space="raw")
        settings = {
            "rank": rank,
            "alpha": alpha,
            "target_modules": target_modules,
            "max_length": max_length,
            "title_size": title_size,
            "size": size,
            "hidden_size": hidden_size,
            "id_dropout": id_dropout,
        }
        users, items = training_rows(lessons.interactions, lessons.train, n_items=len(group))
        sequences = Sequences.of(
            users,
            group[items],
            histories=[group[history] for history in lessons.valid_histories],
            targets=group[lessons.valid_targets],
            n_items=len(index.titles),
            length=max_length,
        )
        recipe = Recipe(
            learning_rate=learning_rate,
            schedule="cosine",
            weight_decay=weight_decay,
            batch_size=batch_size or int(np.clip(len(items) // _STEPS, *_BATCH_SIZES)),
            epochs=epochs,
            patience=patience,
            n_negatives=usual_negatives(len(index.titles)),
            robust_weight=0.0,
            robust_temperature=1.0,
            seed=seed,
        )
        dropouts = {
            "lora_dropout": lora_dropout,
            "item_dropout": item_dropout,
            "input_dropout": input_dropout,
        }
        network = _network(lm, index, settings, seed=seed, **dropouts)
        with attention_by_products(lm.base, longest=max_length):
            log = train_network(network, sequences, recipe, folder=folder, progress=progress)
        known = np.bincount(group[items], minlength=len(index.titles)) > 0
        return cls(lm, network, index, group, known, settings, log)

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return DIRECT

    @property
    def n_items(self) -> int:
        """Items that are scored, ``n``."""
        return len(self.group)

    @property
    def fingerprint(self) -> str:
        """Changes with the base model and anything that was trained."""
        weights = {
            name: float(weight.double().abs().sum())
            for name, weight in self.network.state_dict().items()
        }
        return fingerprint([self.index.embedder_fingerprint, weights])

    def points(self, histories: Sequence[IntArray]) -> FloatArray:
        """Where the next title is expected.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, d]`` float32 of length 1; zeros for an empty history, as far from all titles.

        Raises:
            ValueError: If an item number is out of range.
        """
        return answers(
            self.network,
            [self._groups(np.asarray(history)) for history in histories],
            give=lambda states: functional.normalize(states, dim=-1),
            width=self._settings["title_size"] + self._settings["size"],
        )

    def item_index(self) -> ItemIndex:
        """The catalog's titles where they lie among the points."""
        return ItemIndex(self.index.titles, self._vectors, self.fingerprint)

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores of all items: cosines of their titles to the points, ``[q, n]`` in [-1, 1]."""
        cosines: FloatArray = self.points(histories) @ self._vectors.T
        return cosines[:, self.group]

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights for the injection: the scores of every query scaled to [0, 1], ``[q, n]``."""
        return minmax(self.scores(histories))

    def likes(self, known: BoolArray) -> Likes:
        """The known titles most like each unknown one, by the part of titles, ``[g]``."""
        if np.array_equal(known, self.known):
            return self._likes
        return Likes.of(self._learned_vectors[:, : self._settings["title_size"]], known)

    def with_catalog(self, catalog: Catalog, *, progress: Progress | None = None) -> Self:
        """The same for another catalog: only the features of new titles are made.

        Args:
            catalog: The items from now on.
            progress: Called with (titles read, titles to read).
        """
        index = self.index.updated(catalog.group_titles, TitleFeatures(self.lm), progress=progress)
        rows = np.array([self.index.rows.get(title, -1) for title in index.titles])
        network = self.network.with_features(
            torch.from_numpy(index.embeddings.copy()), torch.from_numpy(rows)
        )
        known = (rows >= 0) & self.known[rows]
        return replace(self, network=network, index=index, group=catalog.group, known=known)

    def save(self, folder: Path) -> None:
        """Write what was trained to a folder of its own, whole or not at all.

        The features of the catalog's titles are an index of their own; save ``index`` too.

        Raises:
            StorageError: If the folder cannot be written.
        """
        arrays = {**as_arrays(self.network.state_dict()), _KNOWN: self.known}
        save_signal(folder, _KIND, settings=self._settings, arrays=arrays)

    @classmethod
    def load(cls, folder: Path, *, lm: LanguageModel, index: ItemIndex, group: IntArray) -> Self:
        """Read what ``save`` wrote.

        Args:
            folder: The folder.
            lm: The base model; it carries the adapter afterwards.
            index: Features of the catalog's titles.
            group: Group number of every item, ``[n]``.

        Raises:
            BundleError: If a file is missing, damaged, of another version, or of another base
                model.
        """
        settings, arrays = load_signal(folder, _KIND, settings=_SHAPE, arrays=[_KNOWN])
        known = arrays.pop(_KNOWN)
        dropouts = {"lora_dropout": 0.0, "item_dropout": 0.0, "input_dropout": 0.0}
        network = _network(lm, index, settings, seed=0, **dropouts)
        try:
            network.load_state_dict(as_tensors(arrays))
        except RuntimeError as error:
            raise BundleError(
                f"{folder} cannot be used: its weights do not fit base model {lm.source.name!r} "
                f"({error}). Use the model it was trained with, or train again."
            ) from error
        # Once more, by the mean and deviation that were loaded.
        features = torch.from_numpy(index.embeddings.copy())
        network = network.with_features(features, torch.arange(len(features)))
        return cls(lm, network.eval(), index, group, known, settings)

    @cached_property
    def _learned_vectors(self) -> FloatArray:
        with torch.inference_mode():
            vectors: FloatArray = self.network.vectors().cpu().numpy()
        return vectors

    @cached_property
    def _likes(self) -> Likes:
        """For the titles that were not learned from, which are mostly those that signals lack."""
        return Likes.of(self._learned_vectors[:, : self._settings["title_size"]], self.known)

    @cached_property
    def _vectors(self) -> FloatArray:
        title_size = self._settings["title_size"]
        found = _taken_over(self._learned_vectors, self._likes, title_size=title_size)
        # Two parts of length 1 each.
        return np.asarray(found / np.float32(2**0.5))

    def _groups(self, history: IntArray) -> IntArray:
        real = history[history != -1]
        check_range(real, len(self.group), name="a history")
        groups: IntArray = self.group[real]
        return groups


def _taken_over(vectors: FloatArray, likes: Likes, *, title_size: int) -> FloatArray:
    """Points in which titles that were not learned from take over what their likes learned.

    To training such a title was only ever a wrong answer, which says nothing about it: its learned
    part becomes that of the known titles nearest in the part of titles, the nearer the more.

    Args:
        vectors: ``[g, d]``, each of the two parts of length 1.
        likes: By the part of titles, for those that were not learned from.
        title_size: Size of the first part.
    """
    found = vectors.copy()
    mixed = likes.mixed(vectors[:, title_size:].T).T
    found[likes.unknown, title_size:] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return found


def _network(
    lm: LanguageModel,
    index: ItemIndex,
    settings: Mapping[str, Any],
    *,
    seed: int,
    lora_dropout: float,
    item_dropout: float,
    input_dropout: float,
) -> DirectNetwork:
    """A network with an untrained adapter and projections, drawn from the seed."""
    # On the CPU's generator, so that every device starts from the same weights.
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        attach_adapter(
            lm,
            rank=settings["rank"],
            alpha=settings["alpha"],
            dropout=lora_dropout,
            target_modules=settings["target_modules"],
        )
        return DirectNetwork(
            lm,
            torch.from_numpy(index.embeddings.copy()),
            max_length=settings["max_length"],
            title_size=settings["title_size"],
            size=settings["size"],
            hidden_size=settings["hidden_size"],
            dropout=item_dropout,
            input_dropout=input_dropout,
            id_dropout=settings["id_dropout"],
        )
