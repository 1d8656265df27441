"""A comparison on one page: methods beside the reference, and what the model adds to signals."""

from collections.abc import Iterable, Mapping

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import SELECTION_METRIC
from bigrec.evaluation.protocol import of_protocol
from bigrec.evaluation.reports.data import ComparisonReport
from bigrec.evaluation.reports.table import (
    DIFFERENCE_FORMAT,
    METRIC_FORMAT,
    Cell,
    Table,
    value_with_interval,
)
from bigrec.evaluation.segments import TARGET_COUNTS
from bigrec.evaluation.significance import ComparisonRow

_HIT_RATE = "hr@10"
_NONE = Cell("")


def summary_tables(report: ComparisonReport, *, exclude_seen: bool) -> list[Table]:
    """The methods by themselves, those of few shots or none, and the fusions, the best first.

    Args:
        report: The comparison.
        exclude_seen: The protocol.
    """
    figures = _Figures(report, exclude_seen=exclude_seen)
    alone = [method for method in figures.ranked if method.fusion == "none"]
    fused = [method for method in figures.ranked if method.fusion == "tuned" and method.model]
    tables = [
        figures.methods("all training data", [m for m in alone if m.training_data == "all"]),
        figures.methods("few-shot, or untrained", [m for m in alone if m.training_data != "all"]),
        figures.fusions(fused),
    ]
    return [table for table in tables if table.rows]


class _Figures:
    """Figures of one protocol by method."""

    def __init__(self, report: ComparisonReport, *, exclude_seen: bool) -> None:
        rows = of_protocol(report.rows, exclude_seen=exclude_seen)
        ranking = [row for row in rows if row.metric == SELECTION_METRIC]
        ranking.sort(key=lambda row: -row.value)
        self.ranked = [row.method for row in ranking]
        self._reference = report.reference
        self._test = {
            row.method: value_with_interval(row.value, row.low, row.high, layout=METRIC_FORMAT)
            for row in ranking
        }
        self._hits = {row.method: row.value for row in rows if row.metric == _HIT_RATE}
        self._valid = {
            row.method: row.value
            for row in of_protocol(report.validation, exclude_seen=exclude_seen)
            if row.metric == SELECTION_METRIC
        }
        self._differences = _by_method(report.differences, exclude_seen=exclude_seen)
        self._gains = _by_method(report.gains, exclude_seen=exclude_seen)
        self._segments: dict[MethodId, dict[str, float]] = {}
        for row in report.segments.get(TARGET_COUNTS, ()):
            of_row = row.summary
            if of_row.exclude_seen == exclude_seen and of_row.metric == SELECTION_METRIC:
                self._segments.setdefault(of_row.method, {})[row.segment] = of_row.value

    def methods(self, title: str, methods: Iterable[MethodId]) -> Table:
        """Each method, and what it is above the reference."""
        columns = ("NDCG@10", "validation", "HR@10", f"to {self._reference.label}", "p", "segments")
        rows = [
            (
                Cell(method.label),
                self._test[method],
                _number(self._valid, method),
                _number(self._hits, method),
                *_difference(self._differences.get(method)),
                self._of_segments(method),
            )
            for method in methods
        ]
        return Table("", (title, *columns), tuple(rows))

    def fusions(self, methods: Iterable[MethodId]) -> Table:
        """Each fusion by the best rule, its signals without the model, and the gain over them."""
        columns = ("signals", "without the model", "with it", "validation", "gain", "p", "segments")
        rows = []
        for method in methods:
            gain = self._gains.get(method)
            rows.append(
                (
                    Cell(" & ".join(method.signals)),
                    self._test[gain.reference] if gain is not None else _NONE,
                    self._test[method],
                    _number(self._valid, method),
                    *_difference(gain),
                    self._of_segments(method),
                )
            )
        return Table("", columns, tuple(rows))

    def _of_segments(self, method: MethodId) -> Cell:
        values = self._segments.get(method, {})
        return Cell(", ".join(f"{name} {value:{METRIC_FORMAT}}" for name, value in values.items()))


def _by_method(
    rows: Iterable[ComparisonRow], *, exclude_seen: bool
) -> dict[MethodId, ComparisonRow]:
    return {
        row.method: row
        for row in rows
        if row.exclude_seen == exclude_seen and row.metric == SELECTION_METRIC
    }


def _number(values: Mapping[MethodId, float], method: MethodId) -> Cell:
    return Cell(f"{values[method]:{METRIC_FORMAT}}") if method in values else _NONE


def _difference(row: ComparisonRow | None) -> tuple[Cell, Cell]:
    if row is None:
        return _NONE, _NONE
    difference = value_with_interval(row.difference, row.low, row.high, layout=DIFFERENCE_FORMAT)
    return difference, Cell(f"{row.p_corrected:.3f}")
