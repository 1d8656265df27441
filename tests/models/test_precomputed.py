from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.errors import DataError
from bigrec.models.precomputed import PrecomputedScores
from bigrec.types import FloatArray

ITEMS = ["a", "b", "c"]
SCORES = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 4.5]])
LONG = {
    "user_id": ["u", "u", "u", "v", "v", "v"],
    "item_id": ["a", "b", "c", "c", "b", "a"],
    "score": [0.5, -1.0, 2.0, 4.5, 4.0, 3.0],
}
WIDE = {"user_id": ["u", "v"], "c": [2.0, 4.5], "a": [0.5, 3.0], "b": [-1.0, 4.0]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.parquet"


def from_array(path: Path, array: Any, *, n_queries: int = 2) -> PrecomputedScores:
    np.save(path.with_suffix(".npy"), array)
    return PrecomputedScores.from_npy(
        path.with_suffix(".npy"), name="DROS", n_queries=n_queries, n_items=3
    )


def from_table(
    path: Path, columns: dict[str, Any], *, users: list[str] | None = None
) -> FloatArray:
    users = ["u", "v"] if users is None else users
    pl.DataFrame(columns, strict=False).write_parquet(path)
    model = PrecomputedScores.from_parquet(path, name="DROS", item_ids=ITEMS, user_ids=users)
    return model.scores([np.zeros(0, dtype=np.int64)] * len(users))


def test_an_array_is_read_in_the_order_of_the_queries(path: Path) -> None:
    model = from_array(path, SCORES)
    np.testing.assert_array_equal(model.scores([np.array([0])] * 2), SCORES)
    assert model.name == "DROS"


@pytest.mark.parametrize(
    ("stored", "kept"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), ("int8", "float64")],
)
def test_scores_are_floats_of_at_least_single_precision(path: Path, stored: str, kept: str) -> None:
    model = from_array(path, np.array([[1, 2, 3]], dtype=stored), n_queries=1)
    scores = model.scores([np.array([0])])
    assert scores.dtype == kept
    np.testing.assert_array_equal(scores, [[1, 2, 3]])


def test_the_scores_of_some_queries_can_be_selected(path: Path) -> None:
    model = from_array(path, SCORES).at_queries(np.array([1]))
    np.testing.assert_array_equal(model.scores([np.array([0])]), SCORES[1:])


def test_another_number_of_histories_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="Got 1 histories, but DROS has scores for 2 queries"):
        from_array(path, SCORES).scores([np.array([0])])


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 1), (6,), (3, 3)])
def test_an_array_of_another_shape_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"scores\.npy: the array has shape .*; expected \(2, 3\)"):
        from_array(path, np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(path: Path, value: float) -> None:
    with pytest.raises(DataError, match="1 of 6 scores are missing, NaN or infinite"):
        from_array(path, [[1.0, 2.0, value], [1.0, 2.0, 3.0]])


def test_an_array_of_text_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="the scores are <U1: expected floats or whole numbers"):
        from_array(path, [["a", "b", "c"]] * 2)


def test_an_array_of_objects_is_never_unpickled(path: Path) -> None:
    with pytest.raises(DataError, match="not an array of numbers: Object arrays cannot be loaded"):
        from_array(path, np.array([[None] * 3] * 2, dtype=object))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 an archive"])
def test_a_file_that_is_not_an_array_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scores.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"not an array of numbers: .*Write it with numpy\.save"):
        PrecomputedScores.from_npy(tmp_path / "scores.npy", name="DROS", n_queries=2, n_items=3)


def test_an_array_cut_short_is_refused(path: Path) -> None:
    from_array(path, SCORES)
    file = path.with_suffix(".npy")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="not an array of numbers"):
        PrecomputedScores.from_npy(file, name="DROS", n_queries=2, n_items=3)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (10**15, 10**6), (-1, 3), (0, 3)])
def test_no_memory_is_taken_for_what_a_header_claims(path: Path, shape: tuple[int, int]) -> None:
    from_array(path, SCORES)
    file = path.with_suffix(".npy")
    with file.open("wb") as stream:
        about = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, about)
        stream.write(bytes(48))
    with pytest.raises(
        DataError, match=r"scores\.npy: (not an array of numbers|the array has shape)"
    ):
        PrecomputedScores.from_npy(file, name="DROS", n_queries=2, n_items=3)


def test_a_missing_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npy could not be read"):
        PrecomputedScores.from_npy(tmp_path / "none.npy", name="DROS", n_queries=2, n_items=3)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.parquet could not be read"):
        PrecomputedScores.from_parquet(
            tmp_path / "none.parquet", name="DROS", item_ids=ITEMS, user_ids=["u"]
        )


@pytest.mark.parametrize("table", [LONG, WIDE])
def test_a_table_is_read_in_the_order_of_catalog_and_queries(
    path: Path, table: dict[str, Any]
) -> None:
    np.testing.assert_array_equal(from_table(path, table), SCORES)
    np.testing.assert_array_equal(from_table(path, table, users=["v", "u", "v"]), SCORES[[1, 0, 1]])


