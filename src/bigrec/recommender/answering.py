"""Lists for histories: ranked by the model or, where nothing of a history is known, by popularity.

One path for a single history and for many, strict and lenient alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from bigrec.data.where import Where
from bigrec.errors import DataError
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.ranked_lists import RankedLists
from bigrec.grounding.ranks import check_length
from bigrec.recommender.candidates import Candidates, OnUnknown, find
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.recommendations import Recommendations, to_recommendations
from bigrec.types import IntArray, ProgressCallback, Recommendation


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of a recommender for each of some histories; see `BIGRec.recommend_batch`."""

    k: int = 10
    exclude_seen: bool | None = None
    items: Iterable[str] | None = field(default=None, repr=False)
    exclude: Iterable[str] = field(default=(), repr=False)
    where: Where | None = None
    unknown: OnUnknown = "error"
    gammas: Mapping[str, float] | None = None
    beams: BeamMode | None = None

    def check(self, fitted: FittedRecommender) -> None:
        """Refuse what a recommender cannot do.

        Raises:
            TypeError: If ``k`` is not a whole number or ``exclude_seen`` not a bool.
            ValueError: If a value is out of range or has no effect.
        """
        check_length(self.k)
        # Every text would be true, "false" too.
        if not isinstance(self.exclude_seen, bool | np.bool_ | None):
            raise TypeError(
                f"exclude_seen is {self.exclude_seen!r}; expected True, False, or None for the "
                "setting."
            )
        if self.unknown not in get_args(OnUnknown):
            raise ValueError(f"unknown is {self.unknown!r}; expected 'error' or 'skip'.")
        is_fused = fitted.fusion is not None
        if self.beams is not None and (is_fused or self.beams not in fitted.encoder.methods):
            raise ValueError(
                f"beams is {self.beams!r}, which has no effect here: expected None unless "
                "generative mode is used without fusion. A fusion rule grounds the beams it was "
                "selected for."
            )

    def candidates(self, fitted: FittedRecommender) -> Candidates:
        """What each list may hold; see `Candidates.select`."""
        excludes_none = isinstance(self.exclude, tuple | list) and not self.exclude
        if self.items is None and self.where is None and excludes_none:
            return fitted.every_item
        return Candidates.select(
            fitted.catalog,
            fitted.rising_items,
            items=self.items,
            exclude=self.exclude,
            where=self.where,
            unknown=self.unknown,
        )

    def excludes_seen(self, fitted: FittedRecommender) -> bool:
        """Whether the history is excluded: as asked for, else as in the settings."""
        if self.exclude_seen is None:
            return fitted.settings.recommend.exclude_seen
        return bool(self.exclude_seen)


@dataclass(frozen=True, eq=False)
class ReadHistory:
    """A history as the catalog knows it: item numbers, and the ids that it lacks."""

    items: IntArray
    unknown: tuple[str, ...]


def answer(
    fitted: FittedRecommender,
    histories: Mapping[str, Iterable[str]],
    request: Request,
    *,
    progress: ProgressCallback | None = None,
) -> list[Recommendations]:
    """Lists for histories.

    Args:
        fitted: The recommender.
        histories: Ids or titles of each, oldest first, by the names that messages give them.
        request: What is asked for each.
        progress: Called with (histories encoded, histories to encode).

    Raises:
        DataError: If a history is empty or an item is not in the catalog, unless they are skipped.
            If an item is missing.
        TypeError: If an argument is of another type.
        ValueError: If a value is out of range or has no effect.
    """
    request.check(fitted)
    # Before any work, and also for no history.
    fitted.rule(exclude_seen=request.excludes_seen(fitted), gammas=request.gammas)
    read = [
        read_history(fitted, history, name=name, unknown=request.unknown)
        for name, history in histories.items()
    ]
    if not read:
        return []
    candidates = request.candidates(fitted)
    known = [history.items for history in read if len(history.items)]
    ranked = iter(_ranked(fitted, known, candidates, request, progress=progress) if known else ())
    popular = None
    answers = []
    for history in read:
        if len(history.items):
            items, source = next(ranked), fitted.source
        else:
            popular = popular or most_popular(fitted, candidates, k=request.k)
            items, source = popular, "popularity"
        answers.append(
            Recommendations(
                items,
                source=source,
                unknown=history.unknown,
                ignored=candidates.ignored,
                version=fitted.version,
            )
        )
    return answers


