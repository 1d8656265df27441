from collections.abc import Callable

import numpy as np
import pytest

from bigrec.evaluation.clusters import number_users
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult, summarize
from bigrec.evaluation.segments import (
    Segments,
    category_segments,
    gap_segments,
    history_segments,
    popularity_segments,
    segment_rows,
    target_segments,
    user_segments,
)
from bigrec.types import IntArray

OURS = MethodId("ours")
BASE = MethodId("base")


def labels(segments: Segments) -> list[str]:
    return [segments.names[number] for number in segments.of_query]


def test_targets_are_cold_few_or_warm_by_their_training_interactions() -> None:
    segments = target_segments(np.array([0, 2, 1, 0, 3, 4]), np.array([10, 0, 1, 9, 500]))
    assert segments.names == ("cold", "few", "warm")
    assert labels(segments) == ["warm", "few", "cold", "warm", "few", "warm"]


def test_a_target_shares_its_timestamp_only_with_an_item_before_it() -> None:
    segments = gap_segments(np.array([0.0, 1.0, 0.0, 0.5]))
    assert labels(segments) == ["shared", "apart", "shared", "apart"]


def test_a_target_before_the_item_before_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gaps holds -3\.0; expected times of at least 0"):
        gap_segments(np.array([1.0, -3.0]))


def test_a_user_without_training_interactions_is_new() -> None:
    segments = user_segments(np.array([1, 0]), np.array([0, 4]))
    assert labels(segments) == ["known", "new"]


def test_each_third_of_the_interactions_has_its_segment() -> None:
    # of 12 interactions: above item 3 are 0; above item 1 are 5 (a third is 4); above item 0 are 8,
    # exactly two thirds
    segments = popularity_segments(np.arange(5), np.array([2, 3, 1, 5, 1]))
    assert labels(segments) == ["tail", "middle", "tail", "head", "tail"]


def test_the_head_ends_with_the_item_that_reaches_a_third() -> None:
    # of 9: above the items are 0, 3 (exactly a third), 5 and 7 (two thirds are 6)
    segments = popularity_segments(np.arange(4), np.array([3, 2, 2, 2]))
    assert labels(segments) == ["head", "middle", "middle", "middle"]


def test_items_of_equal_count_share_a_segment() -> None:
    segments = popularity_segments(np.arange(6), np.ones(6, dtype=int))
    assert set(labels(segments)) == {"head"}


def test_an_item_that_never_occurs_is_tail() -> None:
    # the first item alone holds everything
    segments = popularity_segments(np.array([0, 1]), np.array([7, 0]))
    assert labels(segments) == ["head", "tail"]


def test_without_any_interaction_every_target_is_tail() -> None:
    assert labels(popularity_segments(np.array([1, 0]), np.zeros(2, dtype=int))) == ["tail"] * 2


def test_targets_are_looked_up_by_their_number() -> None:
    segments = popularity_segments(np.array([2, 2, 0]), np.array([1, 0, 9]))
    assert labels(segments) == ["head", "head", "tail"]


@pytest.mark.parametrize("segment", [target_segments, popularity_segments])
def test_a_target_outside_of_the_catalog_is_refused(
    segment: Callable[[IntArray, IntArray], Segments],
) -> None:
    with pytest.raises(ValueError, match="targets holds -1; expected numbers from 0 to 1"):
        segment(np.array([0, -1]), np.array([1, 1]))


def test_a_user_without_a_count_is_refused() -> None:
    with pytest.raises(ValueError, match="users holds 2; expected numbers from 0 to 1"):
        user_segments(np.array([2]), np.array([1, 1]))


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="counts holds -2; expected counts of at least 0"):
        target_segments(np.array([0]), np.array([-2]))


def test_counts_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"counts has shape \(1, 2\); expected one dimension"):
        popularity_segments(np.array([0]), np.array([[1, 2]]))


def test_a_bucket_of_lengths_reaches_to_the_next_start() -> None:
    segments = history_segments(np.array([0, 1, 2, 3, 4, 5, 9, 10, 50]))
    assert segments.names == ("0", "1-2", "3-4", "5-9", "10+")
    assert labels(segments) == ["0", "1-2", "1-2", "3-4", "3-4", "5-9", "5-9", "10+", "10+"]


def test_buckets_start_where_the_caller_says() -> None:
    segments = history_segments(np.array([2, 1, 7]), starts=(1, 2, 5))
    assert segments.names == ("1", "2-4", "5+")
    assert labels(segments) == ["2-4", "1", "5+"]


