"""Gaussian grounding of histories as decayed bags of title vectors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_array

from bigrec.data.arguments import check_least
from bigrec.data.interactions import Interactions
from bigrec.grounding.gaussian import GaussianGrounding, GaussianParameters
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.models.base import (
    Decay,
    EmbedTitles,
    HistoryScorer,
    read_histories,
    read_model_folder,
    training_rows,
    write_model_folder,
)
from bigrec.models.histories import by_title, check_decay, decayed_histories
from bigrec.models.text.grounded_titles import GaussianTitles, StoredGaussian
from bigrec.settings.sections import PositiveInt
from bigrec.storage.arrays import unusable
from bigrec.types import BoolArray, FloatArray, IntArray

# Positions whose states are in memory at a time.
_POSITIONS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class GaussianText(HistoryScorer):
    """Scores a title by the Gaussian model of histories after which it came; no network is trained.

    With ``v_i`` the vector of title i, the state of a history is the direction of::

        x = sum over the last ``window`` titles i of the history of decay^age_i * v_i

    `bigrec.grounding.gaussian.GaussianGrounding` scores the titles for the state, with ``v_i`` as
    their features. Each position of the training interactions is a pair of a state and a title.
    Items of equal title are one title to the model. Titles that leave the catalog stay in it, so
    that they score as before when they return.

    Attributes:
        decay: Factor by which an item of the history weighs less than the next newer one, in
            (0, 1].
        window: Number of the newest items of a history that are read, at least 1.
        grounded: The titles, grounded by the states before them.
    """

    kind: ClassVar[str] = "gaussian"
    knows_cold_items: ClassVar[bool] = True

    decay: float
    window: int
    grounded: GaussianTitles = field(repr=False)

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        *,
        train: BoolArray,
        titles: Sequence[str],
        embed: EmbedTitles,
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
            titles: Title of every item of the catalog, ``[n]``.
            embed: Embeds titles; called with each title once.
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
        check_least(window, 1, name="window")
        users, items = training_rows(interactions, train, n_items=len(titles))

        def collect(rows: IntArray, vectors: FloatArray) -> GaussianStatistics:
            statistics = GaussianStatistics.empty(*vectors.shape)
            for weights, targets in _positions(
                users, rows[items], n_titles=len(vectors), decay=decay, window=window
            ):
                statistics.partial_fit(_states(weights, vectors), targets)
            return statistics

        grounded = GaussianTitles.fit(titles, parameters, embed=embed, collect=collect)
        return cls(decay, window, grounded)

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return "Gaussian"

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return self.grounded.n_items

    @property
    def rows(self) -> IntArray:
        """Row among the titles of each item's title, ``[n]``."""
        return self.grounded.rows

    @property
    def vectors(self) -> FloatArray:
        """``[t, d]`` float32, vectors of the titles."""
        return self.grounded.vectors

    @property
    def statistics(self) -> GaussianStatistics:
        """Statistics of the training pairs, by title."""
        return self.grounded.statistics

    @property
    def grounding(self) -> GaussianGrounding:
        """The fitted Gaussian model of the titles."""
        return self.grounded.grounding

    def variants(self, parameters: Iterable[GaussianParameters]) -> Iterator[Self]:
        """The model with other hyperparameters, each fitted to the same statistics."""
        for grounded in self.grounded.variants(parameters):
            yield replace(self, grounded=grounded)

    def with_titles(
        self,
        titles: Sequence[str],
        *,
        old_titles: Sequence[str],  # noqa: ARG002 - the protocol's; the model has its titles
        embed: EmbedTitles,
        texts: Sequence[str] | None = None,  # noqa: ARG002 - `embed` reads them
    ) -> Self:
        """See `ScoringModel`. No other title's score changes.

        Raises:
            ValueError: If vectors of new titles are not finite or of another dimension.
        """
        return replace(self, grounded=self.grounded.with_titles(titles, embed=embed))

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
        histories = read_histories(histories)
        if len(targets) != len(histories):
            raise ValueError(
                f"targets has {len(targets)} entries for {len(histories)} histories; expected one "
                "item number for each history."
            )
        states, known = self._states(histories)
        return replace(self, grounded=self.grounded.updated(states[known], targets[known]))

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items; see the class.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32, higher is better; all 0 for an empty history.

        Raises:
            ValueError: If an item number is out of range.
        """
        states, known = self._states(histories)
        scores = self.grounded.scores(states)
        scores[~known] = 0
        return scores

    def states(self, histories: Sequence[IntArray]) -> FloatArray:
        """States of histories, ``[q, d]`` float32; zero for an empty history.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Raises:
            ValueError: If an item number is out of range.
        """
        return self._states(histories)[0]

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        settings = {"decay": self.decay, "window": self.window, **self.grounded.to_settings()}
        write_model_folder(folder, self.kind, settings=settings, arrays=self.grounded.to_arrays())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        grounded = GaussianTitles.from_stored(folder, settings, arrays)
        if grounded.vectors.shape[1] != grounded.statistics.dim:
            raise unusable(folder, "vectors and states differ in dimensions")
        return cls(settings.decay, settings.window, grounded)

    def _states(self, histories: Sequence[IntArray]) -> tuple[FloatArray, BoolArray]:
        """States ``[q, d]`` of histories, and which have items, ``[q]``."""
        by_item = decayed_histories(
            histories, n_items=self.n_items, decay=self.decay, window=self.window
        )
        weights = by_title(by_item, self.rows, n_titles=len(self.vectors))
        return _states(weights, self.vectors), np.diff(weights.indptr) > 0


class _Stored(StoredGaussian):
    decay: Decay
    window: PositiveInt


def _positions(
    users: IntArray, titles: IntArray, *, n_titles: int, decay: float, window: int
) -> Iterator[tuple[csr_array, IntArray]]:
    """Histories and targets of all rows but the first of each user, some thousands at a time.

    Args:
        users: User numbers, ascending, ``[rows]``.
        titles: Row of each item's title, ``[rows]``; a user's rows in time order.
        n_titles: Number of titles, ``t``.
        decay: Decay of the history.
        window: Items that are read of a history.

    Yields:
        Weights of the history's titles, ``[m, t]`` float32, and the titles that came next, ``[m]``.
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
        matrix = csr_array((values, titles[earlier[known]], starts), shape=(len(rows), n_titles))
        yield matrix, titles[rows]


def _states(weights: csr_array, vectors: FloatArray) -> FloatArray:
    """Directions ``[q, d]`` float32 of weighted sums of vectors. A zero sum stays zero."""
    bags: FloatArray = weights @ vectors
    lengths = np.linalg.norm(bags, axis=1, keepdims=True)
    return np.asarray(np.divide(bags, lengths, out=np.zeros_like(bags), where=lengths > 0))
