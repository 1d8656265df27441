import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.repairs import Repairs
from bigrec.errors import BundleError, DataError


def catalog(*titles: Any, **options: Any) -> Catalog:
    ids = [str(10 + number) for number in range(len(titles))]
    frame = pl.DataFrame({"item_id": ids, "title": list(titles)})
    return Catalog.from_frame(frame, repairs=Repairs(), **options)


def read(frame: dict[str, list[Any]], **options: Any) -> tuple[Catalog, dict[str, int]]:
    repairs = Repairs()
    made = Catalog.from_frame(pl.DataFrame(frame, strict=False), repairs=repairs, **options)
    return made, {row.name: row.count for row in repairs.as_rows()}


def test_items_are_numbered_in_the_order_of_the_rows() -> None:
    made = catalog("B", "A")
    assert made.item_ids == ["10", "11"]
    assert made.titles == ["B", "A"]
    assert made.n_items == 2


def test_items_with_the_same_title_share_a_title_id_in_order_of_first_appearance() -> None:
    made = catalog("B", "A", "B")
    np.testing.assert_array_equal(made.title_ids, [0, 1, 0])
    assert made.title_ids.dtype == np.int64
    assert made.unique_titles == ["B", "A"]
    assert made.n_titles == 2


def test_a_catalog_of_one_item_is_a_catalog() -> None:
    assert catalog("A").n_items == 1


def test_outer_whitespace_is_stripped_and_inner_kept() -> None:
    assert catalog(" A \n B\t ").titles == ["A \n B"]


@pytest.mark.parametrize("blank", ["", "  ", "None", "nan", "null", "&nbsp;", "\u200b", None])
def test_items_without_a_title_are_dropped_and_counted(blank: str | None) -> None:
    made, counts = read({"item_id": [1, 2], "title": [blank, "A"]})
    assert made.item_ids == ["2"]
    assert counts["empty titles"] == 1


def test_a_title_that_only_contains_a_word_for_nothing_is_kept() -> None:
    assert catalog("None But the Brave").titles == ["None But the Brave"]


def test_a_catalog_without_any_title_is_refused() -> None:
    with pytest.raises(DataError, match="no item has a title: all 2 titles are empty"):
        catalog("", None)


def test_items_without_an_id_are_dropped_and_counted() -> None:
    made, counts = read({"item_id": [1, None], "title": ["A", "B"]})
    assert made.item_ids == ["1"]
    assert counts["items without an id"] == 1


def test_a_catalog_without_any_id_is_refused() -> None:
    with pytest.raises(DataError, match="no item has an id: all values of the id column are"):
        read({"item_id": [None], "title": ["A"]})


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(DataError, match="the items have no rows"):
        read({"item_id": [], "title": []})


def test_a_missing_column_is_reported() -> None:
    with pytest.raises(DataError, match=r"the items have no column 'title'.* item_id, name\. Name"):
        read({"item_id": [1], "name": ["A"]})


def test_a_row_that_repeats_id_and_title_is_read_once_and_counted() -> None:
    made, counts = read({"item_id": [1, 1, 2], "title": ["A", "A ", "B"]})
    assert made.item_ids == ["1", "2"]
    assert counts["repeated item ids"] == 1


def test_an_id_with_two_titles_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 item ids have two .* '1' with 'A' and 'B'"):
        read({"item_id": [1, 2, 1], "title": ["A", "C", "B"]})


def test_a_blank_title_is_replaced_by_the_other_title_of_the_item() -> None:
    made, _ = read({"item_id": [1, 1], "title": ["", "A"]})
    assert made.titles == ["A"]


def test_entities_are_decoded_counted_and_shown() -> None:
    repairs = Repairs()
    frame = pl.DataFrame({"item_id": [1, 2], "title": ["A &amp; B", "C"]})
    assert Catalog.from_frame(frame, repairs=repairs).titles == ["A & B", "C"]
    row = next(row for row in repairs.as_rows() if row.name == "HTML entities in titles")
    assert (row.count, row.total, row.done) == (1, 2, "Decoded.")
    assert row.examples == ("A &amp; B -> A & B",)


def test_entities_are_kept_and_counted_without_decode_html() -> None:
    made, counts = read({"item_id": [1], "title": ["A &amp; B"]}, decode_html=False)
    assert made.titles == ["A &amp; B"]
    assert counts["HTML entities in titles"] == 1


def test_articles_go_first_with_article_first() -> None:
    assert catalog("Matrix, The (1999)").titles == ["Matrix, The (1999)"]
    assert catalog("Matrix, The (1999)", article_first=True).titles == ["The Matrix (1999)"]


