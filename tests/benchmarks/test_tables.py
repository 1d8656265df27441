from dataclasses import replace

from benchmarks.summary import summary_tables
from benchmarks.tables import markdown
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.segments import TARGET_COUNTS, SegmentRow
from bigrec.evaluation.significance import ComparisonRow
from tests.evaluation.reports.test_comparison import OURS, REPORT


def test_a_comparison_is_written_as_markdown_by_protocol() -> None:
    lines = markdown(REPORT).splitlines()
    assert lines[0] == "Read me < first."
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## Seen items excluded", "## Seen items included, as in the paper"]
    for line in (
        "| Method | HR@10 |",
        "| BIGRec x A & &lt;b> | **0.375** [0.250, 0.500] |",
        "| Method | NDCG@10 | NDCG@10 on validation |",
        "| BIGRec, all beams | 0.125 [0.000, 0.250] | **0.750** [0.625, 0.875] |",
        "| BIGRec x A & &lt;b> | +0.1250 [+0.0625, +0.2500] | 0.0300 |",
    ):
        assert line in lines


def test_a_summary_has_each_method_once_and_gains_beside_their_signals() -> None:
    signal = MethodId("EASE")
    fused = MethodId(OURS.model, "tuned", ("EASE",))
    gain = ComparisonRow(fused, signal, True, "ndcg@10", 0.125, 0.0625, 0.25, 0.01, 0.03)
    cold = SummaryRow(OURS, True, "ndcg@10", 0.5, 0.25, 0.75)
    report = replace(
        REPORT,
        rows=[
            *REPORT.rows,
            SummaryRow(signal, True, "ndcg@10", 0.0625, 0.0, 0.125),
            SummaryRow(fused, True, "ndcg@10", 0.1875, 0.125, 0.25),
        ],
        gains=[gain],
        segments={TARGET_COUNTS: [SegmentRow("cold", 40, cold)]},
    )
    alone, fusions = summary_tables(report, exclude_seen=True)
    assert alone.columns[:3] == ("all training data", "NDCG@10", "validation")
    assert [[cell.text for cell in row] for row in alone.rows] == [
        [OURS.label, "0.125", "0.750", "0.250", "-0.0625", "0.400", "cold 0.500"],
        ["EASE", "0.062", "", "", "", "", ""],
    ]
    assert [[cell.text for cell in row] for row in fusions.rows] == [
        ["EASE", "0.062", "0.188", "", "+0.1250", "0.030", ""]
    ]
