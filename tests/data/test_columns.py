from typing import Any

import polars as pl
import pytest

from bigrec.data.columns import id_text, lazy_frame, require_columns
from bigrec.errors import DataError
from tests.conftest import needs


def ids(values: list[Any], dtype: Any = None) -> list[str | None]:
    frame = pl.DataFrame({"id": pl.Series(values, dtype=dtype)})
    return frame.select(id_text("id", frame.schema["id"], what="items")).to_series().to_list()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([12, 7], ["12", "7"]),
        ([12.0, None, float("nan")], ["12", None, None]),
        ([12.5], ["12.5"]),
        (["007", "", None], ["007", None, None]),
        ([None], [None]),
    ],
)
def test_ids_become_text(values: list[Any], expected: list[str | None]) -> None:
    assert ids(values) == expected


def test_ids_of_a_categorical_column_become_text() -> None:
    assert ids(["b", "a"], pl.Categorical) == ["b", "a"]


def test_ids_of_another_type_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'id' of the items holds List\(Int64\): expected"):
        ids([[1]])


@needs("pandas")
def test_a_pandas_frame_is_accepted() -> None:
    import pandas as pd

    frame = lazy_frame(pd.DataFrame({"a": [1]}), what="items")
    assert frame.collect().to_dict(as_series=False) == {"a": [1]}


def test_another_type_than_a_frame_is_refused() -> None:
    with pytest.raises(TypeError, match="items are a dict: expected a polars or pandas frame"):
        lazy_frame({"a": [1]}, what="items")


def test_missing_columns_are_reported_with_the_existing_ones_and_the_options() -> None:
    with pytest.raises(DataError) as caught:
        require_columns({"a": 0, "b": 0}, {"title": "name", "item_id": "a"}, what="items")
    assert str(caught.value) == (
        "the items have no column 'name'. Their columns are: a, b. Name the right ones with "
        "title=..."
    )
