"""A comparison of methods as JSON-like values and as one self-contained HTML page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigrec.evaluation.metrics import SELECTION_METRIC
from bigrec.evaluation.protocol import PROTOCOL_LABELS, of_protocol
from bigrec.evaluation.reports.comparison_tables import ComparisonTables, comparison_tables
from bigrec.evaluation.reports.data import ComparisonReport, selection_note, shown_methods
from bigrec.evaluation.reports.evaluation import settings_table, shares_table
from bigrec.evaluation.reports.fitted_to import fitted_to_table
from bigrec.evaluation.reports.html import render
from bigrec.evaluation.reports.metric_tables import INTERVAL_NOTE, VALIDATION_NOTE
from bigrec.evaluation.reports.plots import (
    FEW_QUERIES,
    draw_gamma_paths,
    draw_metric_by_k,
    draw_seeds,
    draw_segments,
    to_png,
)
from bigrec.evaluation.stored import from_json, to_json
from bigrec.storage import write_text

_FORMAT = 4
_PATHS = (
    "NDCG@10 over gamma of the paper's product, with the gamma selected on validation. Every panel "
    "has its own scale; gamma is logarithmic above 1."
)
_SCALE = (
    f"The scale fits segments of at least {FEW_QUERIES} queries; smaller ones may reach beyond it."
)

_Plot = tuple[str, bytes]
"""A caption and a PNG."""


@dataclass(frozen=True, slots=True)
class _Section:
    """The part of the page about one protocol."""

    heading: str
    tables: ComparisonTables
    plots: list[_Plot]
    seed_plots: list[_Plot]


def comparison_json(report: ComparisonReport) -> dict[str, Any]:
    """The report as JSON-like values; the plots are drawn from these."""
    return to_json(report, version=_FORMAT)


def comparison_from_json(content: Mapping[str, Any]) -> ComparisonReport:
    """The report that ``comparison_json`` wrote.

    Raises:
        BundleError: If the content is of another format, incomplete or of wrong types.
    """
    return from_json(
        ComparisonReport,
        content,
        version=_FORMAT,
        what="The comparison",
        cure="Run the comparison again.",
    )


def write_comparison(path: Path, report: ComparisonReport) -> None:
    """Write one HTML file that needs no other.

    Raises:
        StorageError: If the file cannot be written.
    """
    sections = [
        _Section(
            PROTOCOL_LABELS[exclude_seen].capitalize(),
            tables,
            _plots(report, exclude_seen),
            _seed_plots(report, exclude_seen),
        )
        for exclude_seen, tables in comparison_tables(report).items()
    ]
    page = render(
        "comparison.html.j2",
        title=report.title,
        notes=report.notes,
        sections=sections,
        interval_note=INTERVAL_NOTE,
        validation_note=VALIDATION_NOTE if report.validation else "",
        fitted_to=fitted_to_table(report.fitted_to),
        shares=shares_table(report.shares),
        settings=settings_table(report.settings),
    )
    write_text(path, page)


def _plots(report: ComparisonReport, exclude_seen: bool) -> list[_Plot]:
    shown = shown_methods(report, exclude_seen=exclude_seen)
    all_rows = of_protocol(report.rows, exclude_seen=exclude_seen)
    rows = [row for row in all_rows if row.method in shown]
    selection = selection_note(report, exclude_seen=exclude_seen)
    plots = []
    for metric in ("hr", "ndcg"):
        if any(row.metric.startswith(f"{metric}@") for row in rows):
            figure = draw_metric_by_k(rows, metric=metric, exclude_seen=exclude_seen)
            caption = f"{metric.upper()} by the length K of the list. {selection}".rstrip()
            plots.append((caption, to_png(figure)))
    paths = of_protocol(report.paths, exclude_seen=exclude_seen)
    if paths:
        plots.append((_PATHS, to_png(draw_gamma_paths(paths))))
    for name, segment_rows in report.segments.items():
        of_shown = [
            row
            for row in segment_rows
            if row.summary.exclude_seen == exclude_seen
            and row.summary.metric == SELECTION_METRIC
            and row.summary.method in shown
        ]
        if of_shown:
            figure = draw_segments(of_shown, metric=SELECTION_METRIC, exclude_seen=exclude_seen)
            caption = f"{SELECTION_METRIC.upper()} by segment: {name}. {_SCALE} {selection}"
            plots.append((caption.rstrip(), to_png(figure)))
    return plots


def _seed_plots(report: ComparisonReport, exclude_seen: bool) -> list[_Plot]:
    rows = of_protocol(report.seeds, exclude_seen=exclude_seen)
    return [
        (
            f"{metric.upper()} of every seed, with mean and standard deviation.",
            to_png(draw_seeds(rows, metric=metric, exclude_seen=exclude_seen)),
        )
        for metric in dict.fromkeys(row.metric for row in rows)
    ]
