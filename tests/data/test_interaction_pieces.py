"""Interactions read in pieces of a few rows are those read whole: values, repairs and errors."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bigrec.data import files, interaction_rows, ordering, parquet, row_blocks
from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.data.repairs import Repairs
from bigrec.data.tables import scan_table
from bigrec.errors import DataError
from tests.conftest import UNTRACED

pytestmark = UNTRACED

CATALOG = Catalog.from_frame(
    pl.DataFrame({"item_id": ["a", "b", "c", "12", "007"], "title": list("ABCDE")})
)

Read = tuple[Any, ...]

USERS = ["u", "v", "U", " u", "3", "3.0", None, "", "NULL", "unknown", "9.1E+15", "1.23456E+07"]
ITEMS = ["a", "b", "c", "12", "12.0", "007", "7", "A", "zz", None, " ", "nan"]
TIMES: dict[str, list[Any]] = {
    "whole numbers": ["1", " 2", "2", "3", "", None],
    "fractions": ["1", "1.5", "2.0", "inf"],
    "dates": ["2014-03-01", "2014-03-01T12:30:00Z", "NaT", "soon"],
    "mixed": ["1", "2014-03-01", "2014-03-02", "2.5"],
    "units": ["1404583181", "1404583182", "1404583181000", "0"],
}


@st.composite
def tables(drawn_by: st.DrawFn) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Messy interactions, and options to read them with."""
    n_rows = drawn_by(st.integers(1, 25))

    def column(values: list[Any]) -> list[Any]:
        # Few different values in most tables, so that most can be read.
        some = values[: drawn_by(st.integers(1, len(values)))]
        return drawn_by(st.lists(st.sampled_from(some), min_size=n_rows, max_size=n_rows))

    columns: dict[str, list[Any]] = {
        "user_id": column(USERS),
        "item_id": column(ITEMS),
        "timestamp": column(TIMES[drawn_by(st.sampled_from(list(TIMES)))]),
    }
    if drawn_by(st.booleans()):
        columns["rating"] = column(["1", "2.5", " 4", "NaN", None, "bad"])
    if drawn_by(st.booleans()):
        columns["split"] = column(["train", "Valid ", "test", "other", None])
    if drawn_by(st.booleans()):
        columns["p"] = column(["0", "1", None, "x"])
    options = {
        "order": drawn_by(st.sampled_from([None, "row", *({"p"} & columns.keys())])),
        "min_rating": drawn_by(st.sampled_from([None, 2])),
        "tie_seed": drawn_by(st.integers(0, 2)),
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)), options


def read(frame: pl.DataFrame | pl.LazyFrame, options: dict[str, Any]) -> Read:
    """Values, types and repairs, or the error."""
    repairs = Repairs()
    try:
        made = Interactions.from_frame(frame, CATALOG, repairs=repairs, **options)
    except DataError as error:
        return str(error), repairs.as_rows()
    arrays = (made.user_start, made.items, made.times, made.ratings, made.splits)
    values = [None if array is None else (array.dtype, array.tolist()) for array in arrays]
    return made.user_ids, repr(values), repairs.as_rows()


def read_in_pieces(frame: pl.DataFrame | pl.LazyFrame, options: dict[str, Any]) -> Read:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interaction_rows, "_PIECE_ROWS", 3)
        patch.setattr(row_blocks, "_BLOCK_ROWS", 4)
        patch.setattr(ordering, "_ROWS_AT_A_TIME", 5)
        patch.setattr(ordering, "_MOST_TURNS", 1000)
        return read(frame, options)


@given(tables())
@example(
    (
        pl.DataFrame({"user_id": ["u"] * 5, "item_id": ["a"] * 5, "timestamp": ["1"] * 4 + ["x"]}),
        {},
    )
)
@settings(deadline=None)
def test_pieces_give_what_the_whole_gives(table: tuple[pl.DataFrame, dict[str, Any]]) -> None:
    frame, options = table
    expected = read(frame, options)
    assert read_in_pieces(frame, options) == expected
    assert read_in_pieces(frame.lazy(), options) == expected


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_blocks_of_a_file_give_what_the_frame_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user_id": rng.choice(["u", "v", "w", " w"], 400),
            "item_id": rng.choice(["a", "b", "c", "zz", "12.0"], 400),
            "timestamp": rng.integers(0, 50, 400).astype(str),
            "rating": rng.choice(["1", "2.5", "5"], 400),
        }
    )
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        frame.write_csv(path)
    elif suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path, row_group_size=50)
    monkeypatch.setattr(parquet, "_PART_ROWS", 70)
    monkeypatch.setattr(files, "BLOCK_BYTES", 300)
    assert read_in_pieces(scan_table(path), {"tie_seed": 3}) == read(frame, {"tie_seed": 3})


def test_rows_that_are_not_needed_at_once_are_not_in_memory_at_once() -> None:
    """A lazy frame is asked for its rows in pieces, and each piece is released."""
    largest = 0
    real = interaction_rows._Reader.add

    def add(reader: Any, piece: pl.DataFrame) -> None:
        nonlocal largest
        largest = max(largest, piece.height)
        real(reader, piece)

    rows = {"user_id": ["u"] * 50, "item_id": ["a"] * 50, "timestamp": range(50)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interaction_rows, "_PIECE_ROWS", 7)
        patch.setattr(interaction_rows._Reader, "add", add)
        made = Interactions.from_frame(pl.LazyFrame(rows), CATALOG)
    assert len(made) == 50
    assert largest == 7


def test_a_user_whose_rows_are_saved_in_two_pieces_is_one(tmp_path: Path) -> None:
    rows = {
        "user_id": ["u"] * 9 + ["v"] * 2 + ["w"] * 6,
        "item_id": ["a"] * 17,
        "timestamp": range(17),
    }
    made = Interactions.from_frame(pl.DataFrame(rows), CATALOG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "_BLOCK_ROWS", 4)
        made.save(tmp_path / "i.parquet")
    loaded = Interactions.load(tmp_path / "i.parquet")
    assert loaded.user_ids == ["u", "v", "w"]
    np.testing.assert_array_equal(loaded.user_start, [0, 9, 11, 17])
    np.testing.assert_array_equal(loaded.times, made.times)
