"""The tables of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import SELECTION_METRIC
from bigrec.evaluation.protocol import of_protocol
from bigrec.evaluation.reports.data import (
    AgreementRow,
    BeyondRow,
    ChosenRow,
    ComparisonReport,
    SeedRow,
    selection_note,
    shown_methods,
)
from bigrec.evaluation.reports.metric_tables import metric_tables
from bigrec.evaluation.reports.segment_tables import segment_tables, target_tables
from bigrec.evaluation.reports.table import (
    DIFFERENCE_FORMAT,
    METRIC_FORMAT,
    Cell,
    Mark,
    Table,
    value_with_interval,
)
from bigrec.evaluation.selection import WindowRow
from bigrec.evaluation.significance import ComparisonRow

_HEADLINE = ("ndcg@10", "hr@10")
_SIGNIFICANT = 0.05
_DIFFERENCES = (
    "Over the same queries [95 % bootstrap interval over users]; above 0 the method is better. p "
    "by paired randomization of users, Holm-corrected for all differences reported together; from "
    f"{_SIGNIFICANT} on, the difference may be chance."
)
_GAINS = "Gain by the language model over its signals, fused without it by the best rule"
_ORDER = "Difference to the same method with every history in random order"
_ORDER_NOTE = (
    "Above 0 the order of the history helps; at 0 a history is a set to the method. Intervals and "
    "p as above, Holm-corrected for this table."
)
_PAPER = "Paper's protocol: a gamma for each metric and K; no single recommender reaches these"
_BEYOND = (
    "Coverage: share of the catalog in the list of at least one query, higher is more varied. "
    "Novelty: mean self-information of the listed items, higher is less popular. Gini: inequality "
    "of the items' frequencies in lists, 0 for equal ones, lower is fairer."
)
_AGREEMENT = (
    "Hits per item that both methods list, and per item that only one of them lists. A ratio above "
    "1 means that agreement predicts hits. Overlap: mean share of items that both lists have in "
    "common."
)
_WINDOWS = (
    "The last window is the validation part, each earlier one an equally large part of the "
    "training data just before, its methods fitted to what is older. Deviation: standard deviation "
    "over windows. Error: standard error over users of the paired difference to the best. Fewer "
    "signals are simpler. Networks and the language model are trained once and have the last "
    "window alone."
)
_SEEDS = (
    "Training runs that differ in their seed only. The standard deviation is over runs; intervals "
    "over users do not show it."
)


@dataclass(frozen=True, slots=True)
class ComparisonTables:
    """The tables of a comparison under one protocol. A kind without rows has no table.

    Attributes:
        metrics: HR@K and NDCG@K on the test queries, beside some of them on validation.
        whole_ranking: Metrics over the whole ranking, MRR.
        differences: Differences to the reference.
        gains: Differences to the signals without the language model.
        order: Differences to the same methods with shuffled histories.
        windows: NDCG@10 on each validation window.
        targets: NDCG@10 and HR@10 by segments of the target.
        fusion: The fusion rules, and the paper's figures.
        segments: NDCG@10 of each other segmentation's segments.
        beyond: Coverage, novelty and Gini.
        agreement: Pairs of methods.
        seeds: Metrics of each training run.
    """

    metrics: tuple[Table, ...]
    whole_ranking: tuple[Table, ...]
    differences: tuple[Table, ...]
    gains: tuple[Table, ...]
    order: tuple[Table, ...]
    windows: tuple[Table, ...]
    targets: tuple[Table, ...]
    fusion: tuple[Table, ...]
    segments: tuple[Table, ...]
    beyond: tuple[Table, ...]
    agreement: tuple[Table, ...]
    seeds: tuple[Table, ...]


def comparison_tables(report: ComparisonReport) -> dict[bool, ComparisonTables]:
    """The tables by ``exclude_seen``, for the protocols with rows; excluded seen items first."""
    there = {row.exclude_seen for row in report.rows}
    return {
        exclude_seen: _tables(report, exclude_seen)
        for exclude_seen in (True, False)
        if exclude_seen in there
    }


def _tables(report: ComparisonReport, exclude_seen: bool) -> ComparisonTables:
    of = partial(of_protocol, exclude_seen=exclude_seen)
    rows = of(report.rows)
    figures: dict[MethodId, dict[str, float]] = {}
    for row in rows:
        figures.setdefault(row.method, {})[row.metric] = row.value
    against = f"Difference to {report.reference.label}"
    return ComparisonTables(
        metrics=metric_tables(
            [row for row in rows if "@" in row.metric], validation=of(report.validation)
        ),
        whole_ranking=metric_tables([row for row in rows if "@" not in row.metric]),
        differences=difference_tables(against, of(report.differences)),
        gains=difference_tables(_GAINS, of(report.gains)),
        order=difference_tables(_ORDER, of(report.order), note=_ORDER_NOTE),
        windows=_windows(of(report.windows)),
        targets=target_tables(
            report.segments,
            shown_methods(report, exclude_seen=exclude_seen),
            exclude_seen=exclude_seen,
            selection=selection_note(report, exclude_seen=exclude_seen),
        ),
        fusion=_fusion(of(report.chosen), figures),
        segments=segment_tables(report.segments, exclude_seen=exclude_seen),
        beyond=_beyond(of(report.beyond)),
        agreement=_agreement(of(report.agreement)),
        seeds=_seeds(of(report.seeds)),
    )


def difference_tables(
    title: str, rows: Sequence[ComparisonRow], *, note: str = _DIFFERENCES
) -> tuple[Table, ...]:
    """Differences with their intervals and corrected p-values; no table without rows."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    by_key = {(row.method, row.metric): row for row in rows}
    lines = [
        [
            Cell(method.label),
            *(cell for metric in metrics for cell in _difference(by_key.get((method, metric)))),
        ]
        for method in dict.fromkeys(row.method for row in rows)
    ]
    heads = [head for metric in metrics for head in (metric.upper(), f"p of {metric.upper()}")]
    return _table(title, ["Method", *heads], lines, note=note)


