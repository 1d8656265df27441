"""Signals by the names that settings and tables use."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from bigrec.data.interactions import Interactions
from bigrec.errors import SettingsError
from bigrec.models.base import Signal, signal_kind
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.popularity import Popularity
from bigrec.models.precomputed import External
from bigrec.types import BoolArray, IntArray, Progress

POPULARITY, RECENT, COOCCURRENCE, EASE = "popularity", "recent popularity", "co-occurrence", "EASE"
GRU4REC: Literal["GRU4Rec"] = "GRU4Rec"
_ARCHITECTURES: tuple[Literal["SASRec", "GRU4Rec", "Caser"], ...] = ("SASRec", GRU4REC, "Caser")
_ROBUST = ", DROS"
# By name: the architecture, and whether its loss is the robust one.
_NETWORKS = {
    **{str(one): (one, False) for one in _ARCHITECTURES},
    **{one + _ROBUST: (one, True) for one in _ARCHITECTURES},
}
NAMES = (POPULARITY, RECENT, COOCCURRENCE, EASE, *_NETWORKS)
"""Every signal that can be learned from interactions."""

_HALF_LIFE_DAYS = 30.0


@dataclass(frozen=True, eq=False)
class Lessons:
    """What signals learn from.

    Attributes:
        interactions: All interactions.
        train: Which of them may be learnt from, ``[m]``.
        n_items: Items of the catalog.
        valid_histories: Histories that networks stop early by.
        valid_targets: And their targets.
    """

    interactions: Interactions = field(repr=False)
    train: BoolArray = field(repr=False)
    n_items: int
    valid_histories: Sequence[IntArray] = field(repr=False)
    valid_targets: IntArray = field(repr=False)


def check_names(names: Sequence[str]) -> None:
    """Refuse names of signals that do not exist.

    Raises:
        SettingsError: If there is one.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise SettingsError(
            f"there is no signal {unknown[0]!r}: expected some of {'; '.join(NAMES)}."
        )


def fit_signal(
    name: str,
    lessons: Lessons,
    *,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Signal:
    """Learn a signal.

    Args:
        name: One of `NAMES`.
        lessons: What to learn from.
        seed: Of networks.
        device: Of networks.
        folder: Where networks keep checkpoints, to go on where they were.
        progress: Called with (targets learned, to learn in all epochs) by networks.

    Raises:
        SettingsError: If there is no such signal.
        DataError: If it cannot be learned from these interactions.
    """
    check_names([name])
    interactions, train, n_items = lessons.interactions, lessons.train, lessons.n_items
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
    from bigrec.models.neural import NeuralSignal  # noqa: PLC0415 - torch, seconds

    architecture, robust = _NETWORKS[name]
    return NeuralSignal.fit(
        interactions,
        train=train,
        n_items=n_items,
        architecture=architecture,
        valid_histories=lessons.valid_histories,
        valid_targets=lessons.valid_targets,
        robust=robust,
        seed=seed,
        device=device,
        folder=folder,
        progress=progress,
    )


def is_network(name: str) -> bool:
    """Whether a signal is learned by a network, which takes minutes."""
    return name in _NETWORKS


def load_signal_folder(folder: Path) -> Signal:
    """Read a signal of any kind.

    Raises:
        BundleError: If the folder holds no signal or a damaged one.
    """
    kind = signal_kind(folder)
    kinds: dict[str, type[Signal]] = {
        "popularity": Popularity,
        "cooccurrence": Cooccurrence,
        "ease": Ease,
        "external": External,
    }
    if kind in kinds:
        return kinds[kind].load(folder)
    from bigrec.models.neural import NeuralSignal  # noqa: PLC0415 - torch, seconds

    return NeuralSignal.load(folder)
