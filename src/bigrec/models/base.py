"""The contract of every model that scores items, and how models are stored."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from bigrec.data.interactions import Interactions
from bigrec.errors import BundleError, DataError
from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS
from bigrec.storage import atomic_folder, check_format, file_digest, read_json, write_json
from bigrec.types import BoolArray, FloatArray, IntArray

_FORMAT = 2
_DESCRIPTION = "model.json"
_ARRAYS = "arrays.safetensors"
_PADDING = -1


class Scorer(Protocol):
    """Scores every item of the catalog for a history.

    A result is ``[q, n]``: with many queries, score a few hundred at a time.
    """

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        ...

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        ...

    @property
    def knows_cold_items(self) -> bool:
        """Whether scores of items without training interactions are valid, not to be imputed."""
        ...

    @property
    def gamma_grid(self) -> FloatArray:
        """The paper's grid of gammas for fusing this model, ascending."""
        ...

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items for ``q`` histories.

        Args:
            histories: Item numbers of each query, oldest first, of any user and any length; -1 is
                padding and is skipped.

        Returns:
            ``[q, n]`` float32 or float64, finite, higher is better; not to be written to.

        Raises:
            ValueError: If the model reads histories and an item number is out of range.
        """
        ...

    def at_queries(self, positions: slice | IntArray) -> "Scorer":
        """The scorer for some of the evaluated queries.

        Args:
            positions: Positions among the evaluated queries.

        Returns:
            The scorer itself, unless its scores are stored by query.
        """
        ...


EmbedTitles = Callable[[Sequence[str]], FloatArray]
"""From titles, ``m`` of them, to vectors ``[m, d]``."""


class ScoringModel(Scorer, Protocol):
    """A `Scorer` that can be saved and loaded without further context."""

    kind: ClassVar[str]
    """Identifies the class in stored folders."""

    @property
    def selected_epoch(self) -> int | None:
        """Epoch of a network's weights, selected on validation; None where none was selected."""
        ...

    def with_titles(
        self, titles: Sequence[str], *, old_titles: Sequence[str], embed: EmbedTitles
    ) -> Self | None:
        """The model of a changed catalog, if it scores items by their titles.

        Args:
            titles: All titles of the new catalog, ``[n]``.
            old_titles: Title of each item that the model scores now.
            embed: Embeds titles as the model's own were; called with new titles only.

        Returns:
            None for a model that scores only the items that it was fitted on.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote."""
        ...


class FixedItems:
    """The part of `ScoringModel` that is the same for models that do not read titles."""

    __slots__ = ()

    @property
    def selected_epoch(self) -> int | None:
        """None: the model is not trained in epochs."""
        return None

    def with_titles(
        self,
        titles: Sequence[str],  # noqa: ARG002 - the protocol's
        *,
        old_titles: Sequence[str],  # noqa: ARG002
        embed: EmbedTitles,  # noqa: ARG002
    ) -> Self | None:
        """None: the model scores the items that it was fitted on."""
        return None


class HistoryScorer(FixedItems):
    """The part of `Scorer` that is the same for models that compute scores from any history."""

    __slots__ = ()

    knows_cold_items: ClassVar[bool] = False
    gamma_grid: ClassVar[FloatArray] = COLLABORATIVE_GAMMAS

    def at_queries(self, positions: slice | IntArray) -> Self:  # noqa: ARG002 - the protocol's
        """The model itself: it scores every history."""
        return self


def training_rows(
    interactions: Interactions, train: BoolArray, *, n_items: int
) -> tuple[IntArray, IntArray]:
    """Users and items of the training interactions.

    Args:
        interactions: All interactions, ``m`` of them.
        train: Mask of the training interactions, ``[m]``.
        n_items: Items of the catalog.

    Returns:
        User numbers, ascending, and item numbers, each ``[rows]``; a user's rows in time order.

    Raises:
        DataError: If there are no training interactions.
        ValueError: If ``train`` is not a mask of the rows or an item number is out of range.
    """
    if train.shape != (len(interactions),) or train.dtype != np.bool_:
        raise ValueError(
            f"train is {train.dtype} of shape {train.shape}; expected bool of shape "
            f"({len(interactions)},), True for every training interaction."
        )
    items = interactions.items[train].astype(np.int64)
    if not items.size:
        raise DataError(
            "there are no training interactions: train is False everywhere. Use another split, "
            "with interactions in its training part."
        )
    if items.max() >= n_items:
        raise ValueError(
            f"the interactions hold item number {items.max()}; expected numbers below n_items, "
            f"{n_items}. Pass the number of items of the same catalog."
        )
    return interactions.users()[train], items


