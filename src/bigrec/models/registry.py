"""Models by the names that settings and tables use."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from bigrec.data.interactions import Interactions
from bigrec.errors import SettingsError
from bigrec.models.base import ScoringModel, model_kind
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.popularity import Popularity
from bigrec.models.precomputed import PrecomputedScores
from bigrec.types import BoolArray, IntArray, ProgressCallback

POPULARITY, RECENT, COOCCURRENCE, EASE = "popularity", "recent popularity", "co-occurrence", "EASE"
GRU4REC: Literal["GRU4Rec"] = "GRU4Rec"
_ARCHITECTURES: tuple[Literal["SASRec", "GRU4Rec", "Caser"], ...] = ("SASRec", GRU4REC, "Caser")
_ROBUST = ", DROS"
# By name: the architecture, and whether the DROS loss is added.
_NETWORKS = {
    **{str(architecture): (architecture, False) for architecture in _ARCHITECTURES},
    **{architecture + _ROBUST: (architecture, True) for architecture in _ARCHITECTURES},
}
NAMES = (POPULARITY, RECENT, COOCCURRENCE, EASE, *_NETWORKS)
"""Every model that can be fitted to interactions by its name."""

_HALF_LIFE_DAYS = 30.0


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The interactions that models are fitted to.

    Attributes:
        interactions: All interactions, ``m`` of them.
        train: Mask of the training interactions, ``[m]``.
        n_items: Items of the catalog.
        valid_histories: Histories of the validation queries for early stopping of networks.
        valid_targets: Item number of each validation query's target.
    """

    interactions: Interactions = field(repr=False)
    train: BoolArray = field(repr=False)
    n_items: int
    valid_histories: Sequence[IntArray] = field(repr=False)
    valid_targets: IntArray = field(repr=False)


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
    *,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    progress: ProgressCallback | None = None,
) -> ScoringModel:
    """Fit a model.

    Args:
        name: One of `NAMES`.
        training_data: The interactions to fit it to.
        seed: Seed of networks.
        device: Device of networks.
        folder: Folder for checkpoints of networks; an interrupted training is resumed from it.
        progress: Called by networks with (targets done, targets in all epochs).

    Raises:
        SettingsError: If there is no such model.
        DataError: If it cannot be fitted to these interactions.
    """
    check_names([name])
    interactions, train = training_data.interactions, training_data.train
    n_items = training_data.n_items
    if name == POPULARITY:
        return Popularity.fit(np.bincount(interactions.items[train], minlength=n_items))
    if name == RECENT:
        return Popularity.fit_recent(
            interactions, train=train, n_items=n_items, half_life_days=_HALF_LIFE_DAYS
        )
    if name == COOCCURRENCE:
        return Cooccurrence.fit(interactions, train=train, n_items=n_items)
    if name == EASE:
        return Ease.fit(interactions, train=train, n_items=n_items)
    from bigrec.models.neural import SequentialModel  # noqa: PLC0415 - torch, seconds

    architecture, robust = _NETWORKS[name]
    return SequentialModel.fit(
        interactions,
        train=train,
        n_items=n_items,
        architecture=architecture,
        valid_histories=training_data.valid_histories,
        valid_targets=training_data.valid_targets,
        robust=robust,
        seed=seed,
        device=device,
        folder=folder,
        progress=progress,
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
    models: tuple[type[ScoringModel], ...] = (Popularity, Cooccurrence, Ease, PrecomputedScores)
    for model in models:
        if model.kind == kind:
            return model.load(folder)
    from bigrec.models.neural import SequentialModel  # noqa: PLC0415 - torch, seconds

    return SequentialModel.load(folder)
