"""Titles as what follows a state: statistics of the states before each, and points to rank them by.

A state is what a history is read as: a bag of title vectors, or a language model's hidden state.
Items of equal title are one title here. Titles that leave the catalog stay, so that they are ranked
as before when they return.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

import numpy as np
from pydantic import AfterValidator

from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.gaussian import GaussianGrounding, GaussianParameters
from bigrec.grounding.gaussian_moments import GaussianMoments
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.grounding.ranks import check_range
from bigrec.models.base import EmbedTitles, StoredSettings, check_model_arrays
from bigrec.models.text.vectors import checked_vectors, normalized
from bigrec.storage.arrays import Arrays, Expected, unusable
from bigrec.types import FloatArray, IntArray

_TINY = np.finfo(np.float64).tiny
_DOUBLE = ("float64",)
_PARAMETERS = [parameter.name for parameter in fields(GaussianParameters)]
_STATISTICS = [array.name for array in fields(GaussianStatistics)]
_GROUNDING = [array.name for array in fields(GaussianGrounding) if array.name != "parameters"]

CollectStatistics = Callable[[IntArray, FloatArray], GaussianStatistics]
"""From the row of each item's title ``[n]`` and the titles' vectors ``[t, f]`` to the statistics of
the training pairs, by title."""


class GroundedTitles(Protocol):
    """Titles that are ranked for a state by L2 distance between points."""

    @property
    def rows(self) -> IntArray:
        """Row among all titles that the model knows of each item's title, ``[n]``."""
        ...

    @property
    def vectors(self) -> FloatArray:
        """Text vectors of the titles, ``[t, f]`` float32."""
        ...

    @property
    def statistics(self) -> GaussianStatistics:
        """Statistics of the training pairs, by title."""
        ...

    def item_points(self) -> FloatArray:
        """The titles as points, ``[t, p]`` float32."""
        ...

    def query_points(self, states: FloatArray) -> FloatArray:
        """States ``[q, d]`` as points among those of the titles, ``[q, p]`` float32."""
        ...

    def with_titles(self, titles: Sequence[str], *, embed: EmbedTitles) -> Self:
        """The model of a changed catalog.

        Args:
            titles: Title of every item, ``[n]``.
            embed: Embeds titles as the model's own were; called with new titles only.

        Raises:
            ValueError: If vectors of new titles are not finite or of another dimension.
        """
        ...

    def updated(self, states: FloatArray, items: IntArray) -> Self:
        """The model fitted to further pairs as well; this one is unchanged.

        Args:
            states: ``[m, d]``.
            items: Item number of the item that came next, for each state, ``[m]``.

        Raises:
            ValueError: If an item number is out of range, or states and items do not fit.
        """
        ...

    def to_arrays(self) -> dict[str, Any]:
        """What a model's folder stores of it as arrays."""
        ...

    def to_settings(self) -> dict[str, Any]:
        """What a model's folder stores of it beside the arrays, JSON-like."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Titles:
    """The part of `GroundedTitles` that is the same for every way of grounding.

    Attributes:
        titles: All ``t`` titles that the model knows, each once.
        rows: Row among ``titles`` of each item's title, ``[n]``.
        vectors: Text vectors of the titles, ``[t, f]`` float32.
        statistics: Statistics of the training pairs, by title.
    """

    titles: Sequence[str] = field(repr=False)
    rows: IntArray = field(repr=False)
    vectors: FloatArray = field(repr=False)
    statistics: GaussianStatistics = field(repr=False)

    @property
    def n_items(self) -> int:
        """Number of items, ``n``."""
        return len(self.rows)

    def _extended(self, titles: Sequence[str], embed: EmbedTitles) -> tuple[Self, FloatArray]:
        """The model with further titles, ungrounded, and the vectors of those that are new."""
        row_of = {title: row for row, title in enumerate(self.titles)}
        new = [title for title in dict.fromkeys(titles) if title not in row_of]
        row_of |= {title: len(self.titles) + number for number, title in enumerate(new)}
        model = replace(self, rows=np.array([row_of[title] for title in titles], dtype=np.int64))
        if not new:
            return model, self.vectors[:0]
        vectors = _embedded(new, embed)
        extended = replace(
            model,
            titles=(*self.titles, *new),
            vectors=_joined(self.vectors, vectors),
            statistics=self.statistics.extended(len(self.titles) + len(new)),
        )
        return extended, vectors

    def _with_pairs(self, states: FloatArray, items: IntArray) -> GaussianStatistics:
        """Statistics of these pairs and of states ``[m, d]`` before items ``[m]``."""
        check_range(items, self.n_items, name="targets")
        new = GaussianStatistics.empty(len(self.titles), self.statistics.dim)
        new.partial_fit(states, self.rows[items])
        return self.statistics.merge(new)

    def to_arrays(self) -> dict[str, Any]:
        """See `GroundedTitles`."""
        arrays = {"rows": self.rows, "vectors": self.vectors}
        return arrays | {name: getattr(self.statistics, name) for name in _STATISTICS}


@dataclass(frozen=True, slots=True, eq=False)
class GaussianTitles(_Titles):
    """Titles grounded by the Gaussian model of the states before them.

    Attributes:
        grounding: The fitted Gaussian model, whose features are the titles' vectors.
    """

    grounding: GaussianGrounding = field(repr=False)

    @classmethod
    def fit(
        cls,
        titles: Sequence[str],
        parameters: GaussianParameters,
        *,
        embed: EmbedTitles,
        collect: CollectStatistics,
    ) -> Self:
        """Fit in closed form.

        Args:
            titles: Title of every item of the catalog, ``[n]``.
            parameters: Hyperparameters.
            embed: Embeds titles; called with each title once.
            collect: Collects the statistics.

        Raises:
            DataError: If there are no training pairs.
            ValueError: If vectors are not finite.
        """
        names, rows, vectors = _catalog(titles, embed)
        statistics = collect(rows, vectors)
        grounding = GaussianGrounding.fit(statistics, vectors, parameters)
        return cls(names, rows, vectors, statistics, grounding)

    def variants(self, parameters: Iterable[GaussianParameters]) -> Iterator[Self]:
        """The model with other hyperparameters, each fitted to the same statistics."""
        moments = GaussianMoments.of(self.statistics, self.vectors)
        for grounding in GaussianGrounding.variants(moments, parameters):
            yield replace(self, grounding=grounding)

    def with_titles(self, titles: Sequence[str], *, embed: EmbedTitles) -> Self:
        """See `GroundedTitles`. No other title's score changes."""
        model, new = self._extended(titles, embed)
        return replace(model, grounding=self.grounding.extended(new)) if len(new) else model

    def updated(self, states: FloatArray, items: IntArray) -> Self:
        """See `GroundedTitles`."""
        statistics = self._with_pairs(states, items)
        grounding = GaussianGrounding.fit(statistics, self.vectors, self.grounding.parameters)
        return replace(self, statistics=statistics, grounding=grounding)

    def scores(self, states: FloatArray) -> FloatArray:
        """Score all items for states ``[q, d]``; see `GaussianGrounding.scores`.

        Returns:
            ``[q, n]`` float32, higher is better.
        """
        return self.grounding.scores(states)[:, self.rows]

    def item_points(self) -> FloatArray:
        """See `GroundedTitles`."""
        return self.grounding.item_points()

    def query_points(self, states: FloatArray) -> FloatArray:
        """See `GroundedTitles`."""
        return self.grounding.query_points(states)

    def to_arrays(self) -> dict[str, Any]:
        """See `GroundedTitles`."""
        arrays = _Titles.to_arrays(self)
        return arrays | {name: getattr(self.grounding, name) for name in _GROUNDING}

    def to_settings(self) -> dict[str, Any]:
        """See `GroundedTitles`."""
        return {"titles": list(self.titles), **asdict(self.grounding.parameters)}

    @classmethod
    def from_stored(cls, folder: Path, settings: "StoredGaussian", arrays: Arrays) -> Self:
        """The model that `to_arrays` and `to_settings` stored.

        Args:
            folder: The model's folder, for messages.
            settings: As read from it.
            arrays: As read from it.

        Raises:
            BundleError: If a value is missing or out of range.
        """
        check_model_arrays(folder, arrays, _GAUSSIAN_ARRAYS, sizes={"t": len(settings.titles)})
        try:
            parameters = GaussianParameters(
                **{name: getattr(settings, name) for name in _PARAMETERS}
            )
        except ValueError as error:
            raise unusable(folder, str(error)) from None
        return cls(
            tuple(settings.titles),
            arrays["rows"],
            arrays["vectors"],
            GaussianStatistics(*(arrays[name] for name in _STATISTICS)),
            GaussianGrounding(parameters, *(arrays[name] for name in _GROUNDING)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class MeanTitles(_Titles):
    """Titles at the mean of the states before them, ranked by plain L2 distance.

    A title without training pairs is at the weighted mean of its nearest neighbors by title.

    Source: arXiv 2509.11524 (L2D), global aggregation.
    """

    @classmethod
    def fit(cls, titles: Sequence[str], *, embed: EmbedTitles, collect: CollectStatistics) -> Self:
        """Fit in closed form; for the arguments and errors see `GaussianTitles.fit`."""
        names, rows, vectors = _catalog(titles, embed)
        statistics = collect(rows, vectors)
        statistics.check_pairs()
        return cls(names, rows, vectors, statistics)

    def with_titles(self, titles: Sequence[str], *, embed: EmbedTitles) -> Self:
        """See `GroundedTitles`."""
        return self._extended(titles, embed)[0]

    def updated(self, states: FloatArray, items: IntArray) -> Self:
        """See `GroundedTitles`."""
        return replace(self, statistics=self._with_pairs(states, items))

    def item_points(self) -> FloatArray:
        """See `GroundedTitles`."""
        counts = self.statistics.counts
        means = self.statistics.sums / np.maximum(counts, 1)[:, None]
        imputer = ColdItemImputer.fit(normalized(self.vectors), counts > 0)
        means[imputer.cold] = imputer.neighbor_means(means.T).T
        return means.astype(np.float32)

    def query_points(self, states: FloatArray) -> FloatArray:
        """See `GroundedTitles`."""
        return states.astype(np.float32)

    def to_settings(self) -> dict[str, Any]:
        """See `GroundedTitles`."""
        return {"titles": list(self.titles)}

    @classmethod
    def from_stored(cls, folder: Path, settings: "StoredTitles", arrays: Arrays) -> Self:
        """See `GaussianTitles.from_stored`."""
        check_model_arrays(folder, arrays, _MEAN_ARRAYS, sizes={"t": len(settings.titles)})
        return cls(
            tuple(settings.titles),
            arrays["rows"],
            arrays["vectors"],
            GaussianStatistics(*(arrays[name] for name in _STATISTICS)),
        )


def _catalog(
    titles: Sequence[str], embed: EmbedTitles
) -> tuple[tuple[str, ...], IntArray, FloatArray]:
    """Different titles ``t``, the row of each item's among them ``[n]``, and their vectors."""
    row_of = {title: row for row, title in enumerate(dict.fromkeys(titles))}
    rows = np.array([row_of[title] for title in titles], dtype=np.int64)
    return tuple(row_of), rows, _embedded(list(row_of), embed)


def _embedded(titles: Sequence[str], embed: EmbedTitles) -> FloatArray:
    """Vectors of titles, ``[m, f]`` float32."""
    return checked_vectors(embed(titles), n_titles=len(titles)).astype(np.float32)


def _joined(vectors: FloatArray, new: FloatArray) -> FloatArray:
    if new.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"embed gave vectors of {new.shape[1]} dimensions; expected {vectors.shape[1]}. Embed "
            "new titles with the encoder of the others."
        )
    return np.concatenate([vectors, new])


def _distinct(titles: list[str]) -> list[str]:
    """Refuse a title that occurs twice.

    Raises:
        ValueError: If one does.
    """
    if len(set(titles)) < len(titles):
        raise ValueError("a title occurs twice")
    return titles


class StoredTitles(StoredSettings):
    """What `GroundedTitles.to_settings` gives."""

    titles: Annotated[list[str], AfterValidator(_distinct)]


class StoredGaussian(StoredTitles):
    """The same of `GaussianTitles`, whose hyperparameters are checked with the arrays."""

    shrinkage: float
    prior_strength: float
    ridge: float
    temperature: float
    popularity_weight: float
    popularity_smoothing: float


_MEAN_ARRAYS = {
    "rows": Expected(("n",), ("int64",), least=0, below="t"),
    "vectors": Expected(("t", "f")),
    "counts": Expected(("t",), _DOUBLE, least=0),
    "sums": Expected(("t", "d"), _DOUBLE),
    "second_moment": Expected(("d", "d"), _DOUBLE),
}
_GAUSSIAN_ARRAYS = {
    **_MEAN_ARRAYS,
    "state_mean": Expected(("d",), _DOUBLE),
    "state_scale": Expected(("d",), _DOUBLE, least=_TINY),
    "feature_mean": Expected(("f",), _DOUBLE),
    "feature_scale": Expected(("f",), _DOUBLE, least=_TINY),
    "regression": Expected(("f", "d"), _DOUBLE),
    "factor": Expected(("d", "d"), _DOUBLE),
    "weights": Expected(("d", "t")),
    "bias": Expected(("t",)),
}
