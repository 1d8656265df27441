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


def test_a_metric_that_a_method_lacks_is_an_empty_cell() -> None:
    rows = [*ROWS, SummaryRow(MethodId("other"), False, "hr@3", 0.75, 0.5, 0.875)]
    assert metric_tables(rows)[0].rows[0] == (
        *(Cell("ours"), Cell("0.250", "[0.125, 0.375]")),
        Cell(""),
    )
