import numpy as np
import polars as pl
import pytest

from bigrec.data.dataset import Dataset
from bigrec.data.examples import Examples, TitleExample, mix, title_examples

# rows 0-3: u with items 0 1 2 0; rows 4-5: v with items 2 1
DATASET = Dataset.from_frames(
    pl.DataFrame({"user_id": list("uuuuvv"), "item_id": list("abcacb"), "timestamp": range(6)}),
    pl.DataFrame({"item_id": list("abc"), "title": ["A", "B", "C"]}),
    noun="movie",
)


def examples(*rows: int, history_length: int = 2) -> Examples:
    return Examples(DATASET.interactions, np.array(rows, dtype=np.int64), history_length)


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


def test_one_history_comes_without_padding() -> None:
    made = examples(1, 3, 5)
    np.testing.assert_array_equal(made.history(0), [0])
    np.testing.assert_array_equal(made.history(1), [1, 2])
    np.testing.assert_array_equal(made.history(2), [2])


def test_examples_are_taken_in_the_order_given() -> None:
    np.testing.assert_array_equal(examples(1, 3, 5).take(np.array([2, 0])).rows, [5, 1])


def test_a_sample_keeps_the_order_and_repeats_nothing() -> None:
    drawn = Examples(DATASET.interactions, np.arange(1000), 2).sample(100, seed=3)
    assert len(drawn) == 100
    assert (np.diff(drawn.rows) > 0).all()


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


def test_title_examples_say_it_in_words() -> None:
    assert title_examples(examples(1, 3), DATASET) == [
        TitleExample(history=("A",), target="B", noun="movie"),
        TitleExample(history=("B", "C"), target="A", noun="movie"),
    ]


def test_mixing_keeps_every_example_and_shuffles() -> None:
    movies = [TitleExample((), str(number), "movie") for number in range(50)]
    games = [TitleExample((), str(number), "game") for number in range(30)]
    mixed = mix([movies, games], seed=1)
    assert sorted(mixed, key=repr) == sorted(movies + games, key=repr)
    assert {example.noun for example in mixed[:20]} == {"movie", "game"}
    assert mixed == mix([movies, games], seed=1)
    assert mixed != mix([movies, games], seed=2)
