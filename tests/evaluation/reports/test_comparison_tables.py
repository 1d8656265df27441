from dataclasses import replace

from bigrec.evaluation.reports.comparison_tables import comparison_tables
from bigrec.evaluation.reports.table import to_markdown
from tests.evaluation.reports.test_comparison import OTHER, OURS, REPORT, ROWS, SIGNAL


def test_excluded_seen_items_come_first_and_a_protocol_without_rows_is_omitted() -> None:
    assert list(comparison_tables(REPORT)) == [True, False]
    included = [row for row in ROWS if not row.exclude_seen]
    assert list(comparison_tables(replace(REPORT, rows=included))) == [False]


def test_a_kind_without_rows_has_no_table() -> None:
    tables = comparison_tables(REPORT)[False]
    assert len(tables.metrics) == 2
    for kind in ("differences", "gains", "targets", "fusion", "segments", "beyond", "seeds"):
        assert getattr(tables, kind) == ()


def test_metrics_over_the_whole_ranking_are_apart() -> None:
    tables = comparison_tables(REPORT)[True]
    assert [table.columns for table in tables.metrics] == [
        ("Method", "HR@10"),
        ("Method", "NDCG@10", "NDCG@10 on validation"),
    ]
    assert [table.columns for table in tables.whole_ranking] == [("Method", "MRR")]


def test_differences_from_a_corrected_p_of_0_05_on_are_weak() -> None:
    difference = REPORT.differences[0]
    rows = [replace(difference, method=OURS, p_corrected=p) for p in (0.0499,)]
    rows += [replace(difference, method=OTHER, p_corrected=0.05)]
    (table,) = comparison_tables(replace(REPORT, differences=rows))[True].differences
    marks = [[cell.mark for cell in row[1:]] for row in table.rows]
    assert marks == [["", ""], ["weak", "weak"]]


def test_markdown_has_the_p_value_beside_every_difference() -> None:
    (table,) = comparison_tables(REPORT)[True].differences
    lines = to_markdown(table).splitlines()
    assert lines[0] == f"### Difference to {SIGNAL.label}".replace("<", "&lt;")
    assert lines[2] == "| Method | HR@10 | p of HR@10 | NDCG@10 | p of NDCG@10 |"
    assert lines[4] == (
        f"| {OURS.label} | -0.2500 [-0.5000, -0.1250] | 0.0200 | -0.0625 [-0.1250, +0.0312] "
        "| 0.4000 |"
    )
    assert "p by paired randomization of users, Holm-corrected" in table.note


def test_lists_without_an_item_have_empty_cells() -> None:
    row = replace(REPORT.beyond[0], coverage=0.0, novelty=None, gini=None)
    (table,) = comparison_tables(replace(REPORT, beyond=[row]))[True].beyond
    assert [cell.text for cell in table.rows[0][1:]] == ["0.0%", "", ""]
