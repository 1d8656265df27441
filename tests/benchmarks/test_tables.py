from benchmarks.tables import markdown
from tests.evaluation.reports.test_comparison import REPORT


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
