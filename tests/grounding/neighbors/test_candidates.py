from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.fusion.cold_mixture import ColdMixture
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.neighbors.candidates import CandidateRanker
from bigrec.grounding.ranker import Ranker
from bigrec.types import FloatArray, IntArray

N_TITLES, SIZE, Q = 300, 8, 5
RULES = (
    FusionRule("product", "top1", (0.7,)),
    FusionRule("product", "top1", (0.7,), floor=0.1),
    FusionRule("weighted_sum", "top1", (0.5,)),
)


class Scan:
    """Finds the nearest points without a graph."""

    def __init__(self, points: FloatArray) -> None:
        self._points = points

    def save(self, path: Path) -> None:
        raise NotImplementedError

    def candidates(self, queries: FloatArray, *, count: int) -> IntArray:
        distances = np.linalg.norm(queries[:, None] - self._points, axis=2)
        return np.argsort(distances, axis=1, kind="stable")[:, :count]


def _both(seed: int, *, n_candidates: int) -> tuple[Ranker, CandidateRanker, EncodedQueries]:
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((N_TITLES, SIZE)).astype(np.float32)
    # Two pairs of equal vectors: ties go to the smaller title id.
    items[1], items[200] = items[0], items[100]
    numbers = np.arange(N_TITLES)
    index = ItemIndex(tuple(map(str, numbers)), items, embedder_fingerprint="test")
    ranker = Ranker(index, numbers, counts=np.zeros(N_TITLES, dtype=np.int64))
    scan = Scan(index.l2.scaled_points(slice(None)))
    candidates = CandidateRanker(ranker, scan, n_candidates=n_candidates)
    vectors = np.concatenate([items[:1], rng.standard_normal((Q - 1, SIZE)).astype(np.float32)])
    return ranker, candidates, EncodedQueries.from_vectors(vectors)


def _exclude(seed: int, *, count: int) -> list[IntArray]:
    rng = np.random.default_rng(seed)
    return [rng.choice(N_TITLES, size=count, replace=False) for _ in range(Q)]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), excluded=st.integers(0, 20), k=st.integers(1, 20))
def test_candidates_by_distance_give_the_exact_lists(seed: int, excluded: int, k: int) -> None:
    ranker, candidates, queries = _both(seed, n_candidates=50)
    exclude = _exclude(seed, count=excluded)
    expected = ranker.rank(queries, k=k, beams="top1", exclude=exclude)
    lists = candidates.rank(queries, k=k, exclude=exclude)
    assert lists is not None
    np.testing.assert_array_equal(lists.title_ids, expected.title_ids)
    np.testing.assert_array_equal(lists.distances, expected.distances)
    np.testing.assert_array_equal(lists.scores, expected.scores)
    np.testing.assert_array_equal(lists.beams, expected.beams)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_signals_bring_their_own_candidates(rule: FusionRule, seed: int) -> None:
    ranker, candidates, queries = _both(seed, n_candidates=60)
    weights = np.random.default_rng(seed).random((Q, N_TITLES)) ** 8

    def fuse(rows: slice, distances: FloatArray) -> FloatArray:
        return rule.apply(distances, [weights[rows]])

    def weights_of(rows: slice) -> Sequence[FloatArray]:
        return [weights[rows]]

    exclude = _exclude(seed, count=3)
    expected = ranker.rank(queries, k=5, beams="top1", exclude=exclude, fuse=fuse)
    lists = candidates.rank(queries, k=5, exclude=exclude, rule=rule, weights=weights_of)
    assert lists is not None
    if rule.floor == 0 and rule.method == "product":
        np.testing.assert_array_equal(lists.title_ids, expected.title_ids)
    # Distances are normalized by nearly the whole range alone, which may exchange close titles.
    pairs = zip(lists.title_ids, expected.title_ids, strict=True)
    assert sum(len(set(a) & set(b)) for a, b in pairs) >= 23
    np.testing.assert_array_equal(lists.title_ids[:, 0], expected.title_ids[:, 0])


def test_a_list_that_candidates_do_not_fill_is_left_to_the_exact_search() -> None:
    _, candidates, queries = _both(0, n_candidates=20)
    assert candidates.rank(queries, k=5, exclude=_exclude(0, count=N_TITLES - 10)) is None


def test_a_list_of_all_that_is_left_is_full_when_it_is_short() -> None:
    ranker, candidates, queries = _both(0, n_candidates=N_TITLES)
    exclude = _exclude(0, count=N_TITLES - 3)
    lists = candidates.rank(queries, k=5, exclude=exclude)
    expected = ranker.rank(queries, k=5, beams="top1", exclude=exclude)
    assert lists is not None
    np.testing.assert_array_equal(lists.title_ids, expected.title_ids)
    np.testing.assert_array_equal(lists.items, expected.items)
    assert (lists.title_ids[:, 3:] == -1).all()
    assert np.isnan(lists.distances[:, 3:]).all()


def test_rules_that_depend_on_all_titles_do_not_rank_candidates() -> None:
    assert CandidateRanker.ranks_by(None)
    assert all(CandidateRanker.ranks_by(rule) for rule in RULES)
    mixture = ColdMixture(signal=0, share=0.5, known_sharpness=1.0, cold_sharpness=1.0)
    for rule in (
        FusionRule("rrf", "top1"),
        FusionRule("weighted_sum", "top1", (1.0,), normalization="z_score"),
        FusionRule("product", "top1", (1.0,), cold=mixture),
    ):
        assert not CandidateRanker.ranks_by(rule)
