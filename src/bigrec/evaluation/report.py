"""An evaluation as one self-contained HTML page, and as JSON."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from bigrec.errors import BundleError
from bigrec.evaluation.protocol import SummaryRow
from bigrec.files import write_text
from bigrec.types import Recommendation

_FORMAT = 1
_PROTOCOLS = {
    False: "Published protocol: seen items kept in the ranking",
    True: "Seen items excluded from the ranking",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { background: var(--soft); }
table.numbers td { white-space: nowrap; }
.best { font-weight: 700; }
img { max-width: 100%; width: 700px; height: auto; background: #fff; border-radius: 4px; }
details { margin: .5rem 0; border: 1px solid var(--line); border-radius: 4px; padding: .5rem 1rem; }
"""


@dataclass(frozen=True, slots=True)
class ReportExample:
    """One query as a reader can judge it.

    Attributes:
        history: Titles, oldest first.
        target: Title of the item that came next.
        texts: What the language model wrote, most probable first.
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
        "plots": {name: _base64(png) for name, png in report.plots.items()},
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
    settings = [(name, _setting(value)) for name, value in report.settings.items()]
    body = [
        f"<h1>{escape(report.title)}</h1>",
        *(f"<p>{escape(note)}</p>" for note in report.notes),
        *_metrics(report.rows),
        *(_plot(caption, png) for caption, png in report.plots.items()),
        *_pairs("Generated texts", shares),
        *_examples(report.examples),
        *_pairs("Settings", settings),
        *_pairs("Timings", timings),
    ]
    write_text(
        path,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n",
    )


def _example(content: Mapping[str, Any]) -> ReportExample:
    lines = [Recommendation(**line) for line in content["recommendations"]]
    return ReportExample(content["history"], content["target"], content["texts"], lines)


def _metrics(rows: Sequence[SummaryRow]) -> list[str]:
    found = []
    for exclude_seen, heading in _PROTOCOLS.items():
        own = [row for row in rows if row.exclude_seen == exclude_seen]
        if own:
            found.append(f"<h2>{heading}</h2>")
        families = dict.fromkeys(row.metric.split("@")[0] for row in own)
        found += [
            _metric_table([row for row in own if row.metric.split("@")[0] == family])
            for family in families
        ]
    if found:
        found.append("<p>Mean over the queries [95 % bootstrap interval]; the best in bold.</p>")
    return found


def _metric_table(rows: Sequence[SummaryRow]) -> str:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    best = {name: max(row.value for row in rows if row.metric == name) for name in metrics}
    lines = []
    for method in dict.fromkeys(row.method for row in rows):
        cells = {row.metric: row for row in rows if row.method == method}
        line = [f"<td>{escape(method)}</td>"]
        for name in metrics:
            row = cells.get(name)
            mark = ' class="best"' if row is not None and row.value == best[name] else ""
            line.append(f"<td{mark}>{_interval(row) if row else ''}</td>")
        lines.append("".join(line))
    heads = ["Method", *(metric.upper() for metric in metrics)]
    return _table(heads, lines, css="numbers")


def _interval(row: SummaryRow) -> str:
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def _plot(caption: str, png: bytes) -> str:
    text = escape(caption)
    return (
        f"<figure><figcaption>{text}</figcaption>"
        f'<img alt="{text}" src="data:image/png;base64,{_base64(png)}"></figure>'
    )


def _examples(examples: Sequence[ReportExample]) -> list[str]:
    found = ["<h2>Examples</h2>"] if examples else []
    for number, example in enumerate(examples, start=1):
        lines = [
            f"<td>{line.rank}</td><td>{escape(line.title)}</td><td>{line.distance:.3f}</td>"
            f"<td>{escape(line.generated_text)}</td>"
            for line in example.recommendations
        ]
        found.append(
            f"<details{' open' if number == 1 else ''}>"
            f"<summary>{number}. Next: {escape(example.target)}</summary>"
            f"<h3>History</h3>{_list(example.history)}"
            f"<h3>Generated</h3>{_list(example.texts)}"
            f"<h3>Recommended</h3>"
            + _table(["Rank", "Title", "Distance", "Grounded from"], lines)
            + "</details>"
        )
    return found


def _pairs(heading: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    if not pairs:
        return []
    lines = [f"<td>{escape(name)}</td><td>{escape(value)}</td>" for name, value in pairs]
    return [f"<h2>{heading}</h2>", _table([], lines)]


def _table(heads: Sequence[str], lines: Sequence[str], *, css: str = "") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    opening = f'<table class="{css}">' if css else "<table>"
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="scroll">{opening}{top}<tbody>\n{body}\n</tbody></table></div>'


def _list(texts: Sequence[str]) -> str:
    return "<ol>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ol>"


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _base64(png: bytes) -> str:
    return b64encode(png).decode("ascii")
