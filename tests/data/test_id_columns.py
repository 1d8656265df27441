import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.data.id_columns import MISSING, check_exact, check_unrounded, id_text, loosened, read_id
from bigrec.data.repairs import Repair
from bigrec.data.tables import scan_table
from bigrec.errors import DataError


def ids(values: list[Any], dtype: Any = None) -> list[str | None]:
    frame = pl.DataFrame({"id": pl.Series(values, dtype=dtype)})
    return frame.select(id_text("id", frame.schema["id"], what="items")).to_series().to_list()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([12, 7], ["12", "7"]),
        ([12.0, None, float("nan"), float("inf")], ["12", None, None, None]),
        ([12.5], ["12.5"]),
        (["007", "", None, " 12 ", "12.0", "-3.00"], ["007", None, None, "12", "12", "-3"]),
        (["12.5", "v1.0", "1.0.0"], ["12.5", "v1.0", "1.0.0"]),
        ([None], [None]),
        ([True], ["true"]),
    ],
)
def test_ids_become_text(values: list[Any], expected: list[str | None]) -> None:
    assert ids(values) == expected


@pytest.mark.parametrize(
    "text", ["12", " 12 ", "12.0", "v1.0", "1.0.0", "-3.00", "\u00a0x", "x\n", "\n12.0\n", ".0", ""]
)
def test_a_single_id_is_read_like_a_column_of_them(text: str) -> None:
    assert read_id(text) == (ids([text])[0] or text)


@pytest.mark.parametrize("word", MISSING)
def test_a_word_for_a_missing_value_is_no_id(word: str) -> None:
    assert ids([word, f" {word}", f"{word}1"]) == [None, None, f"{word}1"]


def test_ids_of_a_categorical_column_become_text() -> None:
    assert ids(["b", "a"], pl.Categorical) == ["b", "a"]


def test_ids_of_another_type_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'id' of the items holds List\(Int64\): expected"):
        ids([[1]])


@pytest.mark.parametrize(
    ("dtype", "limit"),
    [(pl.Float64, 2**53 - 1), (pl.Float32, 2**24 - 1), (pl.Float16, 2**11 - 1)],
)
def test_floats_that_round_ids_are_refused(dtype: Any, limit: int) -> None:
    # Of limit + 1, the next whole number is rounded to it.
    for largest in (limit, limit + 1, 4 * limit, float("inf"), -float("inf")):
        values = [1, None, float("nan"), largest, largest]
        frame = pl.DataFrame({"id": pl.Series(values, dtype=dtype)})
        if largest == limit:
            check_exact(frame.lazy(), "id", frame.schema["id"], what="items")
            continue
        message = re.escape(f"holds the number {float(largest)} in row 4: floats above {limit}")
        with pytest.raises(DataError, match=rf"{message} are rounded.* Wrong values: 2\."):
            check_exact(frame.lazy(), "id", frame.schema["id"], what="items")


@pytest.mark.parametrize(
    "text", ["1e+22", "-1.5E+16", "9.1e+15", "1e+999", "9.007199254740994e+15"]
)
def test_texts_of_rounded_floats_are_refused_as_ids(text: str) -> None:
    message = re.escape(f"'u' of the items holds the number {float(text)} in row 12: floats")
    with pytest.raises(DataError, match=message):
        check_unrounded(pl.Series([None, "a+b", text]), "u", what="items", first_row=10)


@pytest.mark.parametrize("text", ["9.78014E+12", "1.23457e+06", "-1.23457E+11"])
def test_six_digits_of_a_longer_number_are_refused_as_an_id(text: str) -> None:
    message = re.escape(f"column 'u' of the items holds {text!r} in row 11: six digits of a longer")
    with pytest.raises(DataError, match=rf"{message} .* Wrong values: 2\."):
        check_unrounded(pl.Series([None, text, "1E+11", text]), "u", what="items", first_row=10)


def test_ids_that_look_like_large_numbers_are_kept() -> None:
    kept = [
        "1e22",
        "1E+05",
        "1.5e+15",
        "1.00000e+05",
        "12e+16",
        "ab1e+16",
        "9007199254740993",
        "inf",
        "+" * 9,
    ]
    check_unrounded(pl.Series(kept), "u", what="items")


_ROUNDED = ("1e400", "-1e400", "Infinity", "1e22", "9007199254740994.0", "9007199254740993.0")


