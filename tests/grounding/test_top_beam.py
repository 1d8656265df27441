from typing import get_args

import numpy as np
import pytest

from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Evaluation, Ranker
from bigrec.grounding.search.scan import RankCounter
from bigrec.grounding.space import Normalization
from bigrec.types import UNRANKED, FloatArray, IntArray

G, D, Q = 300, 8, 40


def _points(rng: np.random.Generator) -> FloatArray:
    """Duplicates and near-duplicates, far from the origin."""
    points = rng.normal(size=(G, D)).astype(np.float32) + np.float32(100)
    points[100:150] = points[:50]
    points[150:200] = np.nextafter(points[:50], np.float32(np.inf))
    return points


def _case(*, max_bytes: int = 1 << 24) -> tuple[Ranker, EncodedQueries, IntArray, list[IntArray]]:
    rng = np.random.default_rng(0)
    points = _points(rng)
    index = ItemIndex(tuple(map(str, range(G))), points, "fake")
    ranker = Ranker(index, np.arange(G), counts=np.zeros(G, dtype=int), max_bytes=max_bytes)
    vectors = rng.normal(size=(Q, D)).astype(np.float32) + np.float32(100)
    vectors[:20] = points[:20]
    targets: IntArray = rng.integers(G, size=Q)
    targets[:20] = np.arange(20) + 100
    seen: list[IntArray] = [rng.integers(G, size=30) for _ in range(Q)]
    seen[0][0] = targets[0]
    queries = EncodedQueries.from_vectors(vectors)
    return ranker, queries, targets, seen


def _squares(ranker: Ranker, queries: EncodedQueries) -> FloatArray:
    points = ranker.index.embeddings.astype(np.float64)
    return np.stack([((points - vector) ** 2).sum(axis=1) for vector in queries.vectors])


def _assert_equal(actual: Evaluation, expected: Evaluation) -> None:
    np.testing.assert_array_equal(actual.ranks, expected.ranks)
    for name in ("items", "title_ids", "scores", "distances", "beams"):
        np.testing.assert_array_equal(getattr(actual.lists, name), getattr(expected.lists, name))


@pytest.mark.parametrize("k", [1, 10, G])
@pytest.mark.parametrize("mode", ["top1", "all"])
def test_ranks_and_lists_are_those_of_float64_distances(k: int, mode: BeamMode) -> None:
    ranker, queries, targets, seen = _case()
    squares = _squares(ranker, queries)
    for result in ranker.evaluate(queries, targets, k=k, exclude=seen, modes=[mode]):
        for query in range(Q):
            remaining = squares[query].copy()
            if result.exclude_seen:
                remaining[seen[query]] = np.inf
            target = remaining[targets[query]]
            ahead = np.count_nonzero(remaining <= target) - 1
            expected = UNRANKED if np.isinf(target) else ahead
            assert result.ranks[query] == expected
            order = np.argsort(remaining, kind="stable")[:k]
            shown = np.where(np.isinf(remaining[order]), -1, order)
            np.testing.assert_array_equal(result.lists.title_ids[query], shown)
            distances = np.where(shown < 0, np.nan, np.sqrt(remaining[order]))
            np.testing.assert_allclose(result.lists.distances[query], distances, rtol=1e-12)
            np.testing.assert_array_equal(result.lists.beams[query], np.where(shown < 0, -1, 0))


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_in_every_space_an_exact_title_comes_first_and_ties_with_its_duplicate(
    normalization: Normalization,
) -> None:
    points = _points(np.random.default_rng(0))
    ranker = Ranker(
        ItemIndex(tuple(map(str, range(G))), points, "fake", normalization),
        np.arange(G),
        counts=np.zeros(G, dtype=int),
    )
    queries = EncodedQueries.from_vectors(points[100:150])
    (result,) = ranker.evaluate(queries, np.arange(50), k=2, modes=["top1"])
    np.testing.assert_array_equal(result.lists.title_ids[:, 0], np.arange(50))
    np.testing.assert_array_equal(result.lists.title_ids[:, 1], np.arange(100, 150))
    np.testing.assert_array_equal(result.lists.distances, np.zeros((50, 2)))
    np.testing.assert_array_equal(result.ranks, np.ones(50))


def test_little_memory_gives_the_same() -> None:
    ranker, queries, targets, seen = _case()
    little = _case(max_bytes=1)[0]
    for actual, expected in zip(
        little.evaluate(queries, targets, k=G, exclude=seen),
        ranker.evaluate(queries, targets, k=G, exclude=seen),
        strict=True,
    ):
        _assert_equal(actual, expected)


def test_both_modes_of_single_vectors_are_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker, queries, targets, seen = _case()
    created: list[FloatArray] = []

    class Recorded(RankCounter):
        def __init__(self, target_squares: FloatArray) -> None:
            created.append(target_squares)
            super().__init__(target_squares)

    monkeypatch.setattr("bigrec.grounding.top_beam.RankCounter", Recorded)
    top1, top1_unseen, every, every_unseen = ranker.evaluate(queries, targets, k=5, exclude=seen)
    assert len(created) == 2
    _assert_equal(every, top1)
    _assert_equal(every_unseen, top1_unseen)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_only_vectors_of_ranked_queries_must_be_finite(value: float) -> None:
    ranker, queries, targets, _ = _case()
    queries.vectors[Q - 1, 2] = value
    with pytest.raises(ValueError, match="queries holds NaN or infinity"):
        ranker.rank(queries, k=3, beams="top1")
    with pytest.raises(ValueError, match="queries holds NaN or infinity"):
        ranker.target_ranks(queries, targets, beams="all")
    finite = queries.first(Q - 1)
    assert ranker.target_ranks(finite, targets[: Q - 1], beams="top1").shape == (Q - 1,)


def test_a_target_for_every_query_is_expected() -> None:
    ranker, queries, targets, _ = _case()
    with pytest.raises(ValueError, match="targets has 39 entries for 40 queries"):
        ranker.target_ranks(queries, targets[1:], beams="top1")
