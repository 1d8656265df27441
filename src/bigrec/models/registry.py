"""Models by the names that settings and tables use."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from bigrec.data.ids import read_ids
from bigrec.data.interactions import Interactions
from bigrec.errors import SettingsError
from bigrec.models.base import EmbedTitles, ScoringModel, model_kind, read_histories, training_rows
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.popularity import Popularity
from bigrec.models.precomputed import PrecomputedScores
from bigrec.models.text import GaussianText, TextKNN, TfIdf
from bigrec.models.text.vectors import checked_vectors
from bigrec.settings.baselines import BaselineSettings, SequentialSettings
from bigrec.types import BoolArray, IntArray, ProgressCallback

POPULARITY, RECENT, COOCCURRENCE, EASE = "popularity", "recent popularity", "co-occurrence", "EASE"
TF_IDF, TEXT_KNN, GAUSSIAN = "tf-idf", "text kNN", "Gaussian"
GRU4REC: Literal["GRU4Rec"] = "GRU4Rec"
_ARCHITECTURES: tuple[Literal["SASRec", "GRU4Rec", "Caser"], ...] = ("SASRec", GRU4REC, "Caser")
_ROBUST = ", DROS"
# By name: the architecture, and whether the DROS loss is added.
_NETWORKS = {
    **{str(architecture): (architecture, False) for architecture in _ARCHITECTURES},
    **{architecture + _ROBUST: (architecture, True) for architecture in _ARCHITECTURES},
}
NAMES = (POPULARITY, RECENT, COOCCURRENCE, EASE, TF_IDF, TEXT_KNN, GAUSSIAN, *_NETWORKS)
"""Every model that can be fitted by its name."""

TEXT_MODELS = (TF_IDF, TEXT_KNN)
"""Models of titles alone, which use no training interactions."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The interactions that models are fitted to.

    Attributes:
        interactions: All interactions, ``m`` of them.
        train: Mask of the training interactions, ``[m]``.
        titles: Title of every item of the catalog, ``[n]``.
        valid_histories: Histories of the validation queries for early stopping of networks.
        valid_targets: Item number of each validation query's target.
        exclude_seen: The protocol that networks are trained and stopped for: whether the items of
            a history are excluded from its ranking.
        texts: Text of every item's title, ``[n]``, see `bigrec.data.catalog.Catalog.texts`; the
            titles by default.
    """

    interactions: Interactions = field(repr=False)
    train: BoolArray = field(repr=False)
    titles: Sequence[str] = field(repr=False)
    valid_histories: Sequence[IntArray] = field(repr=False)
    valid_targets: IntArray = field(repr=False)
    exclude_seen: bool = True
    texts: Sequence[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Read titles and histories once: they may be any iterables."""
        object.__setattr__(self, "titles", read_ids(self.titles, name="titles"))
        object.__setattr__(self, "valid_histories", read_histories(self.valid_histories))

    @property
    def n_items(self) -> int:
        """Items of the catalog, ``n``."""
        return len(self.titles)


