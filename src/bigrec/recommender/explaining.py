"""Why an item is where it is in the ranking for a history."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bigrec.grounding.fusion.formulas import min_max
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.terms import score_terms, shares
from bigrec.models.registry import POPULARITY
from bigrec.recommender.answering import ReadHistory, Request, popular_titles, read_history
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.similar import similar
from bigrec.types import FloatArray, GeneratedText, IntArray, Source

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ScorePart:
    """What one of the models adds to an item's score.

    Attributes:
        name: The model: the mode's, or a fused signal.
        gamma: The signal's gamma; None for the mode's model.
        weight: From 0 for the title that the model ranks last to 1 for the one it ranks first.
        above: The part's term of the score, above the term of the title that this part ranks
            last, at least 0; for the product in logarithms. None where it is infinite: without a
            floor, the product keeps the nearest title first for all signals.
        share: Share of the sum of all parts' ``above``. The shares add up to 1, or are all 0 for a
            title that every part ranks last.
    """

    name: str
    gamma: float | None
    weight: float
    above: float | None
    share: float


@dataclass(frozen=True, slots=True)
class SimilarItem:
    """An item beside its distance to the explained one, in the space of `BIGRec.similar`."""

    item_id: str
    title: str
    distance: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item is where it is in the ranking for a history.

    Attributes:
        item_id: The item.
        title: Its title.
        rank: Its title's rank, 1 for the best; None if the history holds it and is excluded.
        score: What the list is ranked by, as in `Recommendation`.
        distance: As in `Recommendation`.
        generated_text: As in `Recommendation`.
        source: What ranks the list.
        rule: How signals are fused, in words; None without.
        parts: What each model adds to the score.
        texts: Generated texts, most probable first; none but in generative mode.
        nearest: Items whose titles are nearest to the item's.
        history: Items of the history, nearest to the item first.
        unknown: Ids and titles of the history that the catalog lacks.
        version: Identifies the fitted model and its catalog.
    """

    item_id: str
    title: str
    rank: int | None
    score: float
    distance: float | None
    generated_text: str | None
    source: Source
    rule: str | None
    parts: tuple[ScorePart, ...]
    texts: tuple[GeneratedText, ...]
    nearest: tuple[SimilarItem, ...]
    history: tuple[SimilarItem, ...]
    unknown: tuple[str, ...]
    version: str

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON-like values."""
        values = asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }


def explain(
    fitted: FittedRecommender, history: Iterable[str], item: str, request: Request
) -> Explanation:
    """Why an item is where it is in the ranking for a history; see `BIGRec.explain`.

    Args:
        fitted: The recommender.
        history: Ids or titles, oldest first.
        item: Id or title of the item.
        request: How the list is asked for. What it may hold does not count.

    Raises:
        DataError: If the item or, unless they are skipped, one of the history is not in the
            catalog.
        TypeError: If an item is not text.
        ValueError: If a signal is not fused or a gamma is out of range.
    """
    request.check(fitted)
    read = read_history(fitted, history, name="the history", unknown=request.unknown)
    (number,) = fitted.catalog.resolve([item], name="item")
    place = _by_model if len(read.items) else _by_popularity
    return Explanation(
        item_id=fitted.catalog.item_ids[number],
        title=fitted.catalog.titles[number],
        **place(fitted, read.items, int(fitted.catalog.title_ids[number]), request),
        nearest=tuple(
            SimilarItem(near.item_id, near.title, near.distance or 0.0)
            for near in similar(fitted, fitted.catalog.item_ids[number], k=_SHOWN)
        ),
        history=_nearest_of_history(fitted, read, number),
        unknown=read.unknown,
        version=fitted.version,
    )


def _by_model(
    fitted: FittedRecommender, history: IntArray, title: int, request: Request
) -> dict[str, Any]:
    """What an explanation says of the ranking by the model and the signals."""
    exclude_seen = request.excludes_seen(fitted)
    rule = fitted.rule(exclude_seen=exclude_seen, gammas=request.gammas)
    beams = request.beams or fitted.beams(exclude_seen=exclude_seen)
    encoded = fitted.encoder.encode([history])
    lists = fitted.encoder.ranker.rank(
        encoded, k=fitted.catalog.n_titles, beams=beams, fuse=fitted.fuse([history], rule)
    )
    order = lists.title_ids[0]
    (column,) = np.flatnonzero(order == title)
    seen = fitted.catalog.title_ids[history] if exclude_seen else np.zeros(0, dtype=np.int64)
    (batch,) = fitted.encoder.ranker.iter_distances(encoded, beams=beams)
    parts = _parts(fitted, history, title, rule=rule, distances=batch.combine(beams)[0])
    texts = tuple(encoded.texts[0])
    squared = fitted.encoder.squared_distances(encoded.vectors[lists.beams[0, column]])
    if squared is not None:
        parts = (*_split(parts[0], squared, title), *parts[1:])
    return {
        "rank": None if title in seen else 1 + int((~np.isin(order[:column], seen)).sum()),
        "score": float(lists.scores[0, column]),
        "distance": float(lists.distances[0, column]),
        "generated_text": texts[lists.beams[0, column]].text if texts else None,
        "source": fitted.source,
        "rule": None if rule is None else rule.describe(beams=len(fitted.encoder.methods) > 1),
        "parts": parts,
        "texts": texts,
    }


def _parts(
    fitted: FittedRecommender,
    history: IntArray,
    title: int,
    *,
    rule: FusionRule | None,
    distances: FloatArray,
) -> tuple[ScorePart, ...]:
    """Parts of a title's score.

    Args:
        fitted: The recommender.
        history: Item numbers.
        title: Title id.
        rule: Fuses the signals; None without.
        distances: ``[1, t]``.
    """
    weights, terms, gammas = [], -distances[None], {}
    if rule is not None and fitted.fusion is not None:
        weights = fitted.weights([history])
        terms = score_terms(rule, distances, weights, cold=fitted.cold_titles)
        gammas = dict(zip(fitted.fusion.signals, rule.gammas_of(len(weights)), strict=True))
    above, share = shares(terms[:, 0], title)
    method = next(iter(fitted.encoder.methods.values())).label
    names = [(method, None), *gammas.items()]
    proximities = [min_max(-distances), *weights]
    return tuple(
        ScorePart(
            name=name,
            gamma=gamma,
            weight=float(proximity[0, title]),
            above=float(above[place]) if np.isfinite(above[place]) else None,
            share=float(share[place]),
        )
        for place, ((name, gamma), proximity) in enumerate(zip(names, proximities, strict=True))
    )


def _split(part: ScorePart, squared: FloatArray, title: int) -> tuple[ScorePart, ScorePart]:
    """The part of a joint encoder's distance, divided between texts and state.

    Each takes as much of it as its squared distance is of the sum, both counted from the title
    that is farthest.

    Args:
        part: Of the distance.
        squared: Parts of the squared distances, ``[2, t]``.
        title: Title id.
    """
    _, divided = shares(-squared, title)
    texts, state = (
        ScorePart(
            name=f"{part.name}: {name}",
            gamma=None,
            weight=float(min_max(-distances[None])[0, title]),
            above=None if part.above is None else part.above * float(share),
            share=part.share * float(share),
        )
        for name, distances, share in zip(("texts", "state"), squared, divided, strict=True)
    )
    return texts, state


def _by_popularity(
    fitted: FittedRecommender, _history: IntArray, title: int, _request: Request
) -> dict[str, Any]:
    """What an explanation says of the ranking where nothing of a history is known."""
    counts = fitted.title_counts
    above = int(counts[title] - counts.min())
    order = popular_titles(fitted, fitted.every_item, k=len(counts))
    part = ScorePart(
        name=POPULARITY,
        gamma=None,
        weight=float(min_max(counts[None].astype(np.float64))[0, title]),
        above=float(above),
        share=float(above > 0),
    )
    return {
        "rank": 1 + int(np.flatnonzero(order == title)[0]),
        "score": float(counts[title]),
        "distance": None,
        "generated_text": None,
        "source": "popularity",
        "rule": None,
        "parts": (part,),
        "texts": (),
    }


def _nearest_of_history(
    fitted: FittedRecommender, read: ReadHistory, number: int
) -> tuple[SimilarItem, ...]:
    """The distinct titles of a history, nearest to an item first."""
    catalog, index = fitted.catalog, fitted.title_ranker.index
    vector = index.embeddings[[catalog.title_ids[number]]]
    distances = index.distances(vector)[0]
    of_title = {int(catalog.title_ids[item]): item for item in read.items}
    return tuple(
        SimilarItem(catalog.item_ids[item], catalog.titles[item], float(distances[title]))
        for title, item in sorted(of_title.items(), key=lambda pair: distances[pair[0]])
    )
