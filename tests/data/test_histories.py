"""Histories of many users from files."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bigrec.data.histories import Histories
from bigrec.errors import DataError

EXPECTED = {"u": ["b", "a"], "v": ["c"]}
ROWS = {
    "user_id": ["u", "v", "u"],
    "item_id": ["a", "c", "b"],
    "timestamp": [20, 5, 10],
}


def as_dict(histories: Histories) -> dict[str, list[str]]:
    return {
        user: [histories.item_ids[item] for item in histories.items[start:stop]]
        for user, start, stop in zip(
            histories.user_ids, histories.starts, histories.starts[1:], strict=False
        )
    }


def write(folder: Path, suffix: str, columns: dict[str, Any]) -> Path:
    path, frame = folder / f"histories{suffix}", pl.DataFrame(columns)
    if suffix == ".parquet":
        frame.write_parquet(path)
    elif suffix == ".csv":
        frame.write_csv(path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dicts()))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_interactions_are_grouped_by_user_in_order_of_time(tmp_path: Path, suffix: str) -> None:
    histories = Histories.read(write(tmp_path, suffix, ROWS))
    assert as_dict(histories) == EXPECTED
    assert len(histories) == 2
    assert histories.n_dropped == 0
    assert histories.n_bytes > 0


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_without_times_the_order_is_that_of_the_rows(tmp_path: Path, suffix: str) -> None:
    columns = {"who": ["u", "v", "u"], "what": ["b", "c", "a"]}
    path = write(tmp_path, suffix, columns)
    assert as_dict(Histories.read(path, user_id="who", item_id="what")) == EXPECTED


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_row_of_a_user_may_hold_a_list(tmp_path: Path, suffix: str) -> None:
    columns = {"user_id": [1, 2, 3, None], "item_id": [[12, 5], [], [5, None], [7]]}
    histories = Histories.read(write(tmp_path, suffix, columns))
    assert as_dict(histories) == {"1": ["12", "5"], "2": [], "3": ["5"]}
    # A user is missing, and an item.
    assert histories.n_dropped == 2
    assert histories.item_ids == ["12", "5"]


def test_rows_without_user_or_item_are_dropped_and_counted(tmp_path: Path) -> None:
    columns = {"user_id": ["u", "", "u"], "item_id": ["a", "b", None], "timestamp": [1, 2, 3]}
    histories = Histories.read(write(tmp_path, ".csv", columns))
    assert as_dict(histories) == {"u": ["a"]}
    assert histories.n_dropped == 2


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"user_id": ["u"]}, {}, "the histories have no column 'item_id'. Their columns are: user"),
        (ROWS, {"time": "when"}, "the histories have no column 'when'"),
        ({**ROWS, "timestamp": ["x", "1", "2"]}, {}, "timestamp"),
        ({"user_id": [None], "item_id": ["a"]}, {}, "there are no histories: expected rows with"),
        ({"user_id": ["u"], "item_id": [{"a": 1}]}, {}, "holds Struct"),
    ],
)
def test_what_holds_no_histories_is_told(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, str], message: str
) -> None:
    path = write(tmp_path, ".parquet", columns)
    with pytest.raises(DataError, match=f"histories.parquet.*{message}"):
        Histories.read(path, **options)


@pytest.mark.parametrize("rows", [[["a"], "b"], ["b", ["a"]], [None, ["a"], "b"]])
def test_json_with_a_list_once_has_lists_always(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "histories.json"
    path.write_text(json.dumps([{"user_id": n, "item_id": row} for n, row in enumerate(rows)]))
    place = rows.index("b") + 1
    message = f"object {place} has 'b' as 'item_id': expected a list of items"
    with pytest.raises(DataError, match=message):
        Histories.read(path)


def test_a_first_user_without_a_list_hides_none_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "histories.jsonl"
    path.write_text('{"user_id": "u"}\n{"user_id": "v", "item_id": ["a", "b"]}\n')
    assert as_dict(Histories.read(path)) == {"u": [], "v": ["a", "b"]}


@pytest.mark.parametrize("nested", [["b", "c"], {"id": "b"}])
def test_what_is_no_item_of_a_list_is_told(tmp_path: Path, nested: Any) -> None:
    path = tmp_path / "histories.jsonl"
    path.write_text(json.dumps({"user_id": "u", "item_id": ["a", nested]}))
    with pytest.raises(
        DataError, match=r"object 1 has [\[{].* in its list 'item_id': expected ids"
    ):
        Histories.read(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_user_with_two_lists_is_told(tmp_path: Path, suffix: str) -> None:
    columns = {"user_id": ["u", "v", " u"], "item_id": [["a"], ["b"], ["c"]]}
    path = write(tmp_path, suffix, columns)
    with pytest.raises(DataError, match="user 'u' has 2 lists, and 1 users have several: expected"):
        Histories.read(path)


def test_lists_that_became_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "histories.csv"
    path.write_text("user_id,item_id\nu,\"['a', 'b']\"\nv,[c]\n")
    with pytest.raises(
        DataError, match=r"holds texts such as \"\['a', 'b'\]\", lists that a text f"
    ):
        Histories.read(path)
    path.write_text("user_id,item_id\nu,[REC]\nv,c\n")
    assert as_dict(Histories.read(path)) == {"u": ["[REC]"], "v": ["c"]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"user_id": 1e400, "item_id": ["a"]}', "'user_id' .* holds the number inf in row 2"),
        ('{"user_id": 1e22, "item_id": ["a"]}', r"'user_id' .* holds the number 1e\+22 in row 2"),
    ],
)
def test_users_that_no_float_tells_apart_are_refused(
    tmp_path: Path, row: str, message: str
) -> None:
    path = tmp_path / "histories.jsonl"
    path.write_text(f'{{"user_id": "u", "item_id": ["a"]}}\n{row}\n')
    with pytest.raises(DataError, match=message):
        Histories.read(path)


@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_interactions_that_no_float_tells_apart_are_refused(tmp_path: Path, column: str) -> None:
    row = {"user_id": 1, "item_id": 2, "timestamp": 3}
    path = tmp_path / "histories.jsonl"
    path.write_text(f"{json.dumps(row)}\n{json.dumps({**row, column: 1e22})}\n")
    with pytest.raises(DataError, match=rf"'{column}' .* holds the number 1e\+22 in row 2"):
        Histories.read(path)
