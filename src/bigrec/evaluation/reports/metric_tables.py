"""Tables of metrics with intervals."""

from collections.abc import Iterable, Mapping, Sequence

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import PROTOCOL_LABELS, SummaryRow
from bigrec.evaluation.reports.table import METRIC_FORMAT, Cell, Table, value_with_interval

INTERVAL_NOTE = "Mean over the queries [95 % bootstrap interval over users]; the best in bold."
"""Explanation of the cells of metric tables."""

VALIDATION_NOTE = (
    "Rules and gammas were selected by the figures on validation, as the best of many. Those "
    "figures favor methods with signals slightly."
)
"""Explanation of the columns on validation."""


def metric_tables(
    rows: Sequence[SummaryRow], *, validation: Sequence[SummaryRow] = ()
) -> tuple[Table, ...]:
    """A table for each kind of metric: HR@K, NDCG@K, MRR. The best of every column is marked.

    Args:
        rows: Rows of one protocol. A metric that a method lacks is an empty cell.
        validation: Rows of the same protocol on the validation queries. Each metric is a column
            beside its column on test; metrics and methods without test rows are ignored.
    """
    families: dict[str, list[SummaryRow]] = {}
    for row in rows:
        families.setdefault(row.metric.partition("@")[0], []).append(row)
    return tuple(_metric_table(name, family, validation) for name, family in families.items())


def best_marked(rows: Iterable[SummaryRow], methods: Iterable[MethodId]) -> list[Cell]:
    """A column of one metric: a cell for each method, the best marked, empty without a row."""
    by_method = {row.method: row for row in rows}
    figures = [by_method.get(method) for method in methods]
    best = max((row.value for row in figures if row is not None), default=0.0)
    return [
        Cell("")
        if row is None
        else value_with_interval(
            row.value,
            row.low,
            row.high,
            layout=METRIC_FORMAT,
            mark="best" if row.value == best else "",
        )
        for row in figures
    ]


def _metric_table(name: str, rows: Sequence[SummaryRow], validation: Sequence[SummaryRow]) -> Table:
    methods = list(dict.fromkeys(row.method for row in rows))
    columns: dict[str, list[Cell]] = {"Method": [Cell(method.label) for method in methods]}
    for metric, on_test in _by_metric(rows).items():
        columns[metric.upper()] = best_marked(on_test, methods)
        on_validation = _by_metric(validation).get(metric)
        if on_validation:
            columns[f"{metric.upper()} on validation"] = best_marked(on_validation, methods)
    return Table(
        f"{name.upper()}, {PROTOCOL_LABELS[rows[0].exclude_seen]}",
        tuple(columns),
        tuple(zip(*columns.values(), strict=True)),
    )


def _by_metric(rows: Iterable[SummaryRow]) -> Mapping[str, list[SummaryRow]]:
    by_metric: dict[str, list[SummaryRow]] = {}
    for row in rows:
        by_metric.setdefault(row.metric, []).append(row)
    return by_metric
