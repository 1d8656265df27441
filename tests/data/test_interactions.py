from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.data.repairs import Repairs
from bigrec.errors import BundleError, DataError
from tests.conftest import needs

CATALOG = Catalog.from_frame(
    pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"]}), repairs=Repairs()
)


def read(frame: dict[str, Any], **options: Any) -> tuple[Interactions, dict[str, int]]:
    repairs = Repairs()
    made = Interactions.from_frame(
        pl.DataFrame(frame, strict=False), CATALOG, repairs=repairs, **options
    )
    return made, {row.name: row.count for row in repairs.as_rows()}


def rows(made: Interactions) -> list[tuple[str, int]]:
    users = [made.user_ids[user] for user in made.users()]
    return list(zip(users, made.items.tolist(), strict=True))


def test_rows_are_sorted_by_user_and_time() -> None:
    made, counts = read(
        {"user_id": ["v", "u", "v"], "item_id": ["a", "b", "c"], "timestamp": [9, 5, 3]}
    )
    # v comes first in the rows
    assert made.user_ids == ["v", "u"]
    np.testing.assert_array_equal(made.user_start, [0, 2, 3])
    np.testing.assert_array_equal(made.items, [2, 0, 1])
    np.testing.assert_array_equal(made.times, [3, 9, 5])
    assert counts["interactions out of order"] == 1


def test_arrays_have_the_documented_types() -> None:
    made, _ = read(
        {
            "user_id": ["u"],
            "item_id": ["a"],
            "timestamp": [1],
            "rating": [4],
            "split": ["train"],
        }
    )
    arrays = (made.user_start, made.items, made.times, made.ratings, made.splits)
    types = [None if array is None else array.dtype.name for array in arrays]
    assert types == ["int64", "int32", "int64", "float32", "int8"]


def test_rows_of_the_same_time_stay_in_their_order_if_that_is_given() -> None:
    frame = {"user_id": ["u"] * 3, "item_id": ["c", "a", "b"], "timestamp": [1, 1, 1]}
    made, _ = read(frame, order="row")
    np.testing.assert_array_equal(made.items, [2, 0, 1])
    made, _ = read({**frame, "p": [3, 2, 1]}, order="p")
    np.testing.assert_array_equal(made.items, [1, 0, 2])


def test_a_position_orders_rows_without_timestamps() -> None:
    made, _ = read({"user_id": ["u"] * 2, "item_id": ["a", "b"], "p": [1, 0]}, order="p")
    np.testing.assert_array_equal(made.items, [1, 0])
    assert made.times is None