def read_history(
    fitted: FittedRecommender, history: Iterable[str], *, name: str, unknown: OnUnknown
) -> ReadHistory:
    """Read a history once.

    Args:
        fitted: The recommender.
        history: Ids or titles, oldest first.
        name: Names it in messages.
        unknown: Whether an item that the catalog lacks is an error, and an empty history.

    Raises:
        DataError: If so, or if an item is missing.
        TypeError: If it is a set, which has no order, or an item is not text.
    """
    if isinstance(history, set | frozenset):
        raise TypeError(
            f"{name} is a set, which has no order: expected a list of item ids or titles, oldest "
            "first."
        )
    items, absent = find(fitted.catalog, history, name=name, unknown=unknown)
    if not len(items) and unknown == "error":
        raise DataError(
            f"{name} is empty: expected a list of at least one item id or title, oldest first. "
            "With unknown='skip' it is answered by popularity."
        )
    return ReadHistory(items, absent)


def rank_histories(
    fitted: FittedRecommender,
    histories: Sequence[IntArray],
    candidates: Candidates,
    request: Request,
    *,
    progress: ProgressCallback | None = None,
) -> tuple[EncodedQueries, RankedLists]:
    """Rank the candidates for histories by the model.

    Args:
        fitted: The recommender.
        histories: Item numbers of each, oldest first, at least one.
        candidates: What may be listed.
        request: What is asked for each.
        progress: Called with (histories encoded, histories to encode).

    Returns:
        The encoded histories, and a list for each.
    """
    encoded = fitted.encoder.encode(histories, progress=progress)
    lists = fitted.rank(
        encoded,
        histories,
        k=min(int(request.k), fitted.catalog.n_titles),
        exclude_seen=request.excludes_seen(fitted),
        exclude=[candidates.excluded_items] * len(histories),
        beams=request.beams,
        gammas=request.gammas,
    )
    return encoded, lists


def _ranked(
    fitted: FittedRecommender,
    histories: Sequence[IntArray],
    candidates: Candidates,
    request: Request,
    *,
    progress: ProgressCallback | None,
) -> list[list[Recommendation]]:
    """The lists of histories by the model."""
    encoded, lists = rank_histories(fitted, histories, candidates, request, progress=progress)
    return [
        to_recommendations(
            fitted.catalog, lists, query, texts=encoded.texts[query], shown=candidates.shown
        )
        for query in range(len(histories))
    ]


def most_popular(
    fitted: FittedRecommender, candidates: Candidates, *, k: int
) -> list[Recommendation]:
    """The list of a history of which nothing is known; see `popular_titles`."""
    catalog, counts = fitted.catalog, fitted.title_counts
    return [
        Recommendation(
            rank=place,
            item_id=catalog.item_ids[candidates.shown[title]],
            title=catalog.unique_titles[title],
            score=float(counts[title]),
            distance=None,
            generated_text=None,
        )
        for place, title in enumerate(popular_titles(fitted, candidates, k=k), start=1)
    ]


def popular_titles(fitted: FittedRecommender, candidates: Candidates, *, k: int) -> IntArray:
    """Title ids by training interactions, at most ``k``; a tie goes to the first in the catalog.

    Args:
        fitted: The recommender.
        candidates: What may be listed.
        k: Length of the list.
    """
    listed = np.flatnonzero(candidates.shown >= 0)
    return listed[np.argsort(-fitted.title_counts[listed], kind="stable")[:k]]
