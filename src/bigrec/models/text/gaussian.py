"""Gaussian grounding of histories as decayed bags of title vectors."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_array

from bigrec.data.interactions import Interactions
from bigrec.grounding.gaussian import GaussianGrounding, GaussianParameters
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.models.base import (
    EmbedTitles,
    HistoryScorer,
    read_model_folder,
    training_rows,
    write_model_folder,
)
from bigrec.models.histories import check_decay, decayed_histories
from bigrec.models.text.vectors import check_vectors
from bigrec.types import BoolArray, FloatArray, IntArray

# Positions whose states are in memory at a time.
_POSITIONS = 8192
_PARAMETERS = [parameter.name for parameter in fields(GaussianParameters)]
_STATISTICS = [array.name for array in fields(GaussianStatistics)]
_GROUNDING = [array.name for array in fields(GaussianGrounding) if array.name != "parameters"]


@dataclass(frozen=True, slots=True, eq=False)
class GaussianText(HistoryScorer):
    """Scores an item by the Gaussian model of histories after which it came; no network is trained.

    With ``v_i`` the vector of item i's title, the state of a history is the direction of::

        x = sum over the last ``window`` items i of the history of decay^age_i * v_i

    `bigrec.grounding.gaussian.GaussianGrounding` scores the items for the state, with ``v_i`` as
    their features. Each position of the training interactions is a pair of a state and an item.

    Attributes:
        decay: Factor by which an item of the history weighs less than the next newer one, in
            (0, 1].
        window: Number of the newest items of a history that are read, at least 1.
        vectors: ``[n, d]`` float32, vectors of the titles.
        statistics: Statistics of the training pairs.
        grounding: The fitted Gaussian model.
    """

    kind: ClassVar[str] = "gaussian"
    knows_cold_items: ClassVar[bool] = True

    decay: float
    window: int
    vectors: FloatArray = field(repr=False)
    statistics: GaussianStatistics = field(repr=False)
    grounding: GaussianGrounding = field(repr=False)

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        *,
        train: BoolArray,
        vectors: FloatArray,
        decay: float,
        window: int,
        shrinkage: float,
        prior_strength: float,
        ridge: float,
        popularity_weight: float,
        popularity_smoothing: float,
    ) -> Self:
        """Fit in one pass over the training interactions, in closed form.

        Args:
            interactions: All interactions.
            train: Mask of the training interactions, ``[m]``.
            vectors: ``[n, d]`` finite vectors of the catalog's titles. They are not changed.
            decay: See the class.
            window: See the class.
            shrinkage: This and the following: see `GaussianParameters`.
            prior_strength: See there.
            ridge: See there. The temperature is 1: only its ratio to ``popularity_weight`` ranks.
            popularity_weight: See there.
            popularity_smoothing: See there.

        Raises:
            DataError: If no user has two training interactions.
            ValueError: If an argument is out of range.
        """
        parameters = GaussianParameters(
            shrinkage=shrinkage,
            prior_strength=prior_strength,
            ridge=ridge,
            temperature=1.0,
            popularity_weight=popularity_weight,
            popularity_smoothing=popularity_smoothing,
        )
        check_decay(decay)
        if window < 1:
            raise ValueError(f"window is {window}; expected at least 1.")
        check_vectors(vectors)
        vectors = vectors.astype(np.float32)
        users, items = training_rows(interactions, train, n_items=len(vectors))
        statistics = GaussianStatistics.empty(*vectors.shape)
        for weights, targets in _positions(
            users, items, n_items=len(vectors), decay=decay, window=window
        ):
            statistics.partial_fit(_states(weights, vectors), targets)
        grounding = GaussianGrounding.fit(statistics, vectors, parameters)
        return cls(decay, window, vectors, statistics, grounding)

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return "Gaussian"

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return len(self.vectors)

    def with_parameters(self, parameters: GaussianParameters) -> Self:
        """The model with other hyperparameters, fitted to the same statistics."""
        grounding = GaussianGrounding.fit(self.statistics, self.vectors, parameters)
        return replace(self, grounding=grounding)

    def with_new_items(self, vectors: FloatArray) -> Self:
        """The model with further items after the present ones, whose scores stay as they are.

        Args:
            vectors: ``[new, d]`` vectors of their titles, from the same encoder.

        Raises:
            ValueError: If they are not finite or of another dimension.
        """
        check_vectors(vectors)
        new = vectors.astype(np.float32)
        grounding = self.grounding.extended(new)
        return replace(
            self,
            vectors=np.concatenate([self.vectors, new]),
            statistics=self.statistics.extended(grounding.n_items),
            grounding=grounding,
        )

    def with_titles(
        self, titles: Sequence[str], *, old_titles: Sequence[str], embed: EmbedTitles
    ) -> Self | None:
        """See `ScoringModel`; None unless the new catalog begins with the items of the old one."""
        n = self.n_items
        if list(titles[:n]) != list(old_titles):
            return None
        return self.with_new_items(embed(titles[n:])) if len(titles) > n else self

    def updated(self, histories: Sequence[IntArray], targets: IntArray) -> Self:
        """The model fitted to further pairs as well; this one is unchanged.

        Args:
            histories: Item numbers before each target, oldest first; -1 is padding. A pair with an
                empty history is skipped.
            targets: Item number of the item that came next, for each history.

        Raises:
            ValueError: If an item number is out of range, or histories and targets differ in
                number.
        """
        weights = self._weights(histories)
        known = np.diff(weights.indptr) > 0
        statistics = GaussianStatistics.empty(self.n_items, self.statistics.dim)
        statistics.partial_fit(_states(weights[known], self.vectors), targets[known])
        statistics = self.statistics.merge(statistics)
        grounding = GaussianGrounding.fit(statistics, self.vectors, self.grounding.parameters)
        return replace(self, statistics=statistics, grounding=grounding)

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items; see the class.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32, higher is better; all 0 for an empty history.

        Raises:
            ValueError: If an item number is out of range.
        """
        weights = self._weights(histories)
        scores = self.grounding.scores(_states(weights, self.vectors))
        scores[np.diff(weights.indptr) == 0] = 0
        return scores

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        arrays = {"vectors": self.vectors}
        arrays |= {name: getattr(self.statistics, name) for name in _STATISTICS}
        arrays |= {name: getattr(self.grounding, name) for name in _GROUNDING}
        settings = {"decay": self.decay, "window": self.window}
        settings |= asdict(self.grounding.parameters)
        write_model_folder(folder, self.kind, settings=settings, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = read_model_folder(
            folder,
            cls.kind,
            settings=["decay", "window", *_PARAMETERS],
            arrays=["vectors", *_STATISTICS, *_GROUNDING],
        )
        parameters = GaussianParameters(**{name: settings[name] for name in _PARAMETERS})
        return cls(
            settings["decay"],
            settings["window"],
            arrays["vectors"],
            GaussianStatistics(*(arrays[name] for name in _STATISTICS)),
            GaussianGrounding(parameters, *(arrays[name] for name in _GROUNDING)),
        )

    def _weights(self, histories: Sequence[IntArray]) -> csr_array:
        """Weights of the items of every history, ``[q, n]`` float32."""
        return decayed_histories(
            histories, n_items=self.n_items, decay=self.decay, window=self.window
        )


def _positions(
    users: IntArray, items: IntArray, *, n_items: int, decay: float, window: int
) -> Iterator[tuple[csr_array, IntArray]]:
    """Histories and targets of all rows but the first of each user, some thousands at a time.

    Args:
        users: User numbers, ascending, ``[rows]``.
        items: Item numbers, ``[rows]``; a user's rows in time order.
        n_items: Items of the catalog.
        decay: Decay of the history.
        window: Items that are read of a history.

    Yields:
        Weights of the history's items, ``[m, n]`` float32, and the items that came next, ``[m]``.
    """
    firsts = np.searchsorted(users, users)
    targets = np.flatnonzero(firsts < np.arange(len(users)))
    # Oldest first, as `history_rows` has it: sums then round equally in training and scoring.
    lags = np.arange(window, 0, -1)
    weights = (decay ** (lags - 1)).astype(np.float32)
    for start in range(0, len(targets), _POSITIONS):
        rows = targets[start : start + _POSITIONS]
        earlier = rows[:, None] - lags
        known = earlier >= firsts[rows, None]
        starts = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
        values = np.broadcast_to(weights, known.shape)[known]
        matrix = csr_array((values, items[earlier[known]], starts), shape=(len(rows), n_items))
        yield matrix, items[rows]


def _states(weights: csr_array, vectors: FloatArray) -> FloatArray:
    """Directions ``[q, d]`` float32 of weighted sums of vectors. A zero sum stays zero."""
    bags: FloatArray = weights @ vectors
    lengths = np.linalg.norm(bags, axis=1, keepdims=True)
    return np.asarray(np.divide(bags, lengths, out=np.zeros_like(bags), where=lengths > 0))