@pytest.mark.parametrize("is_array", [False, True])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((column, value) for column in ("user_id", "item_id") for value in _ROUNDED),
        *(("timestamp", value) for value in _ROUNDED[:-2]),
    ],
)
def test_a_number_of_json_that_no_float_tells_apart_is_refused(
    tmp_path: Path, column: str, value: str, is_array: bool
) -> None:
    rows = [{"user_id": n % 2, "item_id": 7, "timestamp": 10**9 + n} for n in range(4)]
    lines = [json.dumps(row) for row in rows]
    number = {"user_id": 0, "item_id": 7, "timestamp": 10**9 + 2}[column]
    lines[2] = lines[2].replace(f'"{column}": {number}', f'"{column}": {value}')
    path = tmp_path / "rows.json"
    path.write_text(f"[{', '.join(lines)}]" if is_array else "\n".join(lines))
    items = pl.DataFrame({"item_id": [7], "title": ["A"]})
    with pytest.raises(DataError, match=rf"column '{column}' .*holds .* in row 3: .*alues: 1"):
        Dataset.from_frames(scan_table(path), items)


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
def test_whole_numbers_of_json_keep_all_digits_as_ids(tmp_path: Path, column: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(f'{{"user_id": 1, "item_id": 7, "timestamp": 5, "{column}": {2**63}}}\n')
    items = pl.DataFrame({"item_id": [str(2**63), "7"], "title": ["A", "B"]})
    if column == "timestamp":
        with pytest.raises(DataError, match=f"holds '{2**63}' in row 1: expected a number from"):
            Dataset.from_frames(scan_table(path), items)
        return
    made = Dataset.from_frames(scan_table(path), items)
    assert made.interactions.user_ids == [str(2**63) if column == "user_id" else "1"]
    assert made.interactions.items.tolist() == [0 if column == "item_id" else 1]


def test_loose_ids_have_no_case_spaces_or_leading_zeros() -> None:
    written = ["007", "0", "00", "B0 x", " b0X", "\uff17", "0345X", "\ufeff3\u200b"]
    plain = ["7", "0", "0", "b0x", "b0x", "7", "345x", "3"]
    assert loosened(pl.Series(written)).to_list() == plain
    scientific = pl.Series(["1E+05", "1.5e1", "1e999", "e5", "b1e5"])
    assert loosened(scientific).to_list() == ["100000", "15", "1e999", "e5", "b1e5"]


def dataset(users: list[Any], items: list[Any], catalog: list[Any]) -> Dataset:
    rows = {"user_id": users, "item_id": items, "timestamp": range(len(users))}
    titles = {"item_id": catalog, "title": [f"T{n}" for n in range(len(catalog))]}
    return Dataset.from_frames(pl.DataFrame(rows), pl.DataFrame(titles))


def check(made: Dataset, name: str) -> Repair:
    return next(row for row in made.repairs.as_rows() if row.name == name)


def test_ids_that_were_floats_in_one_file_are_one_id() -> None:
    made = dataset(["1", "1.0", " 1"], ["12", "12.0", "7 "], [12, 7])
    assert made.interactions.user_ids == ["1"]
    assert made.interactions.items.tolist() == [0, 0, 1]
    users = check(made, "user ids respelled")
    assert (users.count, users.total) == (2, 3)
    assert sorted(users.examples) == ["' 1' -> '1'", "'1.0' -> '1'"]
    assert check(made, "item ids respelled").count == 2
    assert check(made, "catalog ids respelled").count == 0


def test_missing_users_are_dropped_and_told_as_they_were_written() -> None:
    made = dataset(["u", "nan", "NULL", "nan", None, ""], ["a"] * 6, ["a"])
    assert made.interactions.user_ids == ["u"]
    missing = check(made, "interactions without a user")
    assert (missing.count, missing.total) == (5, 6)
    assert missing.examples == ("'nan', 2 times", "'NULL', 1 times")


def test_missing_items_are_dropped_from_both() -> None:
    made = dataset(["u", "u"], ["a", "None"], ["a", "None"])
    assert made.catalog.item_ids == ["a"]
    assert check(made, "interactions without an item").examples == ("'None', 1 times",)
    assert check(made, "items without an id").examples == ("item None: 'T1'",)


def test_ids_that_may_be_one_are_told() -> None:
    made = dataset(["007", "7", "Ann", "ann", "8"], ["a"] * 5, ["a", "A", "b"])
    users = check(made, "similar user ids")
    assert (users.count, users.total) == (4, 5)
    assert sorted(users.examples)[0] in ("'007' and '7'", "'7' and '007'")
    items = check(made, "similar item ids")
    assert (items.count, items.examples) == (2, ("'a' and 'A'",))


def test_unknown_items_that_the_catalog_writes_otherwise_are_told() -> None:
    made = dataset(["u"] * 4, ["007", "b", "x", "b"], ["7", "B", "b"])
    unknown = check(made, "interactions with unknown items")
    assert unknown.count == 2
    assert unknown.done == (
        "Dropped: the catalog has no item with the id. 1 of 2 would be known but for case, spaces "
        "or leading zeros, such as '007', which the catalog writes '7': write ids alike in both "
        "files."
    )
    with pytest.raises(
        DataError, match=r"such as '7'\. 2 of 2 would be known but for case, spaces"
    ):
        dataset(["u", "u"], ["007", "07"], ["7"])
    with pytest.raises(DataError, match=r"such as '7'\. The ids may be written differ"):
        dataset(["u"], ["x"], ["7"])


def test_users_named_as_if_unknown_are_told() -> None:
    made = dataset(["u", "Unknown", "-1", "-1", "Nan", "(null)", "#REF!"], ["a"] * 7, ["a"])
    row = check(made, "users named as if unknown")
    assert (row.count, row.examples) == (6, ("Unknown", "-1", "Nan", "(null)", "#REF!"))


def test_floats_that_round_ids_are_refused_in_either_frame() -> None:
    with pytest.raises(
        DataError,
        match=r"column 'user_id' of the interactions holds the number 1\.15.*e\+18 in row 1",
    ):
        dataset([2.0**60], ["a"], ["a"])
    with pytest.raises(
        DataError, match=r"column 'item_id' of the items holds the number 1\.15.*e\+18 in row 1"
    ):
        Catalog.from_frame(pl.DataFrame({"item_id": [2.0**60], "title": ["A"]}))
