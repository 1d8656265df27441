from typing import get_args

import numpy as np
import pytest

from bigrec.grounding.beams import BeamMode, Queries
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Evaluation, Ranker
from bigrec.grounding.search.scan import Ahead
from bigrec.grounding.space import SpaceKind
from bigrec.types import FloatArray, IntArray

G, D, Q = 300, 8, 40


def _points(rng: np.random.Generator) -> FloatArray:
    """Duplicates and near-duplicates, far from the origin."""
    points = rng.normal(size=(G, D)).astype(np.float32) + np.float32(100)
    points[100:150] = points[:50]
    points[150:200] = np.nextafter(points[:50], np.float32(np.inf))
    return points


def _case(*, max_bytes: int = 1 << 24) -> tuple[Ranker, Queries, IntArray, list[IntArray]]:
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
    queries = Queries(vectors, np.arange(Q), np.zeros(Q), np.arange(Q + 1))
    return ranker, queries, targets, seen


def _squares(ranker: Ranker, queries: Queries) -> FloatArray:
    points = ranker.index.embeddings.astype(np.float64)
    return np.stack([((points - vector) ** 2).sum(axis=1) for vector in queries.vectors])


def _assert_equal(found: Evaluation, expected: Evaluation) -> None:
    np.testing.assert_array_equal(found.ranks, expected.ranks)
    for name in ("items", "groups", "scores", "distances", "beams"):
        np.testing.assert_array_equal(getattr(found.lists, name), getattr(expected.lists, name))


@pytest.mark.parametrize("k", [1, 10, G])
@pytest.mark.parametrize("mode", ["first", "all"])
def test_ranks_and_lists_are_those_of_float64_distances(k: int, mode: BeamMode) -> None:
    ranker, queries, targets, seen = _case()
    squares = _squares(ranker, queries)
    for result in ranker.evaluate(queries, targets, k=k, exclude=seen, modes=[mode]):
        for query in range(Q):
            left = squares[query].copy()
            if result.exclude_seen:
                left[seen[query]] = np.inf
            target = left[targets[query]]
            expected = G if np.isinf(target) else np.count_nonzero(left <= target) - 1
            assert result.ranks[query] == expected
            order = np.argsort(left, kind="stable")[:k]
            shown = np.where(np.isinf(left[order]), -1, order)
            np.testing.assert_array_equal(result.lists.groups[query], shown)
            distances = np.where(shown < 0, np.nan, np.sqrt(left[order]))
            np.testing.assert_allclose(result.lists.distances[query], distances, rtol=1e-12)
            np.testing.assert_array_equal(result.lists.beams[query], np.where(shown < 0, -1, 0))


@pytest.mark.parametrize("kind", get_args(SpaceKind))
def test_in_every_space_an_exact_title_comes_first_and_ties_with_its_like(kind: SpaceKind) -> None:
    points = _points(np.random.default_rng(0))
    ranker = Ranker(
        ItemIndex(tuple(map(str, range(G))), points, "fake", kind),
        np.arange(G),
        counts=np.zeros(G, dtype=int),
    )
    queries = Queries(points[100:150], np.arange(50), np.zeros(50), np.arange(51))
    (found,) = ranker.evaluate(queries, np.arange(50), k=2, modes=["first"])
    np.testing.assert_array_equal(found.lists.groups[:, 0], np.arange(50))
    np.testing.assert_array_equal(found.lists.groups[:, 1], np.arange(100, 150))
    np.testing.assert_array_equal(found.lists.distances, np.zeros((50, 2)))
    np.testing.assert_array_equal(found.ranks, np.ones(50))


def test_little_memory_gives_the_same() -> None:
    ranker, queries, targets, seen = _case()
    little = _case(max_bytes=1)[0]
    for found, expected in zip(
        little.evaluate(queries, targets, k=G, exclude=seen),
        ranker.evaluate(queries, targets, k=G, exclude=seen),
        strict=True,
    ):
        _assert_equal(found, expected)


def test_both_modes_of_single_texts_are_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker, queries, targets, seen = _case()
    made: list[FloatArray] = []

    class Counted(Ahead):
        def __init__(self, of_targets: FloatArray) -> None:
            made.append(of_targets)
            super().__init__(of_targets)

    monkeypatch.setattr("bigrec.grounding.ranker.Ahead", Counted)
    first, first_unseen, every, every_unseen = ranker.evaluate(queries, targets, k=5, exclude=seen)
    assert len(made) == 2
    _assert_equal(every, first)
    _assert_equal(every_unseen, first_unseen)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_only_texts_that_count_must_be_finite(wrong: float) -> None:
    ranker, queries, targets, _ = _case()
    queries.vectors[Q - 1, 2] = wrong
    with pytest.raises(ValueError, match="queries holds NaN or infinity"):
        ranker.rank(queries, k=3, beams="first")
    with pytest.raises(ValueError, match="queries holds NaN or infinity"):
        ranker.target_ranks(queries, targets, beams="all")
    kept = queries.first(Q - 1)
    assert ranker.target_ranks(kept, targets[: Q - 1], beams="first").shape == (Q - 1,)


def test_a_target_for_every_query_is_expected() -> None:
    ranker, queries, targets, _ = _case()
    with pytest.raises(ValueError, match="targets has 39 entries for 40 queries"):
        ranker.target_ranks(queries, targets[1:], beams="first")