@pytest.mark.parametrize("starts", [(), (1, 1), (3, 2)])
def test_starts_that_do_not_ascend_are_refused(starts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"starts is \(.*\); expected strictly ascending lengths"):
        history_segments(np.array([5]), starts=starts)


def test_a_length_below_the_first_start_is_refused() -> None:
    with pytest.raises(ValueError, match="lengths holds 0; expected at least 1, the first start"):
        history_segments(np.array([4, 0]), starts=(1, 5))


def test_rows_are_over_the_queries_of_their_segment() -> None:
    ours = MethodResult(OURS, exclude_seen=True, ranks=np.array([0, 5, 0, 9]))
    base = MethodResult(BASE, exclude_seen=True, ranks=np.array([5, 5, 5, 0]))
    segments = Segments(("head", "tail"), np.array([1, 0, 1, 0]))
    rows = segment_rows([ours, base], segments, users=np.arange(4), seed=0, ks=(1,))
    values = [
        (row.segment, row.queries, row.summary.method, row.summary.value)
        for row in rows
        if row.summary.metric == "hr@1"
    ]
    # head: queries 1 and 3, ours 5 and 9, base 5 and 0; tail: queries 0 and 2
    assert values == [
        ("head", 2, OURS, 0.0),
        ("head", 2, BASE, 0.5),
        ("tail", 2, OURS, 1.0),
        ("tail", 2, BASE, 0.0),
    ]
    assert {row.summary.metric for row in rows} == {"hr@1", "ndcg@1", "mrr"}


def test_one_segment_of_all_queries_is_the_summary() -> None:
    ranks = np.random.default_rng(0).integers(0, 30, size=40)
    results = [MethodResult(OURS, exclude_seen=False, ranks=ranks)]
    users = np.arange(40) // 2
    rows = segment_rows(results, Segments(("all",), np.zeros(40, dtype=int)), users=users, seed=3)
    assert [row.summary for row in rows] == summarize(results, users=users, seed=3)


def test_a_segment_has_the_users_of_its_queries() -> None:
    ranks = np.random.default_rng(0).integers(0, 30, size=6)
    users = number_users(["a", "b", "a", "c", "c", "b"])
    segments = Segments(("odd", "even"), np.array([0, 1, 0, 1, 0, 1]))
    rows = segment_rows([MethodResult(OURS, True, ranks)], segments, users=users, seed=3)
    odd = summarize([MethodResult(OURS, True, ranks[::2])], users=np.array([0, 0, 2]), seed=3)
    assert [row.summary for row in rows if row.segment == "odd"] == odd


def test_segments_without_queries_are_omitted() -> None:
    results = [MethodResult(OURS, exclude_seen=False, ranks=np.array([0]))]
    rows = segment_rows(
        results, Segments(("seen", "cold"), np.array([1])), users=np.arange(1), seed=0
    )
    assert {(row.segment, row.queries) for row in rows} == {("cold", 1)}


def test_a_result_over_other_queries_than_the_segments_is_refused() -> None:
    results = [MethodResult(OURS, exclude_seen=False, ranks=np.array([0]))]
    with pytest.raises(ValueError, match="'ours' has 1 queries and the segments have 2; expected"):
        segment_rows(results, Segments(("all",), np.array([0, 0])), users=np.arange(2), seed=0)


def test_users_of_other_queries_than_the_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="users has 3 queries and the segments have 2; expected"):
        segment_rows([], Segments(("all",), np.array([0, 0])), users=np.arange(3), seed=0)


def test_a_segment_without_a_name_is_refused() -> None:
    # its queries would be in no row
    with pytest.raises(ValueError, match="of_query holds 1; expected numbers from 0 to 0"):
        segment_rows([], Segments(("all",), np.array([1])), users=np.arange(1), seed=0)


def test_the_largest_categories_are_segments_and_the_rest_is_other() -> None:
    categories = ["PC", "Wii", "PC", "", "Xbox"]
    segments = category_segments(np.array([0, 2, 1, 1, 0, 3, 4]), categories, largest=2)
    assert segments.names == ("PC", "Wii", "other")
    assert segments.of_query.tolist() == [0, 0, 1, 1, 0, 2, 2]


def test_items_without_a_category_are_a_segment_called_none() -> None:
    segments = category_segments(np.array([1, 1, 0]), ["PC", ""])
    assert segments.names == ("none", "PC", "other")


def test_a_target_without_a_category_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="targets holds 2; expected numbers from 0 to 1"):
        category_segments(np.array([2]), ["PC", ""])
