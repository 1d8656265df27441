"""Approximate search in a recommender: its graph of titles, and the share that it finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.neighbors.candidates import CandidateRanker, Neighbors
from bigrec.grounding.neighbors.qdrant import QdrantPoints
from bigrec.grounding.neighbors.usearch import UsearchGraph
from bigrec.grounding.ranker import Ranker
from bigrec.printable import get_logger
from bigrec.settings.sections import IndexSettings
from bigrec.types import IntArray

if TYPE_CHECKING:
    from bigrec.recommender.fitted import FittedRecommender

GRAPH_FILE = "neighbors.usearch"
"""The graph in a bundle."""

_RECALL_QUERIES = 500
_RECALL_K = 10
# It takes a minute from here on.
_TOLD_FROM = 100_000

logger = get_logger(__name__)


def candidate_ranker(
    ranker: Ranker, settings: IndexSettings, *, graph: Path | None = None
) -> CandidateRanker | None:
    """The ranker of candidates that the settings ask for; None for exact search.

    Args:
        ranker: Ranks the whole catalog.
        settings: Backend and size of the search.
        graph: File of a graph over the ranker's titles; None builds one.

    Raises:
        BundleError: If the file is no graph over so many titles.
        ModelError: If a server does not answer.
        SettingsError: If the backend is not installed, or no server is named.
    """
    if settings.backend == "exact":
        return None
    points = ranker.index.l2
    neighbors: Neighbors
    if settings.backend == "qdrant":
        neighbors = QdrantPoints.connect(points, expansion=settings.expansion)
    elif graph is None:
        if len(points) >= _TOLD_FROM:
            logger.info("Building a graph over %d titles", len(points))
        neighbors = UsearchGraph.build(points, expansion=settings.expansion)
    else:
        neighbors = UsearchGraph.view(graph, points, expansion=settings.expansion)
    return CandidateRanker(ranker, neighbors, n_candidates=settings.n_candidates)


def save_graph(fitted: "FittedRecommender", folder: Path) -> None:
    """Write the graph of a recommender that has one into a bundle's folder."""
    candidates = fitted.candidate_ranker
    if candidates is not None:
        candidates.neighbors.save(folder / GRAPH_FILE)


def measure_recall(
    fitted: "FittedRecommender", encoded: EncodedQueries, histories: Sequence[IntArray]
) -> dict[str, float | int | str] | None:
    """Share of the exact lists that the approximate ones hold; None with exact search.

    Args:
        fitted: The recommender.
        encoded: Encoded queries, of which the first 500 are taken.
        histories: Item numbers of each, all that is known.
    """
    if fitted.candidate_ranker is None:
        return None
    count, k = min(_RECALL_QUERIES, len(encoded)), min(_RECALL_K, fitted.catalog.n_titles)
    found, expected = (
        fitted.rank(
            encoded.first(count),
            histories[:count],
            k=k,
            exclude_seen=fitted.settings.recommend.exclude_seen,
            exact=exact,
        ).title_ids
        for exact in (False, True)
    )
    shares = found_shares(found, expected)
    return {
        "backend": fitted.settings.index.backend,
        "queries": len(shares),
        f"recall@{k}": float(np.mean(shares)),
    }


def found_shares(lists: IntArray, expected: IntArray) -> list[float]:
    """Share of each expected list that a list holds; an empty one counts for nothing.

    Args:
        lists: Title ids, ``[q, k]``; -1 where a list is short.
        expected: The same.
    """
    pairs = zip(lists, expected, strict=True)
    return [
        float(np.isin(right[right >= 0], left).mean()) for left, right in pairs if right[0] >= 0
    ]
