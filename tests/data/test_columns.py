import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.columns import as_text, column_names, lazy_frame, require_columns
from bigrec.data.dataset import Dataset
from bigrec.errors import DataError
from tests.conftest import needs


@needs("pandas")
def test_a_pandas_frame_is_accepted() -> None:
    import pandas as pd

    frame = lazy_frame(pd.DataFrame({"a": [1], "b": [2]}), ["a"], what="items")
    assert frame.collect().to_dict(as_series=False) == {"a": [1]}


@needs("pandas")
def test_a_class_of_pandas_frames_is_accepted_and_other_classes_of_pandas_are_not() -> None:
    import pandas as pd

    class Frame(pd.DataFrame):  # type: ignore[misc] # pandas has no types here
        """As geopandas has one."""

    assert column_names(Frame({"a": [1]}), what="items") == ["a"]
    with pytest.raises(TypeError, match="the items are a Series: expected a polars or pandas"):
        column_names(pd.Series([1], name="a"), what="items")


@pytest.mark.parametrize("name", ["*", "^a.*$"])
def test_a_name_that_polars_takes_for_a_pattern_is_refused(name: str) -> None:
    rows = pl.DataFrame({name: ["u"], "ab": ["v"], "item_id": ["i"], "timestamp": [1]})
    items = pl.DataFrame({"item_id": ["i"], "title": ["I"]})
    with pytest.raises(DataError, match=r"user_id is the column .*a name that polars reads as a p"):
        Dataset.from_frames(rows, items, user_id=name)
    assert Dataset.from_frames(rows, items, user_id="ab").interactions.user_ids == ["v"]


@needs("pandas")
def test_a_pandas_column_of_mixed_types_becomes_text() -> None:
    import pandas as pd

    values = [10, 10.0, "B1", None, float("nan"), pd.NA, True, np.int64(7), Decimal("1.5")]
    column = pd.Series([*values, datetime.date(2014, 7, 5), ["a", "b"]], dtype=object)
    frame = lazy_frame(pd.DataFrame({"a": column}), ["a", "a"], what="items")
    assert frame.collect()["a"].to_list() == [
        *("10", "10.0", "B1", None, None, None, "true", "7", "1.5", "2014-07-05", "a > b")
    ]


@needs("pandas")
@pytest.mark.parametrize("value", [b"x", {"a": 1}, object()])
def test_a_value_that_is_no_id_is_told_with_its_row(value: Any) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": pd.Series([1, "x", value], dtype=object)})
    with pytest.raises(DataError, match=r"column 'a' of the items holds .* in row 3, of type"):
        lazy_frame(frame, ["a"], what="items")


@needs("pandas")
def test_columns_that_are_not_needed_may_hold_anything() -> None:
    import pandas as pd

    rows = pd.DataFrame({"user_id": [1], "item_id": [10], "timestamp": [1], "x": [object()]})
    rows["y"] = pd.Series([{1: object()}], dtype=object)
    items = pd.DataFrame({"item_id": ["10"], "title": ["Ten"], 0: [b"x"]})
    assert Dataset.from_frames(rows, items).catalog.titles == ["Ten"]


@needs("pandas")
def test_ids_of_mixed_types_meet_those_of_the_catalog() -> None:
    import pandas as pd

    item_ids = pd.Series([10, "B1", 10.0], dtype=object)
    rows = pd.DataFrame({"user_id": [1, 1, 2], "item_id": item_ids, "timestamp": [1, 2, 3]})
    items = pd.DataFrame({"item_id": ["10", "B1"], "title": ["Ten", "Bee"]})
    assert Dataset.from_frames(rows, items).interactions.items.tolist() == [0, 1, 0]


@needs("pandas")
def test_a_name_over_two_pandas_columns_is_told() -> None:
    import pandas as pd

    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="several columns of the items are named 'a'"):
        lazy_frame(frame, ["a"], what="items")


def test_another_type_than_a_frame_is_refused() -> None:
    with pytest.raises(TypeError, match="items are a dict: expected a polars or pandas frame"):
        column_names({"a": [1]}, what="items")


@needs("pandas")
@pytest.mark.parametrize("values", [["\ud800", "b"], ["\ud800", 1]])
def test_half_a_character_is_told(values: list[Any]) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    with pytest.raises(DataError, match=r"holds '\\ud800' in row 1, which has half a character"):
        lazy_frame(frame, ["a"], what="items")


@pytest.mark.parametrize(
    ("column", "values"),
    [("rating", [{"a": 1}]), ("split", [{"a": "train"}]), ("title", [b"A"]), ("title", [{"a": 1}])],
)
def test_a_column_that_is_no_text_is_told(column: str, values: list[Any]) -> None:
    rows = {"user_id": [1], "item_id": [1], "timestamp": [1]}
    items = {"item_id": [1], "title": ["A"]}
    (items if column == "title" else rows)[column] = values
    with pytest.raises(DataError, match=f"column '{column}' of the .* holds .*: expected text or"):
        Dataset.from_frames(pl.DataFrame(rows), pl.DataFrame(items))


def test_categories_are_read_as_text() -> None:
    text = ["1404583181", "1404583182"]
    rows = pl.DataFrame({"user_id": ["u"] * 2, "item_id": ["a"] * 2, "timestamp": text})
    rows = rows.with_columns(rating=pl.Series(["5", "4"], dtype=pl.Categorical))
    rows = rows.with_columns(pl.col("timestamp").cast(pl.Categorical))
    made = Dataset.from_frames(rows, pl.DataFrame({"item_id": ["a"], "title": ["A"]}))
    assert made.interactions.ratings is not None
    assert made.interactions.times is not None
    assert made.interactions.ratings.tolist() == [5, 4]
    assert made.interactions.times.tolist() == [1404583181, 1404583182]


def test_missing_columns_are_reported_with_the_existing_ones_and_the_options() -> None:
    with pytest.raises(DataError) as caught:
        require_columns(["a", "b"], {"title": "name", "item_id": "a"}, what="items")
    assert str(caught.value) == (
        "the items have no column 'name'. Their columns are: a, b. Name the right ones with "
        "title=..."
    )


def test_names_whose_ends_cannot_be_seen_are_quoted() -> None:
    names: list[Any] = ["user id", " user_id", "item_id ", "user_id,item_id", "", 0]
    with pytest.raises(DataError) as caught:
        require_columns(names, {"user_id": "user_id"}, what="interactions")
    shown = "user id, ' user_id', 'item_id ', 'user_id,item_id', '', 0. Name"
    assert f"Their columns are: {shown}" in str(caught.value)


def test_a_lazy_frame_keeps_the_named_columns() -> None:
    frame = lazy_frame(pl.DataFrame({"a": [1], "b": [2]}), ["b"], what="items")
    assert frame.collect().columns == ["b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (float("nan"), None),
        (False, "false"),
        (12.0, "12.0"),
        (1e16, "1e+16"),
        (9007199254740994.0, "9.0071992547409940e+15"),
        (float("inf"), "1e+999"),
        (-float("inf"), "-1e+999"),
        ([["a", "b"], ["c"]], "a > b, c"),
        ([], ""),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_values_become_text(value: Any, text: str | None) -> None:
    assert as_text(value) == text
