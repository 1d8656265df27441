import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigrec.data.readers.amazon import read_2018, read_2023
from bigrec.data.sources import load_dataset
from bigrec.errors import DataError

REVIEWS_2018: list[dict[str, Any]] = [
    {"overall": 3.0, "reviewerID": "U", "asin": "B2", "unixReviewTime": 20, "vote": "2"},
    {"overall": 5.0, "reviewerID": "U", "asin": "B1", "unixReviewTime": 10, "style": {"F:": "x"}},
]
META_2018: list[dict[str, Any]] = [
    {"category": ["Games", "PC"], "asin": "B1", "title": "A &amp; B", "price": "$1"},
    {"category": [], "asin": "B2", "title": "C", "price": []},
    {"asin": "B3", "title": ""},
]
REVIEWS_2023: list[dict[str, Any]] = [
    {"rating": 3.0, "user_id": "U", "asin": "X", "parent_asin": "B2", "timestamp": 20_000},
    {"rating": 5.0, "user_id": "U", "asin": "X", "parent_asin": "B1", "timestamp": 10_000},
]
META_2023: list[dict[str, Any]] = [
    {"parent_asin": "B1", "title": "A &amp; B", "categories": ["Games", "PC"], "price": 1.0},
    {"parent_asin": "B2", "title": "C", "categories": [], "price": "from $2"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_reviews_of_2018_are_read(tmp_path: Path, packed: str) -> None:
    write(tmp_path / f"Video_Games_5.json{packed}", REVIEWS_2018)
    write(tmp_path / f"meta_Video_Games.json{packed}", META_2018)
    made = load_dataset(tmp_path)
    assert (made.name, made.item_type) == ("Video_Games_5", "product")
    assert made.catalog.item_ids == ["B1", "B2"]
    assert made.catalog.titles == ["A & B", "C"]
    assert made.catalog.categories == ["Games > PC", ""]
    np.testing.assert_array_equal(made.interactions.items, [0, 1])
    np.testing.assert_array_equal(made.interactions.times, [10, 20])
    np.testing.assert_array_equal(made.interactions.ratings, [5, 3])


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_reviews_of_2023_are_read(tmp_path: Path, packed: str) -> None:
    write(tmp_path / f"Video_Games.jsonl{packed}", REVIEWS_2023)
    write(tmp_path / f"meta_Video_Games.jsonl{packed}", META_2023)
    made = load_dataset(tmp_path, item_type="game", item_columns=["price"])
    assert (made.name, made.item_type) == ("Video_Games", "game")
    assert made.catalog.categories == ["Games > PC", ""]
    # A price in words makes the column one of text.
    assert made.catalog.columns["price"].to_list() == ["1.0", "from $2"]
    np.testing.assert_array_equal(made.interactions.items, [0, 1])
    np.testing.assert_array_equal(made.interactions.times, [10_000, 20_000])


def test_ratings_only_of_2023_are_read(tmp_path: Path) -> None:
    reviews = tmp_path / "Video_Games.csv"
    reviews.write_text("user_id,parent_asin,rating,timestamp\nU,B2,3.0,20000\nU,B1,5.0,10000\n")
    meta = write(tmp_path / "meta_Video_Games.jsonl", META_2023)
    for made in (load_dataset(tmp_path), load_dataset(reviews, items=meta)):
        np.testing.assert_array_equal(made.interactions.items, [0, 1])
        np.testing.assert_array_equal(made.interactions.times, [10_000, 20_000])


def test_reviews_without_meta_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "Video_Games_5.json", REVIEWS_2018)
    with pytest.raises(DataError, match=r"no file of titles beside them: expected meta_\*\.json"):
        read_2018(tmp_path, None)


def test_reviews_of_two_categories_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "Books_5.json", REVIEWS_2018)
    write(tmp_path / "Video_Games_5.json", REVIEWS_2018)
    with pytest.raises(DataError, match=r"2 files of reviews: Books_5\.json, Video_Games_5\.json"):
        read_2018(tmp_path, None)


def test_reviews_of_the_other_edition_are_ignored(tmp_path: Path) -> None:
    write(tmp_path / "Video_Games_5.json", REVIEWS_2018)
    write(tmp_path / "meta_Video_Games.json", META_2018)
    assert read_2023(tmp_path, None) is None


def test_meta_of_the_other_edition_is_ignored(tmp_path: Path) -> None:
    write(tmp_path / "Video_Games_5.json", REVIEWS_2018)
    write(tmp_path / "meta_Video_Games.json", META_2023)
    assert read_2018(tmp_path, None) is None


def test_a_damaged_line_is_told_with_its_file(tmp_path: Path) -> None:
    with write(tmp_path / "Video_Games_5.json", REVIEWS_2018).open("a") as stream:
        stream.write("{broken\n")
    write(tmp_path / "meta_Video_Games.json", META_2018)
    with pytest.raises(DataError, match=r"Video_Games_5\.json: line 3, character 2: key must"):
        load_dataset(tmp_path)


def test_a_category_may_be_text_in_one_line_and_a_list_in_another(tmp_path: Path) -> None:
    write(tmp_path / "Video_Games_5.json", REVIEWS_2018)
    write(tmp_path / "meta_Video_Games.json", [META_2018[0], {**META_2018[1], "category": "PC"}])
    assert load_dataset(tmp_path).catalog.categories == ["Games > PC", "PC"]


def test_products_without_reviews_are_not_in_the_catalog(tmp_path: Path) -> None:
    write(tmp_path / "Video_Games_5.json", REVIEWS_2018)
    write(tmp_path / "meta_Video_Games.json", [*META_2018, {"asin": "B9", "title": "Unsold"}])
    assert "Unsold" not in load_dataset(tmp_path).catalog.titles


def test_products_of_2014_are_python_literals_with_paths_of_categories(tmp_path: Path) -> None:
    write(tmp_path / "reviews.json", REVIEWS_2018)
    products = [
        {"asin": row["asin"], "title": row["title"], "categories": [["Games", "PC"]]}
        for row in META_2018
    ]
    (tmp_path / "meta_games.json").write_text("\n".join(map(repr, products)))
    made = load_dataset(tmp_path)
    assert made.catalog.titles == ["A & B", "C"]
    assert made.catalog.categories == ["Games > PC", "Games > PC"]


def test_ids_that_are_written_otherwise_in_the_two_files_meet(tmp_path: Path) -> None:
    spaced = [{**row, "asin": f" {row['asin']} "} for row in REVIEWS_2018]
    write(tmp_path / "Video_Games_5.json", spaced)
    write(tmp_path / "meta_Video_Games.json", META_2018)
    made = load_dataset(tmp_path)
    assert made.catalog.item_ids == ["B1", "B2"]
    np.testing.assert_array_equal(made.interactions.items, [0, 1])


def test_titles_of_other_products_are_told_with_both_ids(tmp_path: Path) -> None:
    write(tmp_path / "Video_Games_5.json", [{**row, "asin": "b1"} for row in REVIEWS_2018])
    write(tmp_path / "meta_Books.json", META_2018)
    message = r"meta_Books\.json: none of its 3 products is reviewed: .* as 'b1', this file such as"
    with pytest.raises(DataError, match=rf"{message} 'B1'"):
        load_dataset(tmp_path)
