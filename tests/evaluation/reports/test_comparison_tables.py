from dataclasses import replace

from bigrec.evaluation.reports.comparison_tables import comparison_tables
from bigrec.evaluation.reports.table import Cell
from bigrec.evaluation.segments import SegmentRow
from tests.evaluation.reports.test_comparison import OTHER, OURS, REPORT, ROWS


def test_excluded_seen_items_come_first_and_a_protocol_without_rows_is_omitted() -> None:
    assert list(comparison_tables(REPORT)) == [True, False]
    included = [row for row in ROWS if not row.exclude_seen]
    assert list(comparison_tables(replace(REPORT, rows=included))) == [False]


def test_a_kind_without_rows_has_no_table() -> None:
    tables = comparison_tables(REPORT)[False]
    assert len(tables.metrics) == 2
    for kind in ("differences", "gains", "validation", "fusion", "segments", "beyond", "seeds"):
        assert getattr(tables, kind) == ()


def test_metrics_over_the_whole_ranking_are_apart() -> None:
    tables = comparison_tables(REPORT)[True]
    assert [table.columns for table in tables.metrics] == [
        ("Method", "HR@10"),
        ("Method", "NDCG@10"),
    ]
    assert [table.columns for table in tables.whole_ranking] == [("Method", "MRR")]


def test_segments_have_a_column_each_with_the_number_of_queries() -> None:
    ndcg = next(row for row in ROWS if row.exclude_seen and row.metric == "ndcg@10")
    rows = [
        SegmentRow("cold", 1200, ndcg),
        SegmentRow("seen", 40, replace(ndcg, value=0.25)),
        SegmentRow("seen", 40, replace(ndcg, method=OTHER, value=0.5)),
    ]
    (table,) = comparison_tables(replace(REPORT, segments={"target": rows}))[True].segments
    assert table.title == "NDCG@10 by segment: target"
    assert table.columns == ("Method", "cold (1,200)", "seen (40)")
    assert table.rows == (
        (Cell(OURS.label), Cell("0.125"), Cell("0.250")),
        (Cell("other"), Cell("-"), Cell("0.500")),
    )


def test_differences_from_a_corrected_p_of_0_05_on_are_weak() -> None:
    difference = REPORT.differences[0]
    rows = [replace(difference, method=OURS, p_corrected=p) for p in (0.0499,)]
    rows += [replace(difference, method=OTHER, p_corrected=0.05)]
    (table,) = comparison_tables(replace(REPORT, differences=rows))[True].differences
    marks = [[cell.mark for cell in row[1:]] for row in table.rows]
    assert marks == [["", ""], ["weak", "weak"]]
