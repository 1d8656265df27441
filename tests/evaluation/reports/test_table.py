from bigrec.evaluation.reports.table import (
    DIFFERENCE_FORMAT,
    METRIC_FORMAT,
    Cell,
    Table,
    pairs_table,
    to_markdown,
    value_with_interval,
)

TABLE = Table(
    "A | title",
    ("Method", "HR@1"),
    (
        (Cell("A | B"), Cell("0.500", "[0.400, 0.600]", "best")),
        (Cell("<i>C\nD"), Cell("0.250", "[0.200, 0.300]", "weak")),
        (Cell("E"), Cell("")),
    ),
    note="A note.",
)


def test_a_value_comes_with_its_interval() -> None:
    cell = value_with_interval(0.1104, 0.1041, 0.117, layout=METRIC_FORMAT)
    assert cell == Cell("0.110", "[0.104, 0.117]")
    cell = value_with_interval(-0.0115, -0.0156, 0.0, layout=DIFFERENCE_FORMAT, mark="weak")
    assert cell == Cell("-0.0115", "[-0.0156, +0.0000]", "weak")


def test_markdown_has_title_head_rows_and_note() -> None:
    assert to_markdown(TABLE).splitlines() == [
        "### A \\| title",
        "",
        "| Method | HR@1 |",
        "| --- | --- |",
        "| A \\| B | **0.500** [0.400, 0.600] |",
        "| &lt;i>C D | 0.250 [0.200, 0.300] |",
        "| E |  |",
        "",
        "A note.",
        "",
    ]


def test_markdown_of_a_table_without_columns_has_an_empty_head() -> None:
    lines = to_markdown(pairs_table("", {"share": "87.5%"})).splitlines()
    assert lines == ["|  |  |", "| --- | --- |", "| share | 87.5% |", ""]


def test_kept_columns_stay_in_their_order() -> None:
    kept = TABLE.keep(["HR@1", "Method", "NDCG@1"])
    assert kept == TABLE
    kept = TABLE.keep(["HR@1"])
    assert kept.columns == ("HR@1",)
    assert kept.rows[2] == (Cell(""),)
    assert (kept.title, kept.note) == (TABLE.title, TABLE.note)


def test_text_from_data_is_no_markup_in_markdown() -> None:
    text = "\x1b[31m\n![x](http://x.example) `a` *b* _c_ ~d~ <i>"
    lines = to_markdown(Table("", (text,), ((Cell(text),),))).splitlines()
    shown = r"\x1b\[31m !\[x\](http://x.example) \`a\` \*b\* \_c\_ \~d\~ &lt;i>"
    shown = shown.replace(r"\x1b", r"\\x1b")
    assert lines[0] == lines[2] == f"| {shown} |"
