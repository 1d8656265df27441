"""An evaluation as JSON-like values, as tables and as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Base64Bytes

from bigrec.evaluation.cold_targets import ColdRow
from bigrec.evaluation.protocol import PROTOCOL_LABELS, SummaryRow, of_protocol
from bigrec.evaluation.reports.fitted_to import fitted_to_table
from bigrec.evaluation.reports.html import render, setting_text
from bigrec.evaluation.reports.metric_tables import INTERVAL_NOTE, metric_tables
from bigrec.evaluation.reports.table import Cell, Table, pairs_table
from bigrec.evaluation.stored import from_json, to_json
from bigrec.storage import write_text
from bigrec.types import Recommendation

_FORMAT = 2
_LIST_NOTE = (
    "Ranked by the score: higher is better, comparable within one list only. Distance: of the "
    "title to the query vector or to the text that it was grounded from; with fused signals or "
    "several beams it does not follow the ranks."
)


@dataclass(frozen=True, slots=True)
class ReportExample:
    """One query in full.

    Attributes:
        history: Titles, oldest first.
        target: Title of the next item.
        texts: Generated texts, most probable first; none in retrieval mode.
        recommendations: The recommended list, best first.
    """

    history: Sequence[str]
    target: str
    texts: Sequence[str]
    recommendations: Sequence[Recommendation]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is reported about an evaluation.

    Attributes:
        title: Heading of the page.
        rows: Metrics from ``summarize``.
        shares: Statistics of the generated texts, from ``generation_stats``.
        settings: Settings of the run, as JSON-like values.
        examples: Some queries in full.
        plots: PNG bytes by caption.
        timings_s: Seconds by stage.
        notes: Sentences that a reader needs to judge the numbers.
        fitted_to: What each method was fitted to.
    """

    title: str
    rows: Sequence[SummaryRow]
    shares: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[ReportExample] = ()
    plots: Mapping[str, Base64Bytes] = field(default_factory=dict)
    timings_s: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    fitted_to: Sequence[ColdRow] = ()


@dataclass(frozen=True, slots=True)
class EvaluationTables:
    """The tables of an evaluation.

    Attributes:
        metrics: Tables of ``metric_tables`` by ``exclude_seen``, for the protocols of the report.
        fitted_to: What each method was fitted to.
        shares: Statistics of the generated texts.
        recommendations: The recommended list of each example.
        settings: Settings of the run.
        timings: Seconds by stage.
    """

    metrics: Mapping[bool, tuple[Table, ...]]
    fitted_to: Table
    shares: Table
    recommendations: tuple[Table, ...]
    settings: Table
    timings: Table


def report_json(report: Report) -> dict[str, Any]:
    """The report as JSON-like values; plots as base64 PNG."""
    return to_json(report, version=_FORMAT)


def report_from_json(content: Mapping[str, Any]) -> Report:
    """The report that ``report_json`` wrote.

    Raises:
        BundleError: If the content is of another format, incomplete or of wrong types.
    """
    return from_json(
        Report, content, version=_FORMAT, what="The report", cure="Run the evaluation again."
    )


def evaluation_tables(report: Report) -> EvaluationTables:
    """The tables that the page and the terminal show."""
    by_protocol = {
        exclude_seen: metric_tables(of_protocol(report.rows, exclude_seen=exclude_seen))
        for exclude_seen in PROTOCOL_LABELS
    }
    return EvaluationTables(
        metrics={exclude_seen: tables for exclude_seen, tables in by_protocol.items() if tables},
        fitted_to=fitted_to_table(report.fitted_to),
        shares=shares_table(report.shares),
        recommendations=tuple(
            recommendations_table(example.recommendations) for example in report.examples
        ),
        settings=settings_table(report.settings),
        timings=pairs_table(
            "Timings", {name: f"{seconds:.1f} s" for name, seconds in report.timings_s.items()}
        ),
    )


def recommendations_table(recommendations: Sequence[Recommendation]) -> Table:
    """A recommended list, with the generated texts where there are any."""
    generated = any(line.generated_text is not None for line in recommendations)
    rows = []
    for line in recommendations:
        # Fused scores differ in late digits; adding 0 turns -0 into 0.
        distance = "" if line.distance is None else f"{line.distance:.3f}"
        figures = (f"{line.score + 0:.6g}", distance)
        texts = [str(line.rank), line.item_id, line.title, *figures]
        texts += [line.generated_text or ""] if generated else []
        rows.append(tuple(map(Cell, texts)))
    heads = ("Rank", "Item", "Title", "Score", "Distance")
    columns = (*heads, *(["Grounded from"] if generated else []))
    return Table("Recommended", columns, tuple(rows), _LIST_NOTE if rows else "")


def shares_table(shares: Mapping[str, float]) -> Table:
    """Statistics of generated texts as percentages."""
    return pairs_table("Generated texts", {name: f"{value:.1%}" for name, value in shares.items()})


def settings_table(settings: Mapping[str, Any]) -> Table:
    """Settings, one for each row."""
    return pairs_table("Settings", {name: setting_text(value) for name, value in settings.items()})


def write_report(path: Path, report: Report) -> None:
    """Write one HTML file that needs no other.

    Raises:
        StorageError: If the file cannot be written.
    """
    page = render(
        "evaluation.html.j2",
        title=report.title,
        notes=report.notes,
        tables=evaluation_tables(report),
        protocols=PROTOCOL_LABELS,
        interval_note=INTERVAL_NOTE,
        plots=report.plots,
        examples=report.examples,
    )
    write_text(path, page)