def read_histories(histories: Iterable[Iterable[int]]) -> list[IntArray]:
    """Histories as arrays of item numbers, each read once.

    Args:
        histories: Item numbers of each query, in any iterable.

    Raises:
        TypeError: If a history is no list of whole numbers.
    """
    if not isinstance(histories, Iterable):
        raise TypeError(f"histories is {histories!r}; expected a list of histories.")
    return [_item_numbers(history) for history in histories]


def _item_numbers(history: Iterable[int]) -> IntArray:
    numbers = history
    if not isinstance(history, np.ndarray):
        if isinstance(history, str | bytes) or not isinstance(history, Iterable):
            raise TypeError(
                f"a history is {history!r}; expected a list of item numbers, oldest first. Put a "
                "single history in a list."
            )
        numbers = np.asarray(list(history))
    numbers = np.asarray(numbers)
    if numbers.ndim == 1 and not numbers.size:
        return np.zeros(0, dtype=np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise TypeError(
            f"a history is {history!r}; expected item numbers, which are whole numbers, oldest "
            "first."
        )
    return numbers


def history_rows(
    histories: Iterable[Iterable[int]], *, n_items: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Concatenate all histories, without padding.

    Args:
        histories: Item numbers of each query, oldest first; -1 is padding.
        n_items: Items of the catalog.

    Returns:
        ``starts`` ``[q + 1]``, ``items`` and ``ages``. Query ``i`` has the entries
        ``starts[i]:starts[i + 1]`` of the other two. The newest item of a history has age 0, the
        one before it 1.

    Raises:
        TypeError: If a history is no list of whole numbers.
        ValueError: If an item number is out of range.
    """
    unpadded = [history[history != _PADDING] for history in read_histories(histories)]
    lengths = np.array([len(history) for history in unpadded], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    items = np.concatenate([*unpadded, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    invalid = items[(items < 0) | (items >= n_items)]
    if invalid.size:
        raise ValueError(
            f"a history holds item number {invalid[0]}; expected 0 to {n_items - 1}, or -1 as "
            "padding."
        )
    return starts, items, np.repeat(starts[1:], lengths) - np.arange(len(items)) - 1


def write_model_folder(
    folder: Path,
    kind: str,
    *,
    settings: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Write a model to a folder, completely or not at all.

    Args:
        folder: Replaces an existing folder of that name.
        kind: Identifies the model's class; ``read_model_folder`` must name the same.
        settings: Hyperparameters, JSON-like.
        arrays: Fitted arrays.

    Raises:
        StorageError: If the folder cannot be written.
    """
    with atomic_folder(folder) as temporary:
        path = temporary / _ARRAYS
        # Serialized in memory and written by Python, so that a full disk is an OSError.
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        path.write_bytes(content)
        description = {"format": _FORMAT, "kind": kind, "settings": dict(settings)}
        write_json(temporary / _DESCRIPTION, {**description, "arrays_sha256": file_digest(path)})


def read_model_folder(
    folder: Path, kind: str, *, settings: Sequence[str], arrays: Sequence[str]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read the settings and arrays that ``write_model_folder`` wrote.

    Args:
        folder: The folder.
        kind: The expected kind of model.
        settings: Names of the required settings.
        arrays: Names of the required arrays.

    Raises:
        BundleError: If a file is missing, damaged, or of another version or kind.
    """
    description = _read_description(folder)
    if description["kind"] != kind:
        raise BundleError(
            f"{folder} holds a model of kind {description['kind']!r}; expected {kind!r}. Load it "
            "with the class that saved it."
        )
    path = folder / _ARRAYS
    if not path.is_file():
        raise _damage(path, "it is missing")
    if file_digest(path) != description["arrays_sha256"]:
        raise _damage(path, f"its bytes do not match the checksum in {_DESCRIPTION}")
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise _damage(path, f"it is not a safetensors file ({error})") from None
    missing = [name for name in settings if name not in description["settings"]]
    missing += [name for name in arrays if name not in stored]
    if missing:
        raise _damage(folder, f"it lacks {', '.join(missing)}")
    return description["settings"], stored


def model_kind(folder: Path) -> str:
    """The kind of the model in a folder that ``write_model_folder`` wrote.

    Raises:
        BundleError: If the description is missing, damaged or of another version.
    """
    return str(_read_description(folder)["kind"])


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / _DESCRIPTION
    description = read_json(path)
    if not isinstance(description, dict):
        raise _damage(path, "it does not describe a model")
    check_format(
        description,
        _FORMAT,
        what=str(path),
        cure="Fit the model again, or install the version that wrote it.",
    )
    missing = [name for name in ("kind", "settings", "arrays_sha256") if name not in description]
    if missing or not isinstance(description["settings"], dict):
        raise _damage(path, f"it lacks {', '.join(missing) or 'named settings'}")
    return description


def _damage(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path} cannot be used: {reason}. Fit and save the model again.")
