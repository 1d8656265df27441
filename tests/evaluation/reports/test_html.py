import pytest

from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.html import (
    cell,
    details,
    metric_tables,
    page,
    pairs,
    paragraphs,
    plot,
    setting_text,
    table,
)
from tests.evaluation.reports.parsed_page import ParsedPage


def test_a_page_is_well_formed_and_needs_no_other_file() -> None:
    parsed = ParsedPage.of(page("Title", paragraphs(["One", "Two"])))
    assert parsed.open == []
    assert parsed.sources == []
    assert {"script", "link"}.isdisjoint(parsed.tags)


def test_the_class_of_a_page_is_that_of_its_body() -> None:
    assert '<body class="wide">' in page("Title", [], css="wide")
    assert "<body>" in page("Title", [])


@pytest.mark.parametrize(
    "html",
    [
        page("<b>", []),
        *paragraphs(["<b>"]),
        cell("<b>"),
        table(["<b>"], []),
        pairs([("<b>", "x")]),
        pairs([("x", "<b>")]),
        plot("<b>", b""),
        details("<b>", ""),
    ],
)
def test_text_is_escaped(html: str) -> None:
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_a_table_without_heads_has_no_head() -> None:
    assert "<thead>" not in table([], [[cell("x")]])


def test_a_plot_is_inside_the_page() -> None:
    # base64 of "png"
    assert 'src="data:image/png;base64,cG5n"' in plot("Caption", b"png")


def test_details_are_closed_unless_asked_for() -> None:
    assert details("More", "<p>x</p>") == "<details><summary>More</summary><p>x</p></details>"
    assert details("More", "", opened=True).startswith("<details open>")


def test_a_setting_is_shown_as_text_or_json() -> None:
    assert setting_text("small") == "small"
    assert setting_text({"ks": [1, None]}) == '{"ks": [1, null]}'


def test_each_kind_of_metric_has_a_table_with_the_best_of_every_column_in_bold() -> None:
    rows = [
        SummaryRow("ours", False, "hr@1", 0.25, 0.125, 0.375),
        SummaryRow("ours", False, "mrr", 0.5, 0.25, 0.75),
        SummaryRow("other", False, "hr@1", 0.5, 0.375, 0.625),
    ]
    first, second = metric_tables(rows)
    assert "<td>ours</td><td>0.250 [0.125, 0.375]</td>" in first
    assert '<td>other</td><td class="best">0.500 [0.375, 0.625]</td>' in first
    assert "<th>MRR</th>" in second
    assert "other" not in second
