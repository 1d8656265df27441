from typing import Any

import pytest
from jinja2 import UndefinedError

from bigrec.evaluation.reports.html import environment, render, setting_text
from bigrec.evaluation.reports.table import Cell, Table
from tests.evaluation.reports.parsed_page import ParsedPage

TABLE = Table("Title", ("Method", "HR@1"), ((Cell("ours"), Cell("0.250", "[0.125, 0.375]")),))


def macro(name: str, *values: Any) -> str:
    """A macro's HTML without the whitespace at its ends."""
    templates = environment().get_template("macros.html.j2").module
    return str(getattr(templates, name)(*values)).strip()


def page(**values: Any) -> str:
    return render("page.html.j2", **{"title": "Title", "notes": [], **values})


def test_a_page_is_well_formed_and_needs_no_other_file() -> None:
    parsed = ParsedPage.of(page(notes=["One", "Two"]))
    assert parsed.open == []
    assert parsed.sources == []
    assert {"script", "link"}.isdisjoint(parsed.tags)


def test_the_class_of_a_page_is_that_of_its_body() -> None:
    assert '<body class="wide">' in page(css="wide")
    assert "<body>" in page()


def test_the_style_is_part_of_the_page() -> None:
    style = page().partition("<style>")[2].partition("</style>")[0]
    # light and dark, heads in sight, and all rows in print
    for rule in ("color-scheme: light dark", "position: sticky", "@media print", "td:first-child"):
        assert rule in style


@pytest.mark.parametrize(
    "html",
    [
        page(title="<b>"),
        page(notes=["<b>"]),
        macro("table", Table("", ("<b>",), ())),
        macro("table", Table("", (), ((Cell("<b>"),),))),
        macro("table", Table("", (), ((Cell("x", "<b>"),),))),
        macro("titled", Table("<b>", (), ())),
        macro("titled", Table("x", (), (), note="<b>")),
        macro("folded", Table("<b>", (), ())),
        macro("folded", Table("x", (), (), note="<b>")),
        macro("plot", "<b>", b""),
    ],
)
def test_text_is_escaped(html: str) -> None:
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_a_name_that_is_missing_is_refused() -> None:
    with pytest.raises(UndefinedError, match="'notes' is undefined"):
        render("page.html.j2", title="Title")


def test_a_table_has_a_head_and_a_row_for_each_row() -> None:
    parsed = ParsedPage.of(macro("table", TABLE))
    assert parsed.cells == [["Method", "HR@1"], ["ours", "0.250 [0.125, 0.375]"]]
    assert '<table class="numbers">' in macro("table", TABLE, "numbers")
    assert "<table>" in macro("table", TABLE)


def test_a_table_without_columns_has_no_head() -> None:
    assert "<thead>" not in macro("table", Table("", (), ((Cell("x"),),)))


def test_marks_are_classes_of_cells() -> None:
    cells = (Cell("1", mark="best"), Cell("2", mark="weak"), Cell("3"))
    row = '<tr><td class="best">1</td><td class="weak">2</td><td>3</td></tr>'
    assert row in macro("table", Table("", (), (cells,)))


def test_a_titled_table_follows_its_title_and_note() -> None:
    html = macro("titled", Table("Title", ("Method",), (), note="Note."))
    assert html.index("<h3>Title</h3>") < html.index("<p>Note.</p>") < html.index("<table>")
    assert "<p>" not in macro("titled", TABLE)


def test_a_folded_table_is_closed_under_its_title() -> None:
    html = macro("folded", TABLE)
    assert html.startswith("<details><summary>Title</summary>")
    assert ParsedPage.of(html).open == []


def test_a_plot_is_inside_the_page() -> None:
    # base64 of "png"
    assert 'src="data:image/png;base64,cG5n"' in macro("plot", "Caption", b"png")


def test_a_setting_is_shown_as_text_or_json() -> None:
    assert setting_text("small") == "small"
    assert setting_text({"ks": [1, None]}) == '{"ks": [1, null]}'


def test_control_characters_of_values_are_shown_as_escapes() -> None:
    hostile = "a\x1b[31m\x9b\u202e\nb"
    shown = "a\\x1b[31m\\x9b\\u202e\nb"
    text = page(title=hostile, notes=[hostile])
    assert text.count(shown) == 3
    table = Table(hostile, (hostile,), ((Cell(hostile, hostile),),), note=hostile)
    assert macro("titled", table).count(shown) == 5
    assert macro("plot", hostile, b"png").count(shown) == 2