def test_a_position_breaks_ties_of_timestamps() -> None:
    frame = {"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "timestamp": [1, 1, 0]}
    made, _ = read({**frame, "p": [2, 1, 3]}, order="p")
    np.testing.assert_array_equal(made.items, [2, 1, 0])
    np.testing.assert_array_equal(made.times, [0, 1, 1])


def test_order_row_takes_the_order_of_the_rows() -> None:
    made, counts = read({"user_id": ["u"] * 3, "item_id": ["c", "a", "c"]}, order="row")
    np.testing.assert_array_equal(made.items, [2, 0, 2])
    assert made.times is None
    assert counts["duplicate interactions"] == 0


def test_rows_without_any_order_are_refused() -> None:
    with pytest.raises(DataError, match=r"no column that orders them.* user_id, item_id\. Name a"):
        read({"user_id": ["u"], "item_id": ["a"]})


def test_a_missing_column_is_reported() -> None:
    with pytest.raises(
        DataError, match=r"the interactions have no column 'user_id'. Their columns"
    ):
        read({"uid": ["u"], "item_id": ["a"], "timestamp": [1]})


@pytest.mark.parametrize("option", ["time", "order", "rating", "split"])
def test_a_named_column_must_exist(option: str) -> None:
    with pytest.raises(DataError, match=rf"no column 'other'.* Name the right ones with {option}="):
        read({"user_id": ["u"], "item_id": ["a"], "timestamp": [1]}, **{option: "other"})


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(DataError, match="the interactions have no rows"):
        read({"user_id": [], "item_id": [], "timestamp": []})


def test_whole_number_ids_become_text() -> None:
    catalog = Catalog.from_frame(pl.DataFrame({"item_id": [12], "title": ["A"]}), repairs=Repairs())
    frame = pl.DataFrame({"user_id": [3.0, None], "item_id": [12.0, 12.0], "timestamp": [1, 2]})
    made = Interactions.from_frame(frame, catalog, repairs=Repairs())
    assert made.user_ids == ["3"]


def test_text_timestamps_are_read() -> None:
    made, _ = read(
        {
            "user_id": ["u", "u"],
            "item_id": ["a", "b"],
            "timestamp": ["2014-03-02", "2014-03-01T12:00:00Z"],
        }
    )
    np.testing.assert_array_equal(made.items, [1, 0])


def test_text_that_is_no_timestamp_is_reported_with_its_row() -> None:
    with pytest.raises(DataError, match="column 'timestamp' holds 'soon' in row 2"):
        read({"user_id": ["u"] * 2, "item_id": ["a"] * 2, "timestamp": ["2014-03-02", "soon"]})


@pytest.mark.parametrize(
    ("column", "what"),
    [("user_id", "a user"), ("item_id", "an item"), ("timestamp", "a time")],
)
def test_rows_with_a_missing_value_are_dropped_and_counted(column: str, what: str) -> None:
    frame: dict[str, list[Any]] = {
        "user_id": ["u", "v"],
        "item_id": ["a", "b"],
        "timestamp": [1.0, 2.0],
    }
    frame[column][0] = None
    made, counts = read(frame)
    assert rows(made) == [("v", 1)]
    assert counts[f"interactions without {what}"] == 1


def test_rows_with_a_nan_timestamp_are_dropped() -> None:
    made, counts = read(
        {"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [float("nan"), 2.0]}
    )
    assert made.user_ids == ["v"]
    assert counts["interactions without a time"] == 1


def test_a_column_of_missing_values_is_refused() -> None:
    with pytest.raises(DataError, match=r"no interaction has a time: all 2 .* with time=\.\.\."):
        read({"user_id": ["u"] * 2, "item_id": ["a", "b"], "timestamp": [None, None]})


def test_unknown_items_are_dropped_counted_and_shown() -> None:
    repairs = Repairs()
    frame = pl.DataFrame(
        {"user_id": ["u"] * 4, "item_id": ["a", "z", "y", "z"], "timestamp": [1, 2, 3, 4]}
    )
    made = Interactions.from_frame(frame, CATALOG, repairs=repairs)
    np.testing.assert_array_equal(made.items, [0])
    row = next(row for row in repairs.as_rows() if row.name == "interactions with unknown items")
    assert (row.count, row.total, row.examples) == (3, 4, ("z", "y"))


def test_interactions_with_unknown_items_only_are_refused() -> None:
    with pytest.raises(DataError, match=r"items such as 'z', the catalog such as 'a'. The ids may"):
        read({"user_id": ["u"], "item_id": ["z"], "timestamp": [1]})


def test_the_same_user_item_and_time_is_read_once_and_counted() -> None:
    made, counts = read(
        {
            "user_id": ["u", "u", "u", "u", "v"],
            "item_id": ["a", "b", "a", "a", "a"],
            "timestamp": [1, 1, 1, 2, 1],
            "rating": [5, 4, 3, 2, 1],
        },
        order="row",
    )
    assert rows(made) == [("u", 0), ("u", 1), ("u", 0), ("v", 0)]
    np.testing.assert_array_equal(made.ratings, [5, 4, 2, 1])
    assert counts["duplicate interactions"] == 1


def test_without_min_rating_every_rating_is_kept() -> None:
    made, _ = read(
        {
            "user_id": ["u"] * 2,
            "item_id": ["a", "b"],
            "timestamp": [1, 2],
            "rating": ["0.5", None],
        }
    )
    np.testing.assert_array_equal(made.ratings, [0.5, np.nan])


def test_min_rating_drops_interactions_with_a_lower_rating_or_none() -> None:
    made, counts = read(
        {
            "user_id": ["u"] * 4,
            "item_id": ["a", "b", "c", "a"],
            "timestamp": [1, 2, 3, 4],
            "rating": [3.5, 4.0, None, float("nan")],
        },
        min_rating=4,
    )
    np.testing.assert_array_equal(made.items, [1])
    assert counts["interactions rated below 4"] == 3


def test_min_rating_without_ratings_is_refused() -> None:
    with pytest.raises(DataError, match="min_rating is 4, but the interactions have no ratings"):
        read({"user_id": ["u"], "item_id": ["a"], "timestamp": [1]}, min_rating=4)


def test_a_min_rating_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"no interaction is rated 6 or higher: the highest .* 5.0"):
        read({"user_id": ["u"], "item_id": ["a"], "timestamp": [1], "rating": [5]}, min_rating=6)


def test_a_min_rating_of_missing_ratings_is_refused() -> None:
    frame = {"user_id": ["u"], "item_id": ["a"], "timestamp": [1], "rating": ["NaN"]}
    with pytest.raises(DataError, match="no interaction has a rating: all are missing"):
        read(frame, min_rating=3)


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [("tie_seed", -1, ValueError), ("tie_seed", "a", TypeError), ("user_id", None, TypeError)],
)
def test_a_wrong_option_is_named(option: str, value: Any, error: type[Exception]) -> None:
    frame = {"user_id": ["u"], "item_id": ["a"], "timestamp": [1]}
    with pytest.raises(error, match=f"{option} is {value!r}; expected"):
        read(frame, **{option: value})