def _difference(row: ComparisonRow | None) -> tuple[Cell, Cell]:
    if row is None:
        return Cell(""), Cell("")
    mark: Mark = "weak" if row.p_corrected >= _SIGNIFICANT else ""
    return (
        value_with_interval(row.difference, row.low, row.high, layout=DIFFERENCE_FORMAT, mark=mark),
        Cell(f"{row.p_corrected:.4f}", mark=mark),
    )


def _fusion(
    rows: Sequence[ChosenRow], figures: Mapping[MethodId, Mapping[str, float]]
) -> tuple[Table, ...]:
    lines = [
        (
            Cell(row.method.label),
            Cell(row.rule),
            Cell(_headline(figures.get(row.method, {}))),
            Cell(_headline(row.paper or {})),
        )
        for row in rows
    ]
    heads = ["Method", "Rule selected on validation", "This rule on test", _PAPER]
    return _table("Fusion of signals", heads, lines)


def _headline(figures: Mapping[str, float]) -> str:
    texts = [
        f"{metric.upper()} {figures[metric]:{METRIC_FORMAT}}"
        for metric in _HEADLINE
        if metric in figures
    ]
    return ", ".join(texts)


def _beyond(rows: Sequence[BeyondRow]) -> tuple[Table, ...]:
    lines = [
        (
            Cell(row.method.label),
            Cell(f"{row.coverage:.1%}"),
            Cell("" if row.novelty is None else f"{row.novelty:.2f}"),
            Cell("" if row.gini is None else f"{row.gini:.3f}"),
        )
        for row in rows
    ]
    heads = ["Method", "Coverage", "Novelty in bits", "Gini"]
    return _table("Beyond accuracy, first 10 items", heads, lines, note=_BEYOND)


def _agreement(rows: Sequence[AgreementRow]) -> tuple[Table, ...]:
    lines = [
        (
            Cell(row.method.label),
            Cell(row.other.label),
            Cell(f"{row.overlap:.1%}"),
            Cell(_optional(row.rate_both, ".4f")),
            Cell(_optional(row.rate_one, ".4f")),
            Cell(_optional(row.ratio, ".1f")),
        )
        for row in rows
    ]
    heads = ["Method", "Other method", "Overlap", "Rate, both", "Rate, one", "Ratio"]
    return _table("Agreement, first 20 items", heads, lines, note=_AGREEMENT)


def _windows(rows: Sequence[WindowRow]) -> tuple[Table, ...]:
    lines = [
        [
            Cell(row.method.label),
            *(Cell(f"{figure:.4f}") for figure in row.figures),
            Cell(f"{row.mean:.4f} ± {row.deviation:.4f}", mark="best" if row.behind == 0 else ""),
            Cell(f"{row.behind:.4f} ± {row.error:.4f}"),
            Cell("simplest within one standard error" if row.selected else ""),
        ]
        for row in rows
    ]
    numbers = [f"Window {number + 1}" for number in range(len(rows[0].figures))] if rows else []
    heads = ["Method", *numbers, "Mean ± deviation", "Behind the best ± error", "Choice"]
    title = f"{SELECTION_METRIC.upper()} on validation windows, oldest first"
    return _table(title, heads, lines, note=_WINDOWS)


def _seeds(rows: Sequence[SeedRow]) -> tuple[Table, ...]:
    seeds = sorted({seed for row in rows for seed in row.values})
    lines = [
        [
            Cell(row.method.label),
            Cell(row.metric.upper()),
            Cell(f"{row.mean:.4f} ± {row.deviation:.4f}"),
            *(Cell(_optional(row.values.get(seed), ".4f")) for seed in seeds),
        ]
        for row in rows
    ]
    heads = ["Method", "Metric", "Mean ± deviation", *(f"Seed {seed}" for seed in seeds)]
    return _table("Seeds", heads, lines, note=_SEEDS)


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, note: str = ""
) -> tuple[Table, ...]:
    """One table; none without rows."""
    return (Table(title, tuple(columns), tuple(map(tuple, rows)), note),) if rows else ()


def _optional(value: float | None, layout: str) -> str:
    return "-" if value is None else format(value, layout)
