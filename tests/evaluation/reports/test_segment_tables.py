from dataclasses import replace
from pathlib import Path

import pytest

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.comparison import write_comparison
from bigrec.evaluation.reports.comparison_tables import comparison_tables
from bigrec.evaluation.reports.table import Cell, Table, to_markdown
from bigrec.evaluation.segments import TARGET_COUNTS, TARGET_GAPS, SegmentRow
from tests.evaluation.reports.parsed_page import ParsedPage
from tests.evaluation.reports.test_comparison import OTHER, OURS, REPORT, ROWS, SIGNAL


def segment_rows(values: dict[tuple[MethodId, str], float]) -> list[SegmentRow]:
    """NDCG@10 as given and HR@10 twice as high, of segments with 1,200 queries."""
    return [
        SegmentRow(segment, 1200, SummaryRow(method, True, metric, value, 0.0, 1.0))
        for (method, segment), base in values.items()
        for metric, value in (("hr@10", 2 * base), ("ndcg@10", base))
    ]


TARGETS = segment_rows(
    {
        (OURS, "cold"): 0.125,
        (SIGNAL, "cold"): 0.25,
        (OTHER, "cold"): 0.5,
        (OURS, "warm"): 0.375,
        (SIGNAL, "warm"): 0.25,
        (OTHER, "warm"): 0.5,
    }
)


def table_of(name: str) -> Table:
    (table,) = comparison_tables(replace(REPORT, segments={name: TARGETS}))[True].targets
    return table


def test_segments_of_the_target_have_both_metrics_with_intervals_for_the_shown_methods() -> None:
    table = table_of(TARGET_COUNTS)
    assert table.title == "NDCG@10 and HR@10 by segment: target's training interactions"
    assert table.columns == (
        "Method",
        *("NDCG@10, cold (1,200)", "NDCG@10, warm (1,200)"),
        *("HR@10, cold (1,200)", "HR@10, warm (1,200)"),
    )
    # The third method has no row among the metrics, so it is not shown.
    around = "[0.000, 1.000]"
    assert table.rows == (
        (
            Cell(OURS.label),
            *(Cell("0.125", around), Cell("0.375", around, "best")),
            *(Cell("0.250", around), Cell("0.750", around, "best")),
        ),
        (
            Cell(SIGNAL.label),
            *(Cell("0.250", around, "best"), Cell("0.250", around)),
            *(Cell("0.500", around, "best"), Cell("0.500", around)),
        ),
    )


@pytest.mark.parametrize(
    ("name", "explanation"),
    [
        (TARGET_COUNTS, "in the training split: 0 for cold, 1 to 9 for few, 10 or more for warm."),
        (TARGET_GAPS, "The order of items that share a timestamp is the order of the data."),
    ],
)
def test_segments_are_explained(name: str, explanation: str) -> None:
    assert explanation in table_of(name).note


def test_the_page_and_markdown_have_the_segments_of_the_target(tmp_path: Path) -> None:
    write_comparison(tmp_path / "page.html", replace(REPORT, segments={TARGET_COUNTS: TARGETS}))
    page = ParsedPage.of((tmp_path / "page.html").read_text(encoding="utf-8"))
    table = table_of(TARGET_COUNTS)
    assert table.title in page.headings
    assert list(table.columns) in page.cells
    assert f"| {' | '.join(table.columns)} |" in to_markdown(table)


def test_methods_that_are_not_shown_are_explained() -> None:
    signals = [MethodId(f"s{number}") for number in range(12)]
    rows = [
        SummaryRow(signal, True, "ndcg@10", number / 20, 0.0, 1.0)
        for number, signal in enumerate(signals)
    ]
    segments = {TARGET_COUNTS: [SegmentRow("cold", 3, row) for row in rows]}
    report = replace(REPORT, rows=rows, reference=signals[0], segments=segments)
    (table,) = comparison_tables(report)[True].targets
    labels = [row[0].text for row in table.rows]
    assert labels == ["s0", *(f"s{number}" for number in range(4, 12))]
    assert table.note.endswith(
        "Shown are the 8 best by NDCG@10, s0 and the recommender without signals."
    )


def test_segments_have_a_column_each_with_the_number_of_queries() -> None:
    ndcg = next(row for row in ROWS if row.exclude_seen and row.metric == "ndcg@10")
    rows = [
        SegmentRow("cold", 1200, ndcg),
        SegmentRow("seen", 40, replace(ndcg, value=0.25)),
        SegmentRow("seen", 40, replace(ndcg, method=OTHER, value=0.5)),
    ]
    (table,) = comparison_tables(replace(REPORT, segments={"target's popularity": rows}))[
        True
    ].segments
    assert table.title == "NDCG@10 by segment: target's popularity"
    assert table.columns == ("Method", "cold (1,200)", "seen (40)")
    assert table.rows == (
        (Cell(OURS.label), Cell("0.125"), Cell("0.250")),
        (Cell("other"), Cell("-"), Cell("0.500")),
    )


def test_segments_of_the_target_are_not_repeated_among_the_others() -> None:
    segments = {TARGET_COUNTS: TARGETS, TARGET_GAPS: TARGETS, "other": TARGETS}
    tables = comparison_tables(replace(REPORT, segments=segments))[True]
    assert [table.title for table in tables.segments] == ["NDCG@10 by segment: other"]
    assert len(tables.targets) == 2
