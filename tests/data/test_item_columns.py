"""Further columns of items: read, stored, and refused where they cannot be kept."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.data.catalog import Catalog
from bigrec.data.sources import load_dataset
from bigrec.errors import BundleError, DataError


def catalog(*, columns: list[str], **values: list[Any]) -> Catalog:
    n = len(next(iter(values.values())))
    ids = {"item_id": [f"i{row}" for row in range(n)], "title": [f"T{row}" for row in range(n)]}
    return Catalog.from_frame(pl.DataFrame({**ids, **values}), columns=columns)


def stored(tmp_path: Path, **values: Any) -> Path:
    path = tmp_path / "catalog.parquet"
    pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"], **values}).write_parquet(path)
    return path


def test_columns_are_kept_with_their_types_in_the_order_of_the_items() -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["a", None, "b", "b"],
            "title": ["A", "no id", "B", "B"],
            "price": [1, 2, 3, 4],
            "rate": pl.Series([0.5, 0.5, float("inf"), 0.5], dtype=pl.Float32),
            "genres": [["x", None], [], None, []],
            "since": [date(2020, 1, 2), None, None, None],
            "kind": pl.Series(["k", "k", "l", "l"], dtype=pl.Categorical),
        }
    )
    names = ["price", "rate", "genres", "since", "kind"]
    made = Catalog.from_frame(frame, columns=names)
    assert made.columns.to_dict(as_series=False) == {
        "price": [1, 3],
        "rate": [0.5, None],
        "genres": [["x"], None],
        "since": ["2020-01-02", None],
        "kind": ["k", "l"],
    }
    assert made.to_frame().columns == ["item_id", "title", *names]


def test_the_category_is_one_of_the_columns() -> None:
    frame = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"], "category": ["k", ""]})
    for made in (
        Catalog.from_frame(frame, category="category"),
        Catalog.from_frame(frame, columns=["category"]),
        Catalog.from_frame(frame, category="category", columns=["category"]),
    ):
        assert made.columns["category"].to_list() == ["k", None]
        assert made.categories == ["k", ""]
    other = frame.with_columns(genre=pl.lit("x"))
    with pytest.raises(DataError, match="'category' is among the item columns, and the category"):
        Catalog.from_frame(other, category="genre", columns=["category"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["title"], "an item column is 'title', which every catalog has"),
        (["a", "a"], "an item column is 'a', which is named twice"),
        (["*"], r"an item column is '\*', which polars reads as a pattern"),
        ([""], "an item column is '', which has 0 characters"),
        (["x" * 201], "which has 201 characters"),
        ([f"c{n}" for n in range(257)], "there are 257 item columns: expected at most 256"),
        ("price", "the item columns are 'price': expected a list of names"),
        (["prize"], "the items have no column 'prize'. Their columns are: item_id, title, price"),
        (["struct"], r"column 'struct' of the items holds Struct.*: expected text, numbers"),
    ],
)
def test_columns_that_cannot_be_kept_are_told(names: Any, message: str) -> None:
    frame = pl.DataFrame(
        {"item_id": ["a"], "title": ["A"], "price": [1], "struct": [{"deep": True}], "a": [1]}
    )
    with pytest.raises(DataError, match=message):
        Catalog.from_frame(frame, columns=names)


ROWS = st.lists(
    st.tuples(
        st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.none() | st.booleans(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3)),
    ),
    min_size=1,
    max_size=8,
)
SCHEMA: dict[str, Any] = {
    "text": pl.String,
    "flag": pl.Boolean,
    "whole": pl.Int64,
    "number": pl.Float64,
    "list": pl.List(pl.String),
}


@given(rows=ROWS)
def test_columns_are_read_back_as_they_were_saved(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    values = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    values = values.with_columns(nothing=pl.lit(None, dtype=pl.Null))
    made = catalog(columns=values.columns, **values.to_dict(as_series=True))  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("saved") / "catalog.parquet"
    made.save(path)
    loaded = Catalog.load(path)
    assert loaded.columns.schema == made.columns.schema
    assert loaded.columns.equals(made.columns)
    assert loaded.content_fingerprint == made.content_fingerprint


def test_a_text_file_has_columns_of_the_types_of_their_values(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,a,1\nu,b,2\n")
    (tmp_path / "items.csv").write_text(
        "item_id,title,category,price,count,in_stock,zip,brand,empty\n"
        "a,A,2020,1.5,1,True,007,,\n"
        "b,B,2021,2e3,,false,123,nan,NULL\n"
    )
    names = ["category", "price", "count", "in_stock", "zip", "brand", "empty"]
    columns = load_dataset(tmp_path, item_columns=names).catalog.columns
    assert columns.to_dict(as_series=False) == {
        "category": ["2020", "2021"],
        "price": [1.5, 2000.0],
        "count": [1, None],
        "in_stock": [True, False],
        "zip": ["007", "123"],
        "brand": [None, None],
        "empty": [None, None],
    }


def test_json_has_columns_too(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,a,1\nu,b,2\n")
    (tmp_path / "items.jsonl").write_text(
        '{"item_id": "a", "title": "A", "price": 1, "in_stock": true, "tags": ["x", "y"], '
        '"weight": 1}\n'
        '{"item_id": "b", "title": "B", "price": 2.5, "weight": 1e400}\n'
    )
    names = ["price", "in_stock", "tags", "weight"]
    columns = load_dataset(tmp_path, item_columns=names).catalog.columns
    assert columns.to_dict(as_series=False) == {
        "price": [1.0, 2.5],
        "in_stock": [True, None],
        "tags": ["x > y", None],
        "weight": [1.0, None],
    }


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"price": [1, 2]}, "it has a column 'price', which nothing reads"),
        ({"column:price": [[1], [2]]}, "column 'column:price' holds List"),
        ({"column:price": [b"a", b"b"]}, "column 'column:price' holds Binary"),
        ({"list:tags": ["[1]", None]}, "column 'list:tags' holds no lists of texts"),
        ({"list:tags": ["x", None]}, "column 'list:tags' holds no lists of texts"),
        ({"list:tags": [["a"], []]}, r"column 'list:tags' holds List\(String\)"),
        ({"column:x": [1, 2], "list:x": ["[]", "[]"]}, "two columns have the same name"),
        ({"column:title": ["x", "y"]}, "an item column is 'title', which every catalog has"),
        ({"column:" + "x" * 300: [1, 2]}, "which has 300 characters"),
        ({f"column:{n}": [1, 2] for n in range(400)}, "it has 402 columns"),
        ({"column:text": ["x" * 20_000_000] * 2}, "it holds 40,000,004 bytes of text"),
    ],
)
def test_a_stored_catalog_with_other_columns_is_refused(
    tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BundleError, match=f"could not be read as a catalog: .*{reason}"):
        Catalog.load(stored(tmp_path, **values))


def test_a_catalog_of_before_there_were_columns_is_read(tmp_path: Path) -> None:
    loaded = Catalog.load(stored(tmp_path, category=["k", ""]))
    assert loaded.categories == ["k", ""]
    assert loaded.columns.columns == ["category"]


def test_a_joined_catalog_has_the_columns_of_both() -> None:
    own = catalog(columns=["price", "size"], price=[1, 2], size=["s", "m"])
    frame = pl.DataFrame({"item_id": ["x"], "title": ["X"], "price": [0.5], "color": ["red"]})
    joined = own.joined(Catalog.from_frame(frame, columns=["price", "color"]))
    assert joined.columns.to_dict(as_series=False) == {
        "price": [1, 2, None],
        "size": ["s", "m", None],
        "color": [None, None, "red"],
    }


@pytest.mark.parametrize("dtype", [pl.UInt64, pl.Int128])
def test_whole_numbers_beyond_64_bits_are_refused_with_the_value(dtype: type[pl.DataType]) -> None:
    rows = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    large = rows.with_columns(code=pl.Series([1, 2**63], dtype=dtype))
    with pytest.raises(DataError, match="column 'code' of the items holds 9223372036854775808: "):
        Catalog.from_frame(large, columns=["code"])
    fitting = rows.with_columns(code=pl.Series([1, None], dtype=dtype))
    assert Catalog.from_frame(fitting, columns=["code"]).columns["code"].to_list() == [1, None]
