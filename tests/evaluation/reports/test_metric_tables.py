from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.metric_tables import metric_tables
from bigrec.evaluation.reports.table import Cell

ROWS = [
    SummaryRow(MethodId("ours"), False, "hr@1", 0.25, 0.125, 0.375),
    SummaryRow(MethodId("ours"), False, "mrr", 0.5, 0.25, 0.75),
    SummaryRow(MethodId("other"), False, "hr@1", 0.5, 0.375, 0.625),
]


def test_each_kind_of_metric_has_a_table_with_the_best_of_every_column_marked() -> None:
    first, second = metric_tables(ROWS)
    assert first.title == "HR, seen items included, as in the paper"
    assert first.columns == ("Method", "HR@1")
    assert first.rows == (
        (Cell("ours"), Cell("0.250", "[0.125, 0.375]")),
        (Cell("other"), Cell("0.500", "[0.375, 0.625]", "best")),
    )
    assert second.columns == ("Method", "MRR")
    assert second.rows == ((Cell("ours"), Cell("0.500", "[0.250, 0.750]", "best")),)


def test_a_metric_on_validation_stands_beside_the_metric_on_test() -> None:
    rows = [*ROWS, SummaryRow(MethodId("ours"), False, "hr@3", 0.75, 0.5, 0.875)]
    validation = [
        SummaryRow(MethodId("ours"), False, "hr@1", 0.75, 0.5, 0.875),
        SummaryRow(MethodId("ours"), False, "ndcg@1", 0.5, 0.5, 0.5),
        SummaryRow(MethodId("third"), False, "hr@1", 0.875, 0.5, 0.875),
    ]
    table, mrr = metric_tables(rows, validation=validation)
    assert table.columns == ("Method", "HR@1", "HR@1 on validation", "HR@3")
    # The best of the methods that have test figures.
    assert [row[2] for row in table.rows] == [Cell("0.750", "[0.500, 0.875]", "best"), Cell("")]
    assert mrr.columns == ("Method", "MRR")


def test_a_metric_that_a_method_lacks_is_an_empty_cell() -> None:
    rows = [*ROWS, SummaryRow(MethodId("other"), False, "hr@3", 0.75, 0.5, 0.875)]
    assert metric_tables(rows)[0].rows[0] == (
        *(Cell("ours"), Cell("0.250", "[0.125, 0.375]")),
        Cell(""),
    )
