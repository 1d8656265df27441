import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.data.dataset import Dataset
from bigrec.data.examples import (
    Examples,
    TitleExample,
    all_position_windows,
    mix,
    sample_windows,
    title_examples,
    window_examples,
)
from bigrec.data.interactions import Interactions

# rows 0-3: u with items 0 1 2 0; rows 4-5: v with items 2 1
DATASET = Dataset.from_frames(
    pl.DataFrame({"user_id": list("uuuuvv"), "item_id": list("abcacb"), "timestamp": range(6)}),
    pl.DataFrame({"item_id": list("abc"), "title": ["A", "B", "C"]}),
    item_type="movie",
)


def examples(*rows: int, max_history_length: int = 2) -> Examples:
    return Examples(DATASET.interactions, np.array(rows, dtype=np.int64), max_history_length)


def test_an_example_has_a_target_and_a_user() -> None:
    made = examples(1, 3, 5)
    assert len(made) == 3
    np.testing.assert_array_equal(made.targets, [1, 0, 1])
    np.testing.assert_array_equal(made.users, [0, 0, 1])


def test_histories_are_padded_on_the_left_and_stay_within_the_user() -> None:
    made = examples(1, 3, 5)
    np.testing.assert_array_equal(made.histories(), [[-1, 0], [1, 2], [-1, 2]])
    assert made.histories().dtype == np.int32


def test_no_examples_have_no_histories() -> None:
    assert examples().histories().shape == (0, 2)


def test_a_sample_keeps_the_order_and_repeats_nothing() -> None:
    sampled = Examples(DATASET.interactions, np.arange(1000), 2).sample(100, seed=3)
    assert len(sampled) == 100
    assert (np.diff(sampled.rows) > 0).all()


def test_the_same_seed_draws_the_same_sample_and_another_draws_another() -> None:
    many = Examples(DATASET.interactions, np.arange(1000), 2)
    first = many.sample(100, seed=3).rows
    np.testing.assert_array_equal(first, many.sample(100, seed=3).rows)
    assert not np.array_equal(first, many.sample(100, seed=4).rows)


@pytest.mark.parametrize("size", [None, 3, 4])
def test_a_sample_of_all_is_all(size: int | None) -> None:
    np.testing.assert_array_equal(examples(1, 3, 5).sample(size, seed=0).rows, [1, 3, 5])


def test_a_sample_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="size is 0: expected at least 1, or None"):
        examples(1, 3, 5).sample(0, seed=0)


def test_title_examples_hold_titles() -> None:
    assert title_examples(examples(1, 3), DATASET) == [
        TitleExample(history=("A",), target="B", item_type="movie"),
        TitleExample(history=("B", "C"), target="A", item_type="movie"),
    ]


def test_mixing_keeps_every_example_and_shuffles() -> None:
    movies = [TitleExample((), str(number), "movie") for number in range(50)]
    games = [TitleExample((), str(number), "game") for number in range(30)]
    mixed = mix([movies, games], seed=1)
    assert sorted(mixed, key=repr) == sorted(movies + games, key=repr)
    assert {example.item_type for example in mixed[:20]} == {"movie", "game"}
    assert mixed == mix([movies, games], seed=1)
    assert mixed != mix([movies, games], seed=2)


def interactions(*lengths: int) -> Interactions:
    """Interactions of users with the given numbers of them."""
    start = np.concatenate([[0], np.cumsum(lengths)])
    return Interactions(
        user_ids=[str(user) for user in range(len(lengths))],
        user_start=start,
        items=np.arange(start[-1], dtype=np.int32),
        times=None,
        ratings=None,
        splits=None,
    )


def lists(windows: list[np.ndarray]) -> list[list[int]]:
    return [rows.tolist() for rows in windows]


def test_windows_are_consecutive_within_a_user_and_the_last_may_be_short() -> None:
    table = interactions(5, 2, 3)
    cut = all_position_windows(table, np.full(10, True), window=3)
    assert lists(cut) == [[0, 1, 2], [3, 4], [5, 6], [7, 8, 9]]


def test_a_single_remaining_interaction_is_dropped() -> None:
    assert lists(all_position_windows(interactions(4, 1), np.full(5, True), window=3)) == [
        [0, 1, 2]
    ]


def test_windows_hold_training_interactions_only() -> None:
    train = np.array([True, True, True, False, False, True, True, False])
    assert lists(all_position_windows(interactions(4, 4), train, window=3)) == [[0, 1, 2], [5, 6]]


@given(
    users=st.lists(st.lists(st.booleans(), min_size=1, max_size=30), min_size=1, max_size=5),
    window=st.integers(2, 7),
)
def test_windows_cover_every_training_interaction_once_except_a_single_remaining_one(
    users: list[list[bool]], window: int
) -> None:
    table = interactions(*map(len, users))
    train = np.array([flag for flags in users for flag in flags])
    cut = all_position_windows(table, train, window=window)
    expected = []
    for user in range(len(users)):
        rows = [row for row in range(*table.user_start[user : user + 2]) if train[row]]
        expected += rows[:-1] if len(rows) % window == 1 else rows
    assert [row for rows in lists(cut) for row in rows] == expected
    assert all(2 <= len(rows) <= window for rows in cut)
    owners = table.users()
    assert all(len(set(owners[rows])) == 1 for rows in cut)


def test_a_window_of_one_title_is_refused() -> None:
    with pytest.raises(ValueError, match="window is 1: expected at least 2"):
        all_position_windows(interactions(4), np.full(4, True), window=1)


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train has shape \(3,\): .* each of the 4 interactions"):
        all_position_windows(interactions(4), np.full(3, True), window=2)


def test_a_sample_of_windows_keeps_the_order_and_repeats_nothing() -> None:
    cut = all_position_windows(interactions(1000), np.full(1000, True), window=2)
    sampled = sample_windows(cut, 100, seed=3)
    assert len(sampled) == 100
    assert (np.diff([rows[0] for rows in sampled]) > 0).all()
    assert lists(sampled) == lists(sample_windows(cut, 100, seed=3))
    assert lists(sampled) != lists(sample_windows(cut, 100, seed=4))


def test_a_sample_of_all_windows_is_all() -> None:
    cut = all_position_windows(interactions(4), np.full(4, True), window=2)
    assert lists(sample_windows(cut, None, seed=0)) == lists(cut)
    assert lists(sample_windows(cut, 2, seed=0)) == lists(cut)


def test_a_sample_of_no_windows_is_refused() -> None:
    cut = all_position_windows(interactions(4), np.full(4, True), window=2)
    with pytest.raises(ValueError, match="size is 0: expected at least 1, or None"):
        sample_windows(cut, 0, seed=0)


def test_the_last_title_of_a_window_is_its_target() -> None:
    cut = all_position_windows(DATASET.interactions, np.full(6, True), window=3)
    assert window_examples(cut, DATASET) == [
        TitleExample(history=("A", "B"), target="C", item_type="movie"),
        TitleExample(history=("C",), target="B", item_type="movie"),
    ]
