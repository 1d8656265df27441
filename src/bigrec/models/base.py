"""The contract of every model that scores items, and how models are stored."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigrec.data.interactions import Interactions
from bigrec.errors import BundleError, DataError
from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS
from bigrec.storage import (
    atomic_folder,
    check_format,
    file_digest,
    first_problems,
    read_json,
    write_json,
)
from bigrec.storage.arrays import (
    Arrays,
    Expected,
    check_arrays,
    read_arrays,
    unusable,
    write_arrays,
)
from bigrec.types import BoolArray, FloatArray, IntArray

_FORMAT = 2
_DESCRIPTION = "model.json"
_ARRAYS = "arrays.safetensors"
_PADDING = -1
# With the titles of a million items.
_MAX_DESCRIPTION_BYTES = 1 << 27


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
        self,
        titles: Sequence[str],
        *,
        old_titles: Sequence[str],
        embed: EmbedTitles,
        texts: Sequence[str] | None = None,
    ) -> Self | None:
        """The model of a changed catalog, if it scores items by their titles.

        Args:
            titles: All titles of the new catalog, ``[n]``.
            old_titles: Title of each item that the model scores now.
            embed: Embeds titles as the model's own were; called with new titles only.
            texts: Text of each item's title, ``[n]``, for a model that embeds none; the titles by
                default.

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
        texts: Sequence[str] | None = None,  # noqa: ARG002
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
    train = np.asarray(train)
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
        write_arrays(path, arrays)
        description = {"format": _FORMAT, "kind": kind, "settings": dict(settings)}
        write_json(temporary / _DESCRIPTION, {**description, "arrays_sha256": file_digest(path)})


class StoredSettings(BaseModel):
    """Hyperparameters as a model's folder holds them."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


_StoredT = TypeVar("_StoredT", bound=StoredSettings)
Decay = Annotated[float, Field(gt=0, le=1)]


def read_model_folder(folder: Path, kind: str, settings: type[_StoredT]) -> tuple[_StoredT, Arrays]:
    """Read the settings and arrays that ``write_model_folder`` wrote.

    The arrays are still to be checked, by `check_model_arrays`.

    Args:
        folder: The folder.
        kind: The expected kind of model.
        settings: The expected settings.

    Raises:
        BundleError: If a file is missing, damaged, or of another version or kind, or a setting is
            missing or out of range.
    """
    description = _read_description(folder)
    if description.kind != kind:
        raise BundleError(
            f"{folder} holds a model of kind {description.kind!r}; expected {kind!r}. Load it "
            "with the class that saved it."
        )
    path = folder / _ARRAYS
    if not path.is_file():
        raise unusable(path, "it is missing")
    if file_digest(path) != description.arrays_sha256:
        raise unusable(path, f"its bytes do not match the checksum in {_DESCRIPTION}")
    return _validated(folder, settings, description.settings), read_arrays(path)


def check_model_arrays(
    folder: Path,
    arrays: Arrays,
    expected: Mapping[str, Expected],
    *,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Refuse the arrays of a model's folder if they are not as expected; see `check_arrays`.

    Raises:
        BundleError: If so.
    """
    return check_arrays(folder / _ARRAYS, arrays, expected, sizes=sizes)


def model_kind(folder: Path) -> str:
    """The kind of the model in a folder that ``write_model_folder`` wrote.

    Raises:
        BundleError: If the description is missing, damaged or of another version.
    """
    return _read_description(folder).kind


class _Description(BaseModel):
    format: int
    kind: str
    settings: dict[str, Any]
    arrays_sha256: str


def _read_description(folder: Path) -> _Description:
    path = folder / _DESCRIPTION
    description = read_json(path, max_bytes=_MAX_DESCRIPTION_BYTES)
    if not isinstance(description, dict):
        raise unusable(path, "it does not describe a model")
    check_format(
        description,
        _FORMAT,
        what=str(path),
        cure="Fit the model again, or install the version that wrote it.",
    )
    return _validated(path, _Description, description)


_ModelT = TypeVar("_ModelT", bound=BaseModel)


def _validated(path: Path, model: type[_ModelT], values: Any) -> _ModelT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise unusable(path, first_problems(error)) from None
