from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigrec.errors import StaleIndexError
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranked_lists import RankedLists
from bigrec.grounding.ranker import Ranker
from bigrec.types import UNRANKED, GeneratedText
from tests.grounding.fakes import FakeEmbedder, TableEmbedder

# Four titles on a line. Items 1 and 4 are both called "b".
PLACES = {"a": [0.0], "b": [1.0], "c": [3.0], "d": [7.0], "near a": [-0.5], "near d": [6.0]}
TITLE_IDS = np.array([0, 1, 2, 3, 1])
COUNTS = np.array([5, 1, 2, 2, 3])

TEXTS = st.lists(
    st.lists(
        st.builds(GeneratedText, st.sampled_from("abcdefgh"), st.floats(-9, 0)),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=6,
)

# Every example builds an index, which can exceed hypothesis' 200 ms on a busy machine.
SLOW = settings(deadline=None)


@pytest.fixture
def embedder() -> TableEmbedder:
    return TableEmbedder(PLACES)


@pytest.fixture
def ranker(embedder: TableEmbedder) -> Ranker:
    return Ranker(ItemIndex.build("abcd", embedder), TITLE_IDS, counts=COUNTS)


def _random_ranker(**options: int) -> Ranker:
    index = ItemIndex.build("abcdefgh", FakeEmbedder())
    return Ranker(index, np.arange(8), counts=np.zeros(8, dtype=int), **options)


def _beams(*texts: tuple[str, float]) -> list[GeneratedText]:
    return [GeneratedText(text, float(np.log(p))) for text, p in texts]


def _assert_same(actual: RankedLists, expected: RankedLists) -> None:
    np.testing.assert_array_equal(actual.items, expected.items)
    np.testing.assert_array_equal(actual.beams, expected.beams)
    np.testing.assert_allclose(actual.distances, expected.distances, rtol=1e-6)
    np.testing.assert_allclose(actual.scores, expected.scores, rtol=1e-6)


def test_items_are_ranked_by_distance_to_the_top_beam(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    queries = ranker.encode([_beams(("near a", 0.4), ("d", 0.6))], embedder)
    lists = ranker.rank(queries, k=3, beams="top1")
    np.testing.assert_array_equal(lists.title_ids, [[0, 1, 2]])
    np.testing.assert_array_equal(lists.distances, [[0.5, 1.5, 3.5]])
    np.testing.assert_array_equal(lists.scores, [[-0.5, -1.5, -3.5]])
    np.testing.assert_array_equal(lists.beams, [[0, 0, 0]])


def test_a_title_is_listed_as_its_most_popular_item(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    # of the items called "b", item 4 has 3 interactions and item 1 has 1
    lists = ranker.rank(ranker.encode([_beams(("b", 1.0))], embedder), k=1, beams="top1")
    np.testing.assert_array_equal(lists.items, [[4]])


def test_a_title_of_equally_popular_items_is_listed_as_the_smallest_number(
    embedder: TableEmbedder,
) -> None:
    ranker = Ranker(ItemIndex.build("abcd", embedder), TITLE_IDS, counts=np.full(5, 2))
    lists = ranker.rank(ranker.encode([_beams(("b", 1.0))], embedder), k=1, beams="top1")
    np.testing.assert_array_equal(lists.items, [[1]])


def test_all_beams_contribute_to_the_list(ranker: Ranker, embedder: TableEmbedder) -> None:
    # distances [0, 1, 3, 7] over 0.8 and [7, 6, 4, 0] over 0.2: best are 0, 1.25, 3.75 and 0,
    # and of the two exact titles the more probable one comes first
    queries = ranker.encode([_beams(("a", 0.8), ("d", 0.2))], embedder)
    lists = ranker.rank(queries, k=4, beams="all")
    np.testing.assert_array_equal(lists.title_ids, [[0, 3, 1, 2]])
    np.testing.assert_array_equal(lists.beams, [[0, 1, 0, 0]])
    np.testing.assert_array_equal(lists.distances, [[0.0, 0.0, 1.0, 3.0]])
    # 1e-6 times the largest distance, 7, is added before dividing
    np.testing.assert_allclose(
        lists.scores, [[-7e-6 / 0.8, -7e-6 / 0.2, -1.0000070 / 0.8, -3.0000070 / 0.8]]
    )


def test_queries_may_have_different_numbers_of_beams(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    texts = [_beams(("near d", 1.0)), _beams(("a", 0.8), ("d", 0.2))]
    lists = ranker.rank(ranker.encode(texts, embedder), k=2, beams="all")
    np.testing.assert_array_equal(lists.title_ids, [[3, 2], [0, 3]])


def test_every_item_of_an_excluded_title_is_excluded(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    queries = ranker.encode([_beams(("b", 1.0))], embedder)
    lists = ranker.rank(queries, k=2, beams="top1", exclude=[np.array([1])])
    np.testing.assert_array_equal(lists.items, [[0, 2]])


def test_padding_in_the_exclusions_is_ignored(ranker: Ranker, embedder: TableEmbedder) -> None:
    queries = ranker.encode([_beams(("b", 1.0))], embedder)
    lists = ranker.rank(queries, k=2, beams="top1", exclude=[np.array([-1, -1, 0])])
    np.testing.assert_array_equal(lists.items, [[4, 2]])


def test_a_list_is_padded_where_too_few_items_remain(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    queries = ranker.encode([_beams(("a", 1.0))], embedder)
    lists = ranker.rank(queries, k=4, beams="top1", exclude=[np.array([0, 1])])
    np.testing.assert_array_equal(lists.items, [[2, 3, -1, -1]])
    np.testing.assert_array_equal(lists.title_ids, [[2, 3, -1, -1]])
    np.testing.assert_array_equal(lists.beams, [[0, 0, -1, -1]])
    np.testing.assert_array_equal(lists.distances, [[3.0, 7.0, np.nan, np.nan]])
    np.testing.assert_array_equal(lists.scores, [[-3.0, -7.0, np.nan, np.nan]])


def test_a_hit_counts_for_any_item_of_the_targets_title(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    queries = ranker.encode([_beams(("a", 1.0))] * 2, embedder)
    ranks = ranker.target_ranks(queries, np.array([1, 4]), beams="top1")
    np.testing.assert_array_equal(ranks, [1, 1])


def test_excluded_items_are_not_ahead_of_the_target(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    # target d is last of four; with a and both items called b excluded, only c is ahead
    queries = ranker.encode([_beams(("a", 1.0))], embedder)
    ranks = ranker.target_ranks(queries, np.array([3]), beams="top1", exclude=[np.array([0, 1, 4])])
    np.testing.assert_array_equal(ranks, [1])


def test_a_target_whose_title_is_excluded_is_a_miss(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    queries = ranker.encode([_beams(("b", 1.0))], embedder)
    ranks = ranker.target_ranks(queries, np.array([4]), beams="all", exclude=[np.array([1])])
    np.testing.assert_array_equal(ranks, [UNRANKED])


def test_encoding_keeps_the_texts(ranker: Ranker, embedder: TableEmbedder) -> None:
    texts = [_beams(("near a", 0.6), ("a", 0.4)), _beams(("near d", 1.0))]
    assert ranker.encode(texts, embedder).texts == texts


def test_equal_texts_of_different_queries_are_embedded_once(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    embedder.calls.clear()
    ranker.encode([_beams(("near a", 1.0), ("a", 1.0)), _beams(("near a", 1.0))], embedder)
    assert embedder.embedded == ["near a"]


def test_no_queries_give_no_lists(ranker: Ranker, embedder: TableEmbedder) -> None:
    queries = ranker.encode([], embedder)
    assert ranker.rank(queries, k=2, beams="all").items.shape == (0, 2)
    assert ranker.target_ranks(queries, np.zeros(0, dtype=int), beams="all").shape == (0,)


@SLOW
@given(texts=TEXTS)
def test_a_batch_gives_what_its_queries_give_alone(texts: list[list[GeneratedText]]) -> None:
    ranker, embedder = _random_ranker(), FakeEmbedder()
    together = ranker.rank(ranker.encode(texts, embedder), k=5, beams="all")
    for query, beams in enumerate(texts):
        alone = ranker.rank(ranker.encode([beams], embedder), k=5, beams="all")
        np.testing.assert_array_equal(alone.items[0], together.items[query])
        np.testing.assert_allclose(alone.scores[0], together.scores[query], rtol=1e-6)


@SLOW
@given(texts=TEXTS)
def test_little_memory_gives_what_much_memory_gives(texts: list[list[GeneratedText]]) -> None:
    much, little, embedder = _random_ranker(), _random_ranker(max_bytes=1), FakeEmbedder()
    for mode in ("top1", "all"):
        _assert_same(
            little.rank(little.encode(texts, embedder), k=8, beams=mode),
            much.rank(much.encode(texts, embedder), k=8, beams=mode),
        )


@SLOW
@given(texts=TEXTS, seed=st.integers(0, 99))
def test_evaluating_agrees_with_ranking_in_every_mode(
    texts: list[list[GeneratedText]], seed: int
) -> None:
    ranker, embedder = _random_ranker(), FakeEmbedder()
    rng = np.random.default_rng(seed)
    targets = rng.integers(8, size=len(texts))
    seen = [rng.integers(-1, 8, size=3) for _ in texts]
    queries = ranker.encode(texts, embedder)
    results = ranker.evaluate(queries, targets, k=4, exclude=seen)
    assert [(result.beams, result.exclude_seen) for result in results] == [
        ("top1", False),
        ("top1", True),
        ("all", False),
        ("all", True),
    ]
    for result in results:
        exclude = seen if result.exclude_seen else None
        mode = result.beams
        _assert_same(result.lists, ranker.rank(queries, k=4, beams=mode, exclude=exclude))
        ranks = ranker.target_ranks(queries, targets, beams=mode, exclude=exclude)
        np.testing.assert_array_equal(result.ranks, ranks)


def test_evaluating_without_exclusions_gives_one_result_per_mode(
    ranker: Ranker, embedder: TableEmbedder
) -> None:
    queries = ranker.encode([_beams(("a", 1.0), ("d", 0.5))], embedder)
    (result,) = ranker.evaluate(queries, np.array([2]), k=1, modes=["top1"])
    assert (result.beams, result.exclude_seen) == ("top1", False)
    np.testing.assert_array_equal(result.ranks, [2])


def test_top1_computes_no_distances_of_other_beams(ranker: Ranker, embedder: TableEmbedder) -> None:
    queries = ranker.encode([_beams(("a", 0.5), ("d", 0.5))], embedder)
    (batch,) = ranker.iter_distances(queries, beams="top1")
    combined, beams = batch.combine("all")
    np.testing.assert_array_equal(combined, [[0.0, 1.0, 3.0, 7.0]])
    np.testing.assert_array_equal(beams, np.zeros((1, 4)))


def test_a_saved_and_loaded_index_gives_the_same_lists(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("saved") / "index"
    embedder = FakeEmbedder()
    index = ItemIndex.build("abcdefgh", embedder, normalization="whiten")
    index.save(folder)
    lists = []
    for either in (index, ItemIndex.load(folder)):
        ranker = Ranker(either, np.arange(8), counts=np.zeros(8, dtype=int))
        queries = ranker.encode([_beams(("x", 0.7), ("y", 0.2))], embedder)
        lists.append(ranker.rank(queries, k=8, beams="all"))
    _assert_same(*lists)


def test_a_query_without_texts_is_refused(ranker: Ranker, embedder: TableEmbedder) -> None:
    with pytest.raises(ValueError, match="Query 1 has no generated text; expected at least one"):
        ranker.encode([_beams(("a", 1.0)), []], embedder)


def test_another_embedder_is_refused(ranker: Ranker) -> None:
    with pytest.raises(StaleIndexError, match="another model"):
        ranker.encode([_beams(("a", 1.0))], TableEmbedder(PLACES, fingerprint="other"))


@pytest.mark.parametrize("k", [-1, 0, 5])
def test_a_length_out_of_range_is_refused(ranker: Ranker, embedder: TableEmbedder, k: int) -> None:
    queries = ranker.encode([_beams(("a", 1.0))], embedder)
    with pytest.raises(ValueError, match=f"k is {k}; expected 1 to 4"):
        ranker.rank(queries, k=k, beams="top1")


def test_an_unknown_mode_is_refused(ranker: Ranker, embedder: TableEmbedder) -> None:
    queries = ranker.encode([_beams(("a", 1.0))], embedder)
    with pytest.raises(ValueError, match="Unknown beam mode 'best'"):
        ranker.rank(queries, k=1, beams="best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ([], "exclude has 0 entries for 1 queries"),
        ([np.array([5])], "exclude holds 5; expected numbers from 0 to 4"),
        ([np.array([-2])], "exclude holds -2; expected numbers from 0 to 4"),
    ],
)
def test_wrong_exclusions_are_refused(
    ranker: Ranker, embedder: TableEmbedder, exclude: Sequence[np.ndarray], message: str
) -> None:
    queries = ranker.encode([_beams(("a", 1.0))], embedder)
    with pytest.raises(ValueError, match=message):
        ranker.rank(queries, k=1, beams="top1", exclude=exclude)


def test_a_target_out_of_range_is_refused(ranker: Ranker, embedder: TableEmbedder) -> None:
    queries = ranker.encode([_beams(("a", 1.0))], embedder)
    with pytest.raises(ValueError, match="targets holds 5; expected numbers from 0 to 4"):
        ranker.target_ranks(queries, np.array([5]), beams="top1")


@pytest.mark.parametrize(
    ("title_ids", "counts", "message"),
    [
        ([0, 1, 2, 3], [1, 1, 1], "title_ids has 4 items and counts has 3"),
        ([0, 1, 2, 4], [1, 1, 1, 1], "title_ids holds 4; expected numbers from 0 to 3"),
        ([0, 1, 2, 2], [1, 1, 1, 1], r"No item has the title 'd' \(title id 3\)"),
    ],
)
def test_items_that_do_not_fit_the_index_are_refused(
    embedder: TableEmbedder, title_ids: list[int], counts: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Ranker(ItemIndex.build("abcd", embedder), np.array(title_ids), counts=np.array(counts))