def test_ratings_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"column 'rating' holds 'good' in row 2: .* values: 1 of 2\."
    ):
        read(
            {
                "user_id": ["u"] * 4,
                "item_id": ["a"] * 4,
                "timestamp": range(4),
                "rating": ["3", "good", "NULL", " "],
            }
        )


def test_split_names_become_numbers() -> None:
    names = ["train", "Valid", "validation", "val", "dev", " test "]
    made, _ = read(
        {"user_id": ["u"] * 6, "item_id": ["a"] * 6, "timestamp": range(6), "split": names}
    )
    np.testing.assert_array_equal(made.splits, [0, 1, 1, 1, 1, 2])


@pytest.mark.parametrize("label", ["holdout", None])
def test_other_split_names_are_refused(label: str | None) -> None:
    frame = {"user_id": ["u"] * 2, "item_id": ["a"] * 2, "timestamp": [1, 2]}
    with pytest.raises(
        DataError, match=rf"column 'split' holds {label!r} in row 2: expected train"
    ):
        read({**frame, "split": ["train", label]})


@needs("pandas")
def test_a_pandas_frame_is_read() -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "user_id": [1, 2],
            "item_id": ["a", "b"],
            "timestamp": pd.to_datetime(["1970-01-02", None]),
        }
    )
    made = Interactions.from_frame(frame, CATALOG, repairs=Repairs())
    assert made.user_ids == ["1"]
    np.testing.assert_array_equal(made.times, [86_400_000_000])


def test_saved_interactions_are_read_back(tmp_path: Path) -> None:
    made, _ = read(
        {
            "user_id": ["v", "u", "v"],
            "item_id": ["a", "b", "c"],
            "timestamp": [9, 5, 3],
            "rating": [1, 2, 3],
            "split": ["test", "train", "train"],
        }
    )
    made.save(tmp_path / "i.parquet")
    loaded = Interactions.load(tmp_path / "i.parquet")
    assert loaded.user_ids == ["v", "u"]
    np.testing.assert_array_equal(loaded.user_start, [0, 2, 3])
    np.testing.assert_array_equal(loaded.items, [2, 0, 1])
    np.testing.assert_array_equal(loaded.times, [3, 9, 5])
    np.testing.assert_array_equal(loaded.ratings, [3, 1, 2])
    np.testing.assert_array_equal(loaded.splits, [0, 2, 0])
    assert loaded.items.dtype == np.int32


def test_optional_columns_stay_none_after_loading(tmp_path: Path) -> None:
    made, _ = read({"user_id": ["u"], "item_id": ["a"]}, order="row")
    made.save(tmp_path / "i.parquet")
    loaded = Interactions.load(tmp_path / "i.parquet")
    assert (loaded.times, loaded.ratings, loaded.splits) == (None, None, None)


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_missing_or_damaged_interactions_are_reported(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "i.parquet").write_bytes(content)
    with pytest.raises(BundleError, match=r"i.parquet could not be read as interactions"):
        Interactions.load(tmp_path / "i.parquet")


ROWS = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abc"), st.integers(0, 3)),
    min_size=1,
    max_size=30,
)


@given(ROWS, st.integers(0, 3))
def test_every_different_row_is_kept_once_in_order_of_time(
    table: list[tuple[str, str, int]], tie_seed: int
) -> None:
    frame = pl.DataFrame(table, schema=["user_id", "item_id", "timestamp"], orient="row")
    first_seen = list(dict.fromkeys(user for user, _, _ in table))
    unique = list(dict.fromkeys(table))
    expected = sorted(unique, key=lambda row: (first_seen.index(row[0]), row[2]))
    assert kept(Interactions.from_frame(frame, CATALOG, order="row")) == expected
    shuffled = kept(Interactions.from_frame(frame, CATALOG, tie_seed=tie_seed))
    assert sorted(shuffled) == sorted(expected)
    assert [(user, time) for user, _, time in shuffled] == [
        (user, time) for user, _, time in expected
    ]
    assert shuffled == kept(Interactions.from_frame(frame, CATALOG, tie_seed=tie_seed))


def kept(made: Interactions) -> list[tuple[str, str, int]]:
    assert made.times is not None
    times = made.times.tolist()
    return [(user, "abc"[item], time) for (user, item), time in zip(rows(made), times, strict=True)]