@pytest.mark.parametrize("table", [LONG, WIDE])
def test_ids_may_be_any_iterables_and_no_text(path: Path, table: dict[str, Any]) -> None:
    pl.DataFrame(table).write_parquet(path)
    model = PrecomputedScores.from_parquet(
        path, name="DROS", item_ids=iter(["a", "b", "c"]), user_ids=(user for user in "uv")
    )
    np.testing.assert_array_equal(model.scores([np.array([0])] * 2), SCORES)
    with pytest.raises(DataError, match="item_ids is 'abc': expected a list of ids"):
        PrecomputedScores.from_parquet(path, name="DROS", item_ids="abc", user_ids=["u"])
    with pytest.raises(DataError, match="user_ids holds None at position 0"):
        PrecomputedScores.from_parquet(path, name="DROS", item_ids=["a"], user_ids=[None])  # type: ignore[list-item]


def test_users_that_are_numbers_are_read_as_text(path: Path) -> None:
    table = {**WIDE, "user_id": [7, 12]}
    np.testing.assert_array_equal(from_table(path, table, users=["12", "7"]), SCORES[::-1])


def test_items_that_are_numbers_are_read_as_text(path: Path) -> None:
    pl.DataFrame({"user_id": [1, 1], "item_id": [20, 3], "score": [1, 2]}).write_parquet(path)
    model = PrecomputedScores.from_parquet(path, name="DROS", item_ids=["3", "20"], user_ids=["1"])
    np.testing.assert_array_equal(model.scores([np.array([0])]), [[2.0, 1.0]])


def test_an_item_missing_from_a_list_gets_the_lowest_score_of_its_user(path: Path) -> None:
    table = {"user_id": ["u", "u", "v"], "item_id": ["a", "c", "b"], "score": [5.0, 3.0, -2.0]}
    np.testing.assert_array_equal(from_table(path, table), [[5, 3, 3], [-2, -2, -2]])


def test_single_precision_stays(path: Path) -> None:
    table = {**LONG, "score": np.array(LONG["score"], dtype=np.float32)}
    assert from_table(path, table).dtype == np.float32


@pytest.mark.parametrize("table", [LONG, WIDE])
def test_users_without_scores_are_refused(path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="no scores for 'w', 'x', 'y' and 1 more of the queries'"):
        from_table(path, table, users=["w", "x", "u", "y", "z", "w"])


@pytest.mark.parametrize("table", [LONG, WIDE])
def test_an_empty_table_is_refused(path: Path, table: dict[str, Any]) -> None:
    pl.DataFrame(table).clear().write_parquet(path)
    with pytest.raises(DataError, match="no scores for 'u' of the queries' users"):
        PrecomputedScores.from_parquet(path, name="DROS", item_ids=ITEMS, user_ids=["u"])


@pytest.mark.parametrize(
    "table",
    [{**LONG, "item_id": ["a", "b", "z", "c", "b", "a"]}, {**WIDE, "z": [1.0, 2.0]}],
)
def test_unknown_items_are_refused(path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"for 'z', which the catalog does not hold.*'a'"):
        from_table(path, table)


def test_items_without_a_column_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match="no column for 'b', 'c' of the catalog's items"):
        from_table(path, {"user_id": ["u", "v"], "a": [1.0, 2.0]})


def test_a_table_without_users_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="no column 'user_id' among the 1 columns, such as 'a'"):
        from_table(path, {"a": [1.0]})


def test_a_user_with_two_rows_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="user 'u' has more than one row"):
        from_table(path, {**WIDE, "user_id": ["u", "u"]})


def test_two_scores_for_one_user_and_item_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match="user 'v' has more than one score for item 'c'"):
        from_table(path, {**LONG, "item_id": ["a", "b", "c", "c", "c", "a"]})


@pytest.mark.parametrize(("column", "values"), [("user_id", ["u", None]), ("user_id", ["u", ""])])
def test_rows_without_a_user_are_refused(path: Path, column: str, values: list[Any]) -> None:
    with pytest.raises(DataError, match="1 rows have no user_id"):
        from_table(path, {**WIDE, column: values})


def test_rows_without_an_item_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match="1 rows have no item_id"):
        from_table(path, {**LONG, "item_id": ["a", "b", None, "c", "b", "a"]})


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("table", [LONG, WIDE])
def test_missing_scores_in_a_table_are_refused(
    path: Path, table: dict[str, Any], value: float | None
) -> None:
    column = "score" if table is LONG else "b"
    with pytest.raises(DataError, match="1 of 6 scores are missing, NaN or infinite"):
        from_table(path, {**table, column: [value, *table[column][1:]]})


def test_scores_that_are_text_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match="column 'b' holds String: expected numbers"):
        from_table(path, {**WIDE, "b": ["1", "2"]})
