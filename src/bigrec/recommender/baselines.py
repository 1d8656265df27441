"""Baselines and signals of a dataset: fitted once, with tuned hyperparameters if asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bigrec.data.dataset import Dataset
from bigrec.evaluation.method import MethodId
from bigrec.grounding.index import ItemIndex
from bigrec.models.base import ScoringModel
from bigrec.models.registry import GAUSSIAN, TEXT_KNN, TF_IDF, TrainingData, fit_model, is_network
from bigrec.models.text.vectors import TitleEmbedder
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.title_index import kept_index
from bigrec.recommender.training_data import (
    PreparedData,
    all_training_data,
    few_shot_training_data,
    prepare_windows,
)
from bigrec.recommender.tuning import TunedModel, can_tune, tune_model
from bigrec.settings import Settings
from bigrec.settings.baselines import BaselineSettings
from bigrec.storage import fingerprint
from bigrec.types import FloatArray, ProgressFactory

TITLE_VECTORS = "titles"
"""Holds the index of the titles' vectors, in the folder of baselines."""


@dataclass(frozen=True)
class _Choice:
    """What was selected for a model on validation.

    Attributes:
        settings: Hyperparameters.
        epochs: Epochs of a network; None for other models.
    """

    settings: BaselineSettings
    epochs: int | None


