import json
from pathlib import Path

import pytest

from bigrec.errors import BundleError
from bigrec.evaluation.cold_targets import ColdRow
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.evaluation import (
    Report,
    ReportExample,
    recommendations_table,
    report_from_json,
    report_json,
    write_report,
)
from bigrec.types import Recommendation
from tests.evaluation.reports.parsed_page import ParsedPage

OURS = MethodId("ours")
ROWS = [
    SummaryRow(OURS, False, "hr@10", 0.0333, 0.018, 0.0504),
    SummaryRow(MethodId("popularity"), False, "hr@10", 0.02, 0.01, 0.03),
    SummaryRow(OURS, False, "mrr", 0.01, 0.005, 0.015),
    SummaryRow(OURS, True, "hr@10", 0.04, 0.02, 0.06),
]
EXAMPLE = ReportExample(
    history=["Alien", "<b>Brazil</b>"],
    target="Dune & Co",
    texts=["Dun"],
    recommendations=[Recommendation(1, "i7", "Dune & Co", -0.25, 0.25, "Dun")],
)
REPORT = Report(
    title="A <report>",
    rows=ROWS,
    shares={"first_is_title": 0.875},
    settings={"model": "small", "ks": [1, 3]},
    examples=[EXAMPLE],
    plots={"HR & NDCG": b"png"},
    timings_s={"generate": 12.34},
    notes=["Read me < first."],
    fitted_to=[ColdRow(MethodId("ours"), 1234, 0.125)],
)


@pytest.fixture
def page(tmp_path: Path) -> str:
    write_report(tmp_path / "report.html", REPORT)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def parsed(page: str) -> ParsedPage:
    return ParsedPage.of(page)


def test_the_page_is_well_formed_and_needs_no_other_file(parsed: ParsedPage) -> None:
    assert parsed.open == []
    # base64 of "png"
    assert parsed.sources == ["data:image/png;base64,cG5n"]


def test_text_is_escaped(page: str) -> None:
    assert "A &lt;report&gt;" in page
    assert "&lt;b&gt;Brazil&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "HR &amp; NDCG" in page
    assert "Read me &lt; first." in page


def test_numbers_come_with_their_intervals(parsed: ParsedPage) -> None:
    assert "0.033 [0.018, 0.050]" in parsed.text


def test_the_best_of_a_metric_is_marked_within_its_protocol(page: str) -> None:
    assert '<td class="best">0.033 [0.018, 0.050]</td>' in page
    assert "<td>0.020 [0.010, 0.030]</td>" in page
    assert '<td class="best">0.040 [0.020, 0.060]</td>' in page


def test_each_protocol_has_its_own_table(parsed: ParsedPage) -> None:
    included = parsed.text.index("Seen items included, as in the paper")
    excluded = parsed.text.index("Seen items excluded")
    assert included < parsed.text.index("0.033 [") < excluded < parsed.text.index("0.040 [")


def test_shares_settings_and_timings_are_listed(parsed: ParsedPage) -> None:
    for text in ("87.5%", "small", "[1, 3]", "12.3 s"):
        assert text in parsed.text


FUSED = [
    Recommendation(1, "i7", "Dune", 0.0327869, 1.75, None),
    Recommendation(2, "i3", "Alien", 0.0325225, 0.5, None),
    Recommendation(3, "i9", "Heat", -0.0, 0.0, None),
]


def test_a_list_shows_the_score_that_ranks_it_and_the_distance() -> None:
    table = recommendations_table(FUSED)
    assert table.columns == ("Rank", "Item", "Title", "Score", "Distance")
    assert [[cell.text for cell in row[3:]] for row in table.rows] == [
        ["0.0327869", "1.750"],
        ["0.0325225", "0.500"],
        ["0", "0.000"],
    ]
    assert table.note.startswith("Ranked by the score: higher is better")
    assert "with fused signals" in table.note
    assert recommendations_table([]).note == ""


def test_the_page_says_what_ranks_a_list(parsed: ParsedPage) -> None:
    assert "Ranked by the score: higher is better" in parsed.text


def test_a_metric_that_a_method_lacks_stays_empty(tmp_path: Path) -> None:
    rows = [
        SummaryRow(OURS, False, "hr@1", 0.5, 0.4, 0.6),
        SummaryRow(OURS, False, "hr@3", 0.7, 0.6, 0.8),
        SummaryRow(MethodId("random"), False, "hr@1", 0.1, 0.0, 0.2),
    ]
    write_report(tmp_path / "report.html", Report(title="t", rows=rows))
    assert "<td>0.100 [0.000, 0.200]</td><td></td>" in (tmp_path / "report.html").read_text()


def test_a_report_of_nothing_is_only_its_heading(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", Report(title="Empty", rows=[]))
    assert "<h2>" not in (tmp_path / "report.html").read_text()


def test_json_holds_the_same_content() -> None:
    content = json.loads(json.dumps(report_json(REPORT)))
    assert content["format"] == 2
    assert content["rows"][0] == {
        "method": {
            "model": "ours",
            "fusion": "none",
            "signals": [],
            "training_data": "all",
            "label": "ours",
        },
        "exclude_seen": False,
        "metric": "hr@10",
        "value": 0.0333,
        "low": 0.018,
        "high": 0.0504,
    }
    assert content["examples"][0]["recommendations"][0]["title"] == "Dune & Co"
    assert content["plots"] == {"HR & NDCG": "cG5n"}
    assert content["timings_s"] == {"generate": 12.34}
    assert set(content) == {
        *("format", "title", "rows", "shares", "settings", "examples", "plots", "timings_s"),
        *("notes", "fitted_to"),
    }


def test_a_report_comes_back_from_its_json() -> None:
    assert report_from_json(json.loads(json.dumps(report_json(REPORT)))) == REPORT


def test_json_of_another_format_is_refused() -> None:
    with pytest.raises(BundleError, match="report has format 1; this bigrec reads format 2"):
        report_from_json({**report_json(REPORT), "format": 1})


@pytest.mark.parametrize("changes", [{"rows": [{"method": OURS.to_json()}]}, {"examples": [{}]}])
def test_incomplete_json_is_refused(changes: dict[str, list[object]]) -> None:
    with pytest.raises(BundleError, match=r"report is damaged at .* Run the evaluation again"):
        report_from_json({**report_json(REPORT), **changes})


def test_the_page_tells_what_methods_are_fitted_to(page: str) -> None:
    assert "<td>ours</td><td>1,234</td><td>12.5%</td>" in page.replace("\n", "")
