"""What all signals have in common: what they answer, what they learn from, how they are stored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from bigrec.data.interactions import Interactions
from bigrec.errors import BundleError, DataError
from bigrec.storage import atomic_folder, file_digest, read_json, write_json
from bigrec.types import BoolArray, FloatArray, IntArray

_FORMAT = 1
_ABOUT = "signal.json"
_ARRAYS = "arrays.safetensors"
_PADDING = -1


class Scorer(Protocol):
    """Scores every item for a history.

    A result is ``[q, n]``; with many queries ask for a few hundred at a time.
    """

    @property
    def name(self) -> str:
        """What the signal is called in tables."""
        ...

    @property
    def n_items(self) -> int:
        """Items that are scored, ``n``."""
        ...

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items for ``q`` histories.

        Args:
            histories: Item numbers of each query, oldest first, of any user and any length; -1 is
                padding and is skipped.

        Returns:
            ``[q, n]`` float32 or float64, higher is better, finite; not to be written to.
        """
        ...

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights for the injection: the scores of every query scaled to [0, 1], ``[q, n]``."""
        ...


class Signal(Scorer, Protocol):
    """A scorer that is stored by itself: a method of its own, or help for a language model."""

    def save(self, folder: Path) -> None:
        """Write the signal to a folder of its own, whole or not at all."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        ...


def training_rows(
    interactions: Interactions, train: BoolArray, *, n_items: int
) -> tuple[IntArray, IntArray]:
    """Users and items of the interactions to learn from.

    Args:
        interactions: All interactions, ``m`` of them.
        train: Which of them may be learnt from, ``[m]``.
        n_items: Items of the catalog.

    Returns:
        User numbers, ascending, and item numbers, each ``[rows]``; a user's rows in time order.

    Raises:
        DataError: If no row is left.
        ValueError: If ``train`` is no mask of the rows or an item number is out of range.
    """
    if train.shape != (len(interactions),) or train.dtype != np.bool_:
        raise ValueError(
            f"train is {train.dtype} of shape {train.shape}; expected bool of shape "
            f"({len(interactions)},), True for every interaction to learn from."
        )
    items = interactions.items[train].astype(np.int64)
    if not items.size:
        raise DataError(
            "a signal has no interaction to learn from: train is False everywhere. Use another "
            "split, with interactions in its training part."
        )
    if items.max() >= n_items:
        raise ValueError(
            f"the interactions hold item number {items.max()}; expected numbers below n_items, "
            f"{n_items}. Pass the number of items of the same catalog."
        )
    return interactions.users()[train], items


def history_rows(
    histories: Sequence[IntArray], *, n_items: int
) -> tuple[IntArray, IntArray, IntArray]:
    """All histories after one another, without padding.

    Args:
        histories: Item numbers of each query, oldest first; -1 is padding.
        n_items: Items of the catalog.

    Returns:
        ``starts`` ``[q + 1]``: query ``i`` has the entries ``starts[i]:starts[i + 1]`` of the
        other two, ``items`` and ``ages``; the newest item of a history has age 0, the one before
        it 1.

    Raises:
        ValueError: If an item number is out of range.
    """
    real = [np.asarray(history)[np.asarray(history) != _PADDING] for history in histories]
    lengths = np.array([len(history) for history in real], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    items = np.concatenate([*real, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    wrong = items[(items < 0) | (items >= n_items)]
    if wrong.size:
        raise ValueError(
            f"a history holds item number {wrong[0]}; expected 0 to {n_items - 1}, or -1 as "
            "padding."
        )
    return starts, items, np.repeat(starts[1:], lengths) - np.arange(len(items)) - 1


def save_signal(
    folder: Path,
    kind: str,
    *,
    settings: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Write a signal to a folder of its own, whole or not at all.

    Args:
        folder: Takes the place of a folder of that name.
        kind: Tells signals apart; ``load_signal`` must name the same.
        settings: What the signal was made with, JSON-like.
        arrays: What it learnt.

    Raises:
        StorageError: If the folder cannot be written.
    """
    with atomic_folder(folder) as temporary:
        path = temporary / _ARRAYS
        # Serialised in memory and written by Python, so that a full disk is an OSError.
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        path.write_bytes(content)
        about = {"format": _FORMAT, "kind": kind, "settings": dict(settings)}
        write_json(temporary / _ABOUT, {**about, "arrays_sha256": file_digest(path)})


def load_signal(
    folder: Path, kind: str, *, settings: Sequence[str], arrays: Sequence[str]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what ``save_signal`` wrote: the settings and the arrays.

    Args:
        folder: The folder.
        kind: The kind of signal expected.
        settings: Names of the settings it must have.
        arrays: Names of the arrays it must have.

    Raises:
        BundleError: If a file is missing, damaged, or of another version or kind.
    """
    about = _read_about(folder)
    if about["kind"] != kind:
        raise BundleError(
            f"{folder} holds the signal {about['kind']!r}; expected {kind!r}. Load it with the "
            "class that saved it."
        )
    path = folder / _ARRAYS
    if not path.is_file():
        raise _damage(path, "it is missing")
    if file_digest(path) != about["arrays_sha256"]:
        raise _damage(path, f"its bytes do not match the checksum in {_ABOUT}")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise _damage(path, f"it is not a safetensors file ({error})") from None
    missing = [name for name in settings if name not in about["settings"]]
    missing += [name for name in arrays if name not in found]
    if missing:
        raise _damage(folder, f"it lacks {', '.join(missing)}")
    return about["settings"], found


def signal_kind(folder: Path) -> str:
    """The kind of the signal in a folder that ``save_signal`` wrote.

    Raises:
        BundleError: If there is none, or it is damaged or of another version.
    """
    return str(_read_about(folder)["kind"])


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / _ABOUT
    about = read_json(path)
    if not isinstance(about, dict) or "format" not in about:
        raise _damage(path, "it does not describe a signal")
    if about["format"] != _FORMAT:
        raise BundleError(
            f"{path} has format {about['format']}; this version of bigrec reads format {_FORMAT}. "
            "Fit the signal again, or install the version that wrote it."
        )
    missing = [name for name in ("kind", "settings", "arrays_sha256") if name not in about]
    if missing or not isinstance(about["settings"], dict):
        raise _damage(path, f"it lacks {', '.join(missing) or 'named settings'}")
    return about


def _damage(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path} cannot be used: {reason}. Fit and save the signal again.")
