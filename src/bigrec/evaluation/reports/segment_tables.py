"""Tables of metrics by segment."""

from collections.abc import Collection, Mapping, Sequence

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import SELECTION_METRIC
from bigrec.evaluation.reports.metric_tables import best_marked
from bigrec.evaluation.reports.table import METRIC_FORMAT, Cell, Table
from bigrec.evaluation.segments import TARGET_COUNTS, TARGET_GAPS, SegmentRow

_COUNT = "Number of queries in parentheses."
_NOTES = {
    TARGET_COUNTS: (
        "Interactions of the target's title in the training split: 0 for cold, 1 to 9 for few, 10 "
        "or more for warm."
    ),
    TARGET_GAPS: "The order of items that share a timestamp is the order of the data.",
}
_METRICS = (SELECTION_METRIC, "hr@10")


def target_tables(
    segments: Mapping[str, Sequence[SegmentRow]],
    methods: Collection[MethodId],
    *,
    exclude_seen: bool,
    selection: str,
) -> tuple[Table, ...]:
    """NDCG@10 and HR@10 with intervals, by `TARGET_COUNTS` and `TARGET_GAPS`.

    Args:
        segments: Rows of ``segment_rows`` by the name of the segmentation.
        methods: The shown methods.
        exclude_seen: The protocol.
        selection: Sentence about which methods are shown.

    Returns:
        A table for each of the two segmentations that has rows.
    """
    tables = []
    for name, explanation in _NOTES.items():
        rows = _of_protocol(segments.get(name, ()), exclude_seen)
        shown = [method for method in _methods(rows) if method in methods]
        columns = {"Method": [Cell(method.label) for method in shown]}
        for metric in _METRICS:
            for segment, count in _queries(rows).items():
                of_segment = [
                    row.summary
                    for row in rows
                    if row.segment == segment and row.summary.metric == metric
                ]
                head = f"{metric.upper()}, {segment} ({count:,})"
                columns[head] = best_marked(of_segment, shown)
        if shown:
            sentences = (
                explanation,
                f"{_COUNT} Intervals over users; the best in bold.",
                selection,
            )
            tables.append(
                Table(
                    f"NDCG@10 and HR@10 by segment: {name}",
                    tuple(columns),
                    tuple(zip(*columns.values(), strict=True)),
                    " ".join(filter(None, sentences)),
                )
            )
    return tuple(tables)


def segment_tables(
    segments: Mapping[str, Sequence[SegmentRow]], *, exclude_seen: bool
) -> tuple[Table, ...]:
    """NDCG@10 of every method, a table for each segmentation that ``target_tables`` does not show.

    Args:
        segments: Rows of ``segment_rows`` by the name of the segmentation.
        exclude_seen: The protocol.
    """
    tables = []
    for name, all_rows in segments.items():
        rows = [
            row
            for row in _of_protocol(all_rows, exclude_seen)
            if row.summary.metric == SELECTION_METRIC
        ]
        if rows and name not in _NOTES:
            tables.append(_segment_table(name, rows))
    return tuple(tables)


def _segment_table(name: str, rows: Sequence[SegmentRow]) -> Table:
    queries = _queries(rows)
    values = {(row.summary.method, row.segment): row.summary.value for row in rows}

    def cell(method: MethodId, segment: str) -> Cell:
        value = values.get((method, segment))
        return Cell("-" if value is None else format(value, METRIC_FORMAT))

    return Table(
        f"{SELECTION_METRIC.upper()} by segment: {name}",
        ("Method", *(f"{segment} ({count:,})" for segment, count in queries.items())),
        tuple(
            (Cell(method.label), *(cell(method, segment) for segment in queries))
            for method in _methods(rows)
        ),
        _COUNT,
    )


def _of_protocol(rows: Sequence[SegmentRow], exclude_seen: bool) -> list[SegmentRow]:
    return [row for row in rows if row.summary.exclude_seen == exclude_seen]


def _methods(rows: Sequence[SegmentRow]) -> list[MethodId]:
    return list(dict.fromkeys(row.summary.method for row in rows))


def _queries(rows: Sequence[SegmentRow]) -> dict[str, int]:
    """Number of queries by segment, in the order of the rows."""
    return {row.segment: row.queries for row in rows}