class BaselineFitter:
    """Fits models of a dataset by their names.

    Args:
        dataset: The interactions and the catalog.
        prepared: Its examples.
        settings: Hyperparameters, seed and device.
        title_encoder: Embeds titles for text models.
        folder: Holds a folder for each network and each tuning; none is run twice.
        progress_factory: Called with the name of each long step; gives its progress callback.
        selected: The fitter on the training part alone, whose hyperparameters and epochs are taken
            over; None selects them.

    Attributes:
        tuned: Selected hyperparameters by the model's label, of the models fitted so far.
    """

    def __init__(
        self,
        dataset: Dataset,
        prepared: PreparedData,
        settings: Settings,
        *,
        title_encoder: TitleEncoder,
        folder: Path,
        progress_factory: ProgressFactory,
        selected: "BaselineFitter | None" = None,
    ) -> None:
        self.tuned: dict[str, TunedModel] = {}
        self._choices: dict[str, _Choice] = {}
        self._selected = selected
        self._dataset = dataset
        self._prepared = prepared
        self._settings = settings
        self._title_embedder = TitleEmbedder(title_encoder, dataset.catalog)
        self._folder = folder
        self._progress_factory = progress_factory

    def fit(self, name: str, *, few_shot: bool = False) -> ScoringModel:
        """Fit a model.

        Args:
            name: As in `bigrec.models.registry.NAMES`.
            few_shot: Fit it to the few shots instead of all training interactions.

        Raises:
            SettingsError: If there is no such model.
            DataError: If it cannot be fitted to these interactions.
            ModelError: If the sentence encoder of text models cannot be loaded.
        """
        method = MethodId(name, training_data="few-shot" if few_shot else "all")
        label = method.label
        data = self._data(self._prepared, few_shot=few_shot)
        folder = self._folder / method.folder_name
        if few_shot:
            # Other examples leave what is fitted to all data where it is.
            folder = folder / _examples_digest(data)
        if self._selected is not None:
            choice = self._selected.choice(name, few_shot=few_shot)
            return self._fit(name, label, data, choice.settings, folder, stop_after=choice.epochs)
        settings = self._settings.baselines
        if name in (TEXT_KNN, GAUSSIAN):
            folder = folder / self._title_embedder.fingerprint[:8]
        elif name == TF_IDF and self._dataset.catalog.text_columns:
            folder = folder / fingerprint(self._dataset.catalog.text_columns)[:8]
        if can_tune(name) and self._tunes(name):
            tuned = self._tune(name, label, settings, few_shot=few_shot, folder=folder / "tuning")
            self.tuned[label] = tuned
            settings = tuned.apply(settings)
            # A network that is trained to its end there is read, not trained again.
            folder = tuned.folder
        model = self._fit(name, label, data, settings, folder)
        self._choices[label] = _Choice(settings, model.selected_epoch)
        return model

    def choice(self, name: str, *, few_shot: bool) -> "_Choice":
        """What was selected for a model, which is fitted if it is not yet."""
        label = MethodId(name, training_data="few-shot" if few_shot else "all").label
        if label not in self._choices:
            self.fit(name, few_shot=few_shot)
        return self._choices[label]

    @cached_property
    def windows(self) -> list[PreparedData]:
        """The validation windows of ``baselines.windows``, oldest first."""
        return [*prepare_windows(self._dataset, self._settings), self._prepared]

    def fit_before(self, window: PreparedData, name: str) -> ScoringModel:
        """Fit a closed-form model, with its hyperparameters, to all that is before a window."""
        settings = self.choice(name, few_shot=False).settings
        return self._fit(name, name, self._data(window, few_shot=False), settings, self._folder)

    def fit_candidate(self, name: str, *, folder: Path) -> ScoringModel:
        """Fit a model on all data with the settings' hyperparameters as they are.

        Args:
            name: As in `bigrec.models.registry.NAMES`.
            folder: Folder for checkpoints of networks.
        """
        data = self._data(self._prepared, few_shot=False)
        return self._fit(name, name, data, self._settings.baselines, folder)

    def _tune(
        self, name: str, label: str, settings: BaselineSettings, *, few_shot: bool, folder: Path
    ) -> TunedModel:
        # A network is trained for the last window alone: one for each would take hours.
        windows = self.windows[-1:] if is_network(name) else self.windows

        def fit(candidate: BaselineSettings, place: Path, window: int) -> ScoringModel:
            data = self._data(windows[window], few_shot=few_shot)
            return self._fit(name, label, data, candidate, place)

        return tune_model(
            name,
            fit,
            settings,
            catalog=self._dataset.catalog,
            windows=[window.valid_queries for window in windows],
            exclude_seen=self._prepared.exclude_seen,
            folder=folder,
            progress=self._progress_factory(f"Tuning {label}"),
        )

    def _tunes(self, name: str) -> bool:
        tune = self._settings.baselines.tune
        return tune == "grid" or (tune == "closed-form" and not is_network(name))

    def _fit(
        self,
        name: str,
        label: str,
        data: TrainingData,
        settings: BaselineSettings,
        folder: Path,
        *,
        stop_after: int | None = None,
    ) -> ScoringModel:
        progress = self._progress_factory(f"Training {label}") if is_network(name) else None
        return fit_model(
            name,
            data,
            settings,
            embed=self.embed,
            seed=self._settings.seed,
            device=self._settings.model.device,
            stop_after=stop_after,
            folder=folder,
            progress=progress,
        )

    def _data(self, window: PreparedData, *, few_shot: bool) -> TrainingData:
        """What is before a window: all interactions, or the few shots."""
        make = few_shot_training_data if few_shot else all_training_data
        return make(self._dataset, window)

    def embed(self, titles: Sequence[str]) -> FloatArray:
        """Vectors of the catalog's titles, computed once."""
        index = (self._selected or self)._title_vectors
        return index.embeddings[[index.rows[title] for title in titles]]

    @cached_property
    def _title_vectors(self) -> ItemIndex:
        return kept_index(
            self._folder / TITLE_VECTORS,
            self._dataset.catalog.unique_titles,
            self._title_embedder,
            progress=self._progress_factory("Encoding titles"),
        )


def _examples_digest(data: TrainingData) -> str:
    """Identifies the few shots."""
    interactions = data.interactions
    digest = hashlib.sha256(interactions.user_start.tobytes())
    digest.update(interactions.items.tobytes())
    return digest.hexdigest()[:8]
