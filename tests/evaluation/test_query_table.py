from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bigrec.errors import BundleError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.query_table import QueryTable
from bigrec.types import UNRANKED, GeneratedText

OURS = MethodId("ours: all")
FUSED = MethodId("ours", "tuned", ("EASE", "a & b"))
INCLUDED = MethodResult(OURS, exclude_seen=False, ranks=np.array([4, 0]))
EXCLUDED = MethodResult(OURS, exclude_seen=True, ranks=np.array([3, 0]))


@pytest.fixture
def table() -> QueryTable:
    return QueryTable.build(
        user_ids=["u1", "u2"],
        histories=[["i1", "i2"], []],
        targets=["i3", "i1"],
        target_titles=["Casablanca", "Alien"],
        texts=[[GeneratedText("Casa", -0.5), GeneratedText("Alien", -1.5)], []],
    )


def test_a_row_holds_the_query(table: QueryTable) -> None:
    assert table.frame.row(0, named=True) == {
        "user_id": "u1",
        "history": ["i1", "i2"],
        "target": "i3",
        "target_title": "Casablanca",
        "texts": ["Casa", "Alien"],
        "log_probs": [-0.5, -1.5],
    }


def test_ranks_are_kept_by_method_and_protocol(table: QueryTable) -> None:
    both = table.with_ranks(INCLUDED).with_ranks(EXCLUDED)
    assert both.frame.columns[-2:] == ["rank:ours: all:seen", "rank:ours: all:excluded"]
    np.testing.assert_array_equal(both.ranks(OURS, exclude_seen=False), [4, 0])
    np.testing.assert_array_equal(both.ranks(OURS, exclude_seen=True), [3, 0])


def test_a_target_without_a_rank_has_none_in_the_table(table: QueryTable, tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    table.with_ranks(MethodResult(OURS, True, np.array([UNRANKED, 0]))).save(path)
    loaded = QueryTable.load(path)
    assert loaded.frame["rank:ours: all:excluded"].to_list() == [None, 0]
    np.testing.assert_array_equal(loaded.ranks(OURS, exclude_seen=True), [UNRANKED, 0])


def test_adding_ranks_leaves_the_table_as_it_was(table: QueryTable) -> None:
    table.with_ranks(INCLUDED)
    assert table.results() == []


def test_a_saved_and_loaded_table_gives_the_same_results(table: QueryTable, tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    fused = MethodResult(FUSED, exclude_seen=True, ranks=np.array([1, 7]))
    table.with_ranks(INCLUDED).with_ranks(fused).with_ranks(EXCLUDED).save(path)
    loaded = QueryTable.load(path)
    assert loaded.frame.drop(pl.selectors.starts_with("rank:")).equals(table.frame)
    for result, expected in zip(loaded.results(), [INCLUDED, fused, EXCLUDED], strict=True):
        assert (result.method, result.exclude_seen) == (expected.method, expected.exclude_seen)
        np.testing.assert_array_equal(result.ranks, expected.ranks)


def test_an_empty_table_can_be_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    QueryTable.build(user_ids=[], histories=[], targets=[], target_titles=[], texts=[]).save(path)
    assert len(QueryTable.load(path).frame) == 0


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="columns have 1, 0, 1, 1, 1 rows; expected one entry"):
        QueryTable.build(
            user_ids=["u1"], histories=[], targets=["i1"], target_titles=["Alien"], texts=[[]]
        )


def test_ranks_of_other_queries_are_refused(table: QueryTable) -> None:
    with pytest.raises(ValueError, match="ours has 1 ranks for 2 queries; expected one for each"):
        table.with_ranks(MethodResult(MethodId("ours"), exclude_seen=False, ranks=np.array([0])))


def test_ranks_that_are_not_there_are_refused(table: QueryTable) -> None:
    with pytest.raises(ValueError, match="no column rank:ours:excluded; there are rank:ours: all:"):
        table.with_ranks(INCLUDED).ranks(MethodId("ours"), exclude_seen=True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"queries\.parquet is missing\. Run the evaluation"):
        QueryTable.load(tmp_path / "queries.parquet")


def test_a_damaged_file_is_named(table: QueryTable, tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    path.write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"queries\.parquet is damaged: .* Run the evaluation"):
        QueryTable.load(path)


def test_a_table_of_another_format_is_refused(table: QueryTable, tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    table.frame.write_parquet(path)
    with pytest.raises(BundleError, match=r"queries\.parquet has format None; .* reads format 3"):
        QueryTable.load(path)


def test_a_table_without_its_columns_is_refused(table: QueryTable, tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    QueryTable(table.frame.drop("texts")).save(path)
    with pytest.raises(BundleError, match=r"queries\.parquet is damaged: .*texts"):
        QueryTable.load(path)


def test_a_table_without_a_column_of_its_metadata_is_refused(
    table: QueryTable, tmp_path: Path
) -> None:
    path = tmp_path / "queries.parquet"
    QueryTable(table.frame, table.with_ranks(INCLUDED).methods).save(path)
    with pytest.raises(BundleError, match=r"is damaged: the columns rank:ours: all:seen are mis"):
        QueryTable.load(path)


@pytest.mark.parametrize(
    "metadata", ["{", '{"format": 3}', '{"format": 3, "methods": {"rank:a:seen": [{}, true]}}']
)
def test_a_table_of_damaged_metadata_is_refused(
    table: QueryTable, tmp_path: Path, metadata: str
) -> None:
    path = tmp_path / "queries.parquet"
    table.frame.write_parquet(path, metadata={"bigrec.query_table": metadata})
    with pytest.raises(BundleError, match=r"is damaged.* Run the evaluation again"):
        QueryTable.load(path)
