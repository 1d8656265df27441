"""What a study found: tables, a plot, JSON, Markdown and a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigrec.evaluation.metrics import SELECTION_METRIC
from bigrec.evaluation.protocol import SummaryRow, of_protocol
from bigrec.evaluation.reports.html import render
from bigrec.evaluation.reports.metric_tables import INTERVAL_NOTE, metric_tables
from bigrec.evaluation.reports.plots import draw_curves, draw_metric_by_k, to_png
from bigrec.evaluation.reports.table import (
    DIFFERENCE_FORMAT,
    Cell,
    Table,
    markdown_text,
    to_markdown,
    value_with_interval,
)
from bigrec.evaluation.stored import to_json
from bigrec.experiments.studies.verdict import Finding, Verdict
from bigrec.storage import atomic_file, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = 1
_SHOWN = ("HR@1", "HR@10", "HR@20", "NDCG@10")
_NOTE = (
    "The sum is expected above 0 [95 % bootstrap interval over users]; p by paired randomization "
    "of users, Holm-corrected for all sums of the study. Contradicted: one is significantly below "
    "0. Supported: all are significantly above. NDCG@10."
)


@dataclass(frozen=True)
class StudyReport:
    """Everything that is reported about a study.

    Attributes:
        name: The study.
        claim: The paper's claim.
        exclude_seen: The protocol of the verdicts.
        verdicts: Verdict of each question.
        findings: The tested contrasts.
        rows: Metrics of all methods under both protocols.
        curves: Label of the method at each number of examples, by the name of the curve.
        x_label: What else the places of the curves are.
        groups: Labels of the methods that are compared with each other, where not all are: those
            of each set of queries.
        settings: Settings of the study, as JSON-like values.
        notes: Sentences that a reader needs to judge the numbers.
    """

    name: str
    claim: str
    exclude_seen: bool
    verdicts: Mapping[str, Verdict]
    findings: Sequence[Finding]
    rows: Sequence[SummaryRow]
    curves: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    x_label: str = "training examples"
    groups: Sequence[Sequence[str]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def study_tables(report: StudyReport) -> list[Table]:
    """Verdicts, contrasts and metrics under both protocols, the verdicts' protocol first."""
    verdicts = Table(
        "Verdicts",
        ("Claim", "Verdict"),
        tuple((Cell(question), Cell(found)) for question, found in report.verdicts.items()),
    )
    rows = tuple(
        (
            Cell(finding.label),
            value_with_interval(
                finding.difference, finding.low, finding.high, layout=DIFFERENCE_FORMAT
            ),
            Cell(f"{finding.p_value:.4f}"),
            Cell(f"{finding.p_corrected:.4f}"),
        )
        for finding in report.findings
    )
    tested = Table("What was tested", ("Sum", "Value", "p", "p, corrected"), rows, _NOTE)
    return [verdicts, tested, *_metrics(report)]


def write_study(folder: Path, report: StudyReport) -> None:
    """Write ``study.json``, ``study.md``, ``study.png`` and ``study.html``.

    Raises:
        StorageError: If a file cannot be written.
    """
    png = to_png(draw_study(report))
    tables = study_tables(report)
    with atomic_file(folder / "study.png") as temporary:
        temporary.write_bytes(png)
    head = [f"# Study {report.name}", *map(markdown_text, [report.claim, *report.notes])]
    text = "\n\n".join([*head, *map(to_markdown, tables), "![Plot](study.png)\n"])
    write_text(folder / "study.md", text)
    page = render(
        "study.html.j2",
        title=f"Study {report.name}",
        notes=[report.claim, *report.notes, INTERVAL_NOTE],
        tables=tables,
        plots={"NDCG@10": png},
    )
    write_text(folder / "study.html", page)
    write_json(folder / "study.json", study_json(report))


def study_json(report: StudyReport) -> dict[str, Any]:
    """The report as JSON-like values."""
    return to_json(report, version=_FORMAT)


def draw_study(report: StudyReport) -> "Figure":
    """NDCG over the list length or, for a study with curves, NDCG@10 over their places."""
    if not report.curves:
        return draw_metric_by_k(report.rows, metric="ndcg", exclude_seen=report.exclude_seen)
    values = {
        row.method.label: row
        for row in of_protocol(report.rows, exclude_seen=report.exclude_seen)
        if row.metric == SELECTION_METRIC
    }
    curves = {
        name: {size: values[label] for size, label in points.items()}
        for name, points in report.curves.items()
    }
    return draw_curves(curves, x_label=report.x_label)


def _metrics(report: StudyReport) -> list[Table]:
    tables: list[Table] = []
    for exclude_seen in (report.exclude_seen, not report.exclude_seen):
        rows = [
            row
            for row in of_protocol(report.rows, exclude_seen=exclude_seen)
            if row.metric.upper() in _SHOWN
        ]
        for group in report.groups or [[row.method.label for row in rows]]:
            tables += metric_tables([row for row in rows if row.method.label in group])
    return tables
