"""An evaluation as one self-contained HTML page, and as JSON."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from bigrec.errors import BundleError
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.html import (
    base64_text,
    cell,
    details,
    metric_tables,
    page,
    pairs,
    paragraphs,
    plot,
    setting_text,
    table,
)
from bigrec.storage import write_text
from bigrec.types import Recommendation

_FORMAT = 1
_PROTOCOLS = {
    False: "Published protocol: seen items kept in the ranking",
    True: "Seen items excluded from the ranking",
}


@dataclass(frozen=True, slots=True)
class ReportExample:
    """One query as a reader can judge it.

    Attributes:
        history: Titles, oldest first.
        target: Title of the item that came next.
        texts: What the language model wrote, most probable first; nothing where it points.
        recommendations: The list, best first.
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
        rows: Metrics from ``summarise``.
        shares: What the generated texts are like, from ``text_shares``.
        settings: What was run, as JSON-like values.
        examples: Some queries.
        plots: PNG bytes by caption.
        timings: Seconds by stage.
        notes: Sentences a reader must know to judge the numbers.
    """

    title: str
    rows: Sequence[SummaryRow]
    shares: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[ReportExample] = ()
    plots: Mapping[str, bytes] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


def report_json(report: Report) -> dict[str, Any]:
    """The report as JSON-like values; plots as base64 PNG."""
    return {
        "format": _FORMAT,
        "title": report.title,
        "rows": [asdict(row) for row in report.rows],
        "shares": dict(report.shares),
        "settings": dict(report.settings),
        "examples": [asdict(example) for example in report.examples],
        "plots": {name: base64_text(png) for name, png in report.plots.items()},
        "timings_s": dict(report.timings),
        "notes": list(report.notes),
    }


def report_from_json(content: Mapping[str, Any]) -> Report:
    """The report that ``report_json`` described.

    Raises:
        BundleError: If the content is of another format or incomplete.
    """
    version = content.get("format")
    if version != _FORMAT:
        raise BundleError(
            f"The report has format {version}; this version of bigrec reads format {_FORMAT}. Run "
            "the evaluation again."
        )
    try:
        return Report(
            title=content["title"],
            rows=[SummaryRow(**row) for row in content["rows"]],
            shares=content["shares"],
            settings=content["settings"],
            examples=[_example(example) for example in content["examples"]],
            plots={name: b64decode(text) for name, text in content["plots"].items()},
            timings=content["timings_s"],
            notes=content["notes"],
        )
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"The report is damaged: {error} does not fit. Run the evaluation again."
        ) from None


def write_report(path: Path, report: Report) -> None:
    """Write one HTML file that needs no other.

    Raises:
        StorageError: If the file cannot be written.
    """
    shares = [(name, f"{value:.1%}") for name, value in report.shares.items()]
    timings = [(name, f"{seconds:.1f} s") for name, seconds in report.timings.items()]
    settings = [(name, setting_text(value)) for name, value in report.settings.items()]
    body = [
        f"<h1>{escape(report.title)}</h1>",
        *paragraphs(report.notes),
        *_metrics(report.rows),
        *(plot(caption, png) for caption, png in report.plots.items()),
        *_pairs("Generated texts", shares),
        *_examples(report.examples),
        *_pairs("Settings", settings),
        *_pairs("Timings", timings),
    ]
    write_text(path, page(report.title, body))


def _example(content: Mapping[str, Any]) -> ReportExample:
    lines = [Recommendation(**line) for line in content["recommendations"]]
    return ReportExample(content["history"], content["target"], content["texts"], lines)


def _metrics(rows: Sequence[SummaryRow]) -> list[str]:
    found = []
    for exclude_seen, heading in _PROTOCOLS.items():
        own = [row for row in rows if row.exclude_seen == exclude_seen]
        if own:
            found += [f"<h2>{heading}</h2>", *metric_tables(own)]
    if found:
        found.append("<p>Mean over the queries [95 % bootstrap interval]; the best in bold.</p>")
    return found


def _examples(examples: Sequence[ReportExample]) -> list[str]:
    found = ["<h2>Examples</h2>"] if examples else []
    for number, example in enumerate(examples, start=1):
        body = f"<h3>History</h3>{_list(example.history)}"
        if example.texts:
            body += f"<h3>Generated</h3>{_list(example.texts)}"
        body += f"<h3>Recommended</h3>{_lines(example.recommendations)}"
        found.append(details(f"{number}. Next: {example.target}", body, opened=number == 1))
    return found


def _lines(recommended: Sequence[Recommendation]) -> str:
    written = any(line.generated_text is not None for line in recommended)
    rows = [
        [cell(str(line.rank)), cell(line.title), cell(f"{line.distance:.3f}")]
        + ([cell(line.generated_text or "")] if written else [])
        for line in recommended
    ]
    return table(["Rank", "Title", "Distance", *(["Grounded from"] if written else [])], rows)


def _pairs(heading: str, lines: Sequence[tuple[str, str]]) -> list[str]:
    return [f"<h2>{heading}</h2>", pairs(lines)] if lines else []


def _list(texts: Sequence[str]) -> str:
    return "<ol>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ol>"