def test_years_are_appended() -> None:
    frame: dict[str, list[Any]] = {
        "item_id": [1, 2],
        "title": ["Matrix, The", "Fargo (1996)"],
        "y": [1999, 1996],
    }
    made, _ = read(frame, year="y", article_first=True)
    assert made.titles == ["The Matrix (1999)", "Fargo (1996)"]


def test_categories_are_kept_and_lists_joined() -> None:
    assert catalog("A").categories is None
    made, _ = read({"item_id": [1, 2], "title": ["A", "B"], "c": ["Games", None]}, category="c")
    assert made.categories == ["Games", ""]
    made, _ = read({"item_id": [1], "title": ["A"], "c": [["Games", "PC"]]}, category="c")
    assert made.categories == ["Games > PC"]


def test_ids_resolve_to_numbers() -> None:
    np.testing.assert_array_equal(catalog("A", "B").resolve(["11", "10", "11"]), [1, 0, 1])
    assert catalog("A").resolve([]).dtype == np.int64


def test_an_item_resolves_by_id_then_title_then_folded_title() -> None:
    # the title of item 10 is the id of item 11
    made = catalog("11", "B", "b", "The  Wire")
    np.testing.assert_array_equal(made.resolve(["11", "10", "b", "the wire"]), [1, 0, 2, 3])


def test_a_shared_title_resolves_to_its_first_item() -> None:
    np.testing.assert_array_equal(catalog("A", "B", "B").resolve(["B", " b"]), [1, 1])


def test_a_title_is_known_in_either_form_of_its_characters() -> None:
    made = catalog("Am\u00e9lie", "Cafe\u0301")
    written = ["Ame\u0301lie", "AME\u0301LIE", "caf\u00e9", "CAF\u00c9"]
    np.testing.assert_array_equal(made.resolve(written), [0, 0, 1, 1])


def test_an_id_is_known_as_those_of_data_are_read() -> None:
    made = catalog("A", "B", " 10.0 x")
    np.testing.assert_array_equal(made.resolve(["11.0", " 10 ", "10.0 X"]), [1, 0, 2])
    with pytest.raises(DataError, match="3 items are not in the catalog"):
        made.resolve(["010", "10.5", "nan"])
    with pytest.raises(DataError, match="1 items are not in the catalog"):
        made.resolve(["\ud800 "])


def test_unknown_items_are_reported_once_each_with_similar_titles() -> None:
    with pytest.raises(DataError) as caught:
        catalog("Fargo", "Alien").resolve(["Farg", "Alien", "x", "Farg"])
    message = str(caught.value)
    assert message.startswith(
        "2 items are not in the catalog of 2 titles: 'Farg' (did you mean 'Fargo'?), 'x'."
    )
    assert message.endswith("Give ids exactly as in the catalog, or titles.")


def suggestions(titles: list[str], item: str) -> list[str]:
    with pytest.raises(DataError) as caught:
        catalog(*titles).resolve([item])
    _, _, listed = str(caught.value).partition("(did you mean ")
    return re.findall("'(.*?)'", listed.partition("?)")[0])


def test_the_most_similar_titles_are_suggested_in_any_case() -> None:
    titles = [
        "Toys (1992)",
        "Toy Story 2 (1999)",
        "Toy Story (1995)",
        "Heat (1995)",
        "Toy Soldiers",
    ]
    # in common: 2 * 15 of 32 characters, 2 * 14 of 34, 2 * 10 of 27
    expected = ["Toy Story (1995)", "Toy Story 2 (1999)", "Toys (1992)"]
    for typed in ("Toy Stroy (1995)", " TOY  stroy (1995)"):
        assert suggestions(titles, typed) == expected


def test_titles_with_less_than_60_percent_in_common_are_not_suggested() -> None:
    # 2 * 6 characters of 20, then 2 * 5
    assert suggestions(["abcdefghij"], "abcdefwxyz") == ["abcdefghij"]
    assert suggestions(["abcdefghij"], "abcdevwxyz") == []


