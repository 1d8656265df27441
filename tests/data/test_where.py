"""Conditions on the columns of items."""

from typing import Any

import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.where import matching

FRAME = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "title": ["Alien", "Babe", "Casino", "Casino"],
        "price": [1.5, None, 20.0, float("nan")],
        "year": [1979, 1995, None, 2**62],
        "genres": [["Horror", "Sci-Fi"], ["Comedy"], [], None],
        "in_stock": [True, False, None, True],
        "note": [None] * 4,
        "category": ["film", "", "series", None],
    }
)
COLUMNS = ["price", "year", "genres", "in_stock", "note", "category"]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.from_frame(FRAME, columns=COLUMNS)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, "abcd"),
        ({"price": 1.5}, "a"),
        ({"price": {"eq": 20}}, "c"),
        ({"price": {"lt": 5}}, "a"),
        ({"price": {"ge": 1.5, "le": 20}}, "ac"),
        ({"price": {"gt": 1.5}}, "c"),
        ({"price": {"lt": 10**30}}, "ac"),
        ({"price": {"lt": 10**5000}}, "ac"),
        ({"year": {"gt": -(10**400)}}, "abd"),
        ({"year": [10**400, 1979]}, "a"),
        ({"year": [1979, 1995]}, "ab"),
        ({"year": {"in": [1979.0, 1995.5]}}, "a"),
        ({"year": 2**62}, "d"),
        ({"year": {"in": []}}, ""),
        ({"genres": {"contains": "Comedy"}}, "b"),
        ({"genres": {"contains": ["Horror", "Sci-Fi"]}}, "a"),
        ({"title": {"contains": "as"}}, "cd"),
        ({"title": {"contains": "."}}, ""),
        ({"title": {"lt": "B"}}, "a"),
        ({"id": ["a", "d"]}, "ad"),
        ({"in_stock": True}, "ad"),
        ({"category": "film"}, "a"),
        ({"note": "x"}, ""),
        ({"in_stock": True, "title": "Casino"}, "d"),
        (pl.col("price") < 5, "a"),
        (pl.col("id").is_in(["b"]) | pl.col("in_stock"), "abd"),
    ],
)
def test_all_conditions_hold(catalog: Catalog, where: Any, expected: str) -> None:
    found = [catalog.item_ids[item] for item in matching(catalog, where).nonzero()[0]]
    assert found == list(expected)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"price": {"ne": 1.5}}, "bcd"),
        ({"year": {"not_in": [1979]}}, "bcd"),
        ({"in_stock": {"ne": True}}, "bc"),
        ({"note": {"ne": "x"}}, "abcd"),
        ({"price": {"is_null": True}}, "bd"),
        ({"category": {"is_null": True}}, "bd"),
        ({"genres": {"is_null": False}}, "abc"),
        ({"note": {"is_null": True}}, "abcd"),
    ],
)
def test_a_missing_value_is_unlike_every_value(catalog: Catalog, where: Any, expected: str) -> None:
    found = [catalog.item_ids[item] for item in matching(catalog, where).nonzero()[0]]
    assert found == list(expected)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"prize": 1}, r"names the column 'prize'.* Its columns are: id, title, .*price, year"),
        ({"price": {"below": 1}}, r"where\['price'\] has the operator 'below'; expected some of"),
        ({"price": "cheap"}, r"where\['price'\]\['eq'\] is 'cheap'; expected a finite number"),
        ({"price": float("nan")}, "is nan; expected a finite number"),
        ({"year": True}, "is True; expected a finite number"),
        ({"title": 5}, "is 5; expected text, as the column holds"),
        ({"in_stock": 1}, "is 1; expected true or false, as the column holds"),
        ({"in_stock": {"lt": True}}, "compares true and false; expected 'eq' or 'ne'"),
        ({"genres": "Comedy"}, "expected another operator: the column holds lists, which have"),
        ({"year": None}, r"expected a value; a missing one is found by \{'is_null': true\}"),
        ({"year": {"in": 5}}, r"where\['year'\]\['in'\] is 5; expected a list of at most"),
        ({"year": {"contains": "1"}}, "looks into Int64; expected a column of text or of lists"),
        ({"title": {"contains": 1}}, "is 1; expected a text, or a list of texts"),
        ({"year": {"is_null": 1}}, "is 1; expected true or false"),
        (pl.col("prize") < 1, r"could not be computed .*prize.*Its columns are: id, title"),
        (pl.col("year"), "gives 4 values of Int64; expected true or false for each of the 4"),
        (pl.col("year").sum() > 1, "gives 1 values of Boolean; expected true or false for each"),
    ],
)
def test_a_condition_that_does_not_fit_is_told(catalog: Catalog, where: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        matching(catalog, where)


@pytest.mark.parametrize("where", ["price < 5", 5, [("price", 5)]])
def test_what_is_no_condition_is_refused(catalog: Catalog, where: Any) -> None:
    with pytest.raises(TypeError, match=r"where is of type \w+; expected a mapping of columns"):
        matching(catalog, where)