def check_names(names: Sequence[str]) -> None:
    """Refuse unknown model names.

    Raises:
        SettingsError: If there is one.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise SettingsError(
            f"there is no model {unknown[0]!r}: expected some of {'; '.join(NAMES)}."
        )


def fit_model(
    name: str,
    training_data: TrainingData,
    settings: BaselineSettings | None = None,
    *,
    embed: EmbedTitles | None = None,
    seed: int = 0,
    device: str = "auto",
    stop_after: int | None = None,
    folder: Path | None = None,
    progress: ProgressCallback | None = None,
) -> ScoringModel:
    """Fit a model.

    Args:
        name: One of `NAMES`.
        training_data: The interactions to fit it to.
        settings: Hyperparameters; the defaults by default.
        embed: Embeds titles, ``[n]`` to ``[n, d]``, for text kNN and Gaussian.
        seed: Seed of networks.
        device: Device of networks.
        stop_after: Epochs of networks, without early stopping; None stops them on validation.
        folder: Folder for checkpoints of networks; an interrupted training is resumed from it.
        progress: Called by networks with (targets done, targets in all epochs).

    Raises:
        SettingsError: If there is no such model.
        ValueError: If text kNN or Gaussian has nothing that embeds.
        DataError: If it cannot be fitted to these interactions.
    """
    check_names([name])
    settings = settings or BaselineSettings()
    if name in (*TEXT_MODELS, GAUSSIAN):
        return _fit_text_model(name, training_data, settings, embed=embed)
    if name in _NETWORKS:
        return _fit_network(
            name,
            training_data,
            settings.sequential,
            seed=seed,
            device=device,
            stop_after=stop_after,
            folder=folder,
            progress=progress,
        )
    return _fit_counts(name, training_data, settings)


def _fit_counts(name: str, training_data: TrainingData, settings: BaselineSettings) -> ScoringModel:
    interactions, train = training_data.interactions, training_data.train
    n_items = training_data.n_items
    if name == POPULARITY:
        _, items = training_rows(interactions, train, n_items=n_items)
        return Popularity.fit(np.bincount(items, minlength=n_items))
    if name == RECENT:
        half_life = settings.popularity.half_life_days
        return Popularity.fit_recent(
            interactions, train=train, n_items=n_items, half_life_days=half_life
        )
    if name == COOCCURRENCE:
        options = settings.cooccurrence.model_dump()
        return Cooccurrence.fit(interactions, train=train, n_items=n_items, **options)
    options = settings.ease.model_dump()
    return Ease.fit(interactions, train=train, n_items=n_items, **options)


def _fit_text_model(
    name: str,
    training_data: TrainingData,
    settings: BaselineSettings,
    *,
    embed: EmbedTitles | None,
) -> ScoringModel:
    if name == TF_IDF:
        texts = training_data.titles if training_data.texts is None else training_data.texts
        return TfIdf.fit(texts, decay=settings.tf_idf.decay)
    if embed is None:
        raise ValueError(f"embed is None; expected a function that embeds titles, for {name}.")
    titles = training_data.titles
    if name == TEXT_KNN:
        vectors = checked_vectors(embed(titles), n_titles=len(titles))
        return TextKNN.fit(vectors, decay=settings.text_knn.decay)
    return GaussianText.fit(
        training_data.interactions,
        train=training_data.train,
        titles=titles,
        embed=embed,
        **settings.gaussian.model_dump(),
    )


def _fit_network(
    name: str,
    training_data: TrainingData,
    settings: SequentialSettings,
    *,
    seed: int,
    device: str,
    stop_after: int | None,
    folder: Path | None,
    progress: ProgressCallback | None,
) -> ScoringModel:
    from bigrec.models.neural import SequentialModel  # noqa: PLC0415 - torch, seconds

    architecture, robust = _NETWORKS[name]
    return SequentialModel.fit(
        training_data.interactions,
        train=training_data.train,
        n_items=training_data.n_items,
        architecture=architecture,
        valid_histories=training_data.valid_histories,
        valid_targets=training_data.valid_targets,
        exclude_seen=training_data.exclude_seen,
        robust=robust,
        seed=seed,
        device=device,
        stop_after=stop_after,
        folder=folder,
        progress=progress,
        **settings.model_dump(),
    )


def is_network(name: str) -> bool:
    """Whether the model is a network, which takes minutes to train."""
    return name in _NETWORKS


def load_scoring_model(folder: Path) -> ScoringModel:
    """Read a model of any kind.

    Raises:
        BundleError: If the folder holds no model, a damaged one, or one of another version.
    """
    kind = model_kind(folder)
    models: tuple[type[ScoringModel], ...] = (
        Popularity,
        Cooccurrence,
        Ease,
        TfIdf,
        TextKNN,
        GaussianText,
        PrecomputedScores,
    )
    for model in models:
        if model.kind == kind:
            return model.load(folder)
    from bigrec.models.neural import SequentialModel  # noqa: PLC0415 - torch, seconds

    return SequentialModel.load(folder)