def test_suggestions_take_one_bounded_search_for_each_shown_item(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def extract(query: str, _: list[str], **options: Any) -> list[tuple[str, float, int]]:
        calls.append((query, options))
        return []

    monkeypatch.setattr("bigrec.data.catalog.process.extract", extract)
    with pytest.raises(DataError):
        catalog("A").resolve(["x" * 5000, *"bcdefgh"])
    assert [query for query, _ in calls] == ["x" * 200, "b", "c"]
    for _, options in calls:
        assert (options["limit"], options["score_cutoff"]) == (3, 60)


def test_a_long_unknown_item_is_quoted_in_part() -> None:
    with pytest.raises(DataError, match=f"titles: '{'x' * 200}\\.\\.\\.'\\. Give") as caught:
        catalog("A").resolve(["x" * 1_000_000])
    assert len(str(caught.value)) < 400


def test_of_many_unknown_items_three_are_shown() -> None:
    with pytest.raises(DataError, match=r"5 items .* 'v', 'w', 'x' and 2 more. Give"):
        catalog("A").resolve(list("vwxyz"))


def test_an_item_that_is_not_text_is_refused() -> None:
    with pytest.raises(
        TypeError, match="items holds 10 at position 0, which is of type int: expected text"
    ):
        catalog("A").resolve([10])  # type: ignore[list-item]


def test_the_fingerprint_changes_with_ids_titles_and_order() -> None:
    made = catalog("A", "B")
    assert made.fingerprint == catalog("A", "B").fingerprint
    assert made.fingerprint != catalog("A", "C").fingerprint
    assert made.fingerprint != catalog("B", "A").fingerprint
    other, _ = read({"item_id": ["10", "12"], "title": ["A", "B"]})
    assert made.fingerprint != other.fingerprint


def test_a_saved_catalog_is_read_back(tmp_path: Path) -> None:
    made, _ = read({"item_id": ["x", "y"], "title": ["A", "A"], "c": ["k", ""]}, category="c")
    made.save(tmp_path / "catalog.parquet")
    loaded = Catalog.load(tmp_path / "catalog.parquet")
    assert loaded.item_ids == ["x", "y"]
    assert loaded.titles == ["A", "A"]
    assert loaded.categories == ["k", ""]
    np.testing.assert_array_equal(loaded.title_ids, [0, 0])


def test_a_missing_catalog_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"catalog.parquet could not be read as a catalog"):
        Catalog.load(tmp_path / "catalog.parquet")


def test_a_damaged_catalog_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "catalog.parquet").write_bytes(b"no parquet")
    with pytest.raises(BundleError, match=r"catalog.parquet could not be read as a catalog"):
        Catalog.load(tmp_path / "catalog.parquet")


def test_a_catalog_file_with_other_columns_is_reported(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["x"]}).write_parquet(tmp_path / "catalog.parquet")
    with pytest.raises(BundleError, match="could not be read as a catalog"):
        Catalog.load(tmp_path / "catalog.parquet")


def test_a_joined_catalog_has_its_own_items_first() -> None:
    own = Catalog.from_frame(pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]}))
    frame = pl.DataFrame({"item_id": ["c", "a"], "title": ["B", "Other"], "category": ["x", "y"]})
    joined = own.joined(Catalog.from_frame(frame, category="category"))
    assert joined.item_ids == ["a", "b", "c"]
    assert joined.titles == ["A", "B", "B"]
    assert joined.title_ids.tolist() == [0, 1, 1]
    assert joined.categories == ["", "", "x"]


def test_a_text_is_the_title_and_below_it_the_values_of_its_first_item() -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["1", "2", "3", "4"],
            "title": ["Heat", "Alien", "Heat", "Tron"],
            "category": ["Crime", "", "Drama", None],
            "cast": [["Pacino", "De Niro"], None, ["Loren"], []],
            "year": [1995, 1979, 1986, None],
        }
    )
    catalog = Catalog.from_frame(frame, category="category", columns=["cast", "year"])
    assert catalog.texts == ["Heat", "Alien", "Tron"]
    rich = catalog.reading(["category", "cast", "year"])
    assert rich.texts == ["Heat\nCrime\nPacino > De Niro\n1995", "Alien\n1979", "Tron"]
    assert rich.item_texts == [rich.texts[title] for title in (0, 1, 0, 2)]
    assert rich.unique_titles == catalog.unique_titles


def test_titles_keep_the_texts_of_a_known_catalog() -> None:
    before, after = (
        Catalog.from_frame(
            pl.DataFrame({"item_id": ["1", "2"], "title": titles, "category": category}),
            category="category",
        )
        for titles, category in (
            (["Heat", "Alien"], ["Crime", "Horror"]),
            (["Heat", "Tron"], ["Drama", "Action"]),
        )
    )
    known = before.reading(["category"])
    assert after.reading(["category"], known=known).texts == ["Heat\nCrime", "Tron\nAction"]
    assert known.other_texts(after.reading(["category"])) == {"Heat"}


def test_texts_of_a_column_that_is_missing_are_refused() -> None:
    catalog = Catalog.from_frame(pl.DataFrame({"item_id": ["1"], "title": ["Heat"]}))
    with pytest.raises(DataError, match=r"no column 'brand'\. Their columns are: title\."):
        catalog.reading(["brand"])
