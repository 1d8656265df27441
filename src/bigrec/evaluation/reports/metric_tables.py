"""Tables of metrics with intervals."""

from collections.abc import Sequence

from bigrec.evaluation.protocol import PROTOCOL_LABELS, SummaryRow
from bigrec.evaluation.reports.table import METRIC_FORMAT, Cell, Mark, Table, value_with_interval

INTERVAL_NOTE = "Mean over the queries [95 % bootstrap interval]; the best in bold."
"""Explanation of the cells of metric tables."""


def metric_tables(rows: Sequence[SummaryRow]) -> tuple[Table, ...]:
    """A table for each kind of metric: HR@K, NDCG@K, MRR. The best of every column is marked.

    Args:
        rows: Rows of one protocol. A metric that a method lacks is an empty cell.
    """
    families: dict[str, list[SummaryRow]] = {}
    for row in rows:
        families.setdefault(row.metric.partition("@")[0], []).append(row)
    return tuple(_metric_table(name, family) for name, family in families.items())


def _metric_table(name: str, rows: Sequence[SummaryRow]) -> Table:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    best = {name: max(row.value for row in rows if row.metric == name) for name in metrics}
    by_key = {(row.method, row.metric): row for row in rows}

    def cell(row: SummaryRow | None) -> Cell:
        if row is None:
            return Cell("")
        mark: Mark = "best" if row.value == best[row.metric] else ""
        return value_with_interval(row.value, row.low, row.high, layout=METRIC_FORMAT, mark=mark)

    return Table(
        f"{name.upper()}, {PROTOCOL_LABELS[rows[0].exclude_seen]}",
        ("Method", *map(str.upper, metrics)),
        tuple(
            (Cell(method.label), *(cell(by_key.get((method, metric))) for metric in metrics))
            for method in dict.fromkeys(row.method for row in rows)
        ),
    )
