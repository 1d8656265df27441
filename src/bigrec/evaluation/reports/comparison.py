"""A comparison of methods as JSON-like values and as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from bigrec.errors import BundleError
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.data import (
    AgreementRow,
    BeyondRow,
    ChosenRow,
    ComparisonReport,
    GammaPath,
    SeedRow,
)
from bigrec.evaluation.reports.html import (
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
from bigrec.evaluation.reports.plots import (
    FEW_QUERIES,
    plot_gamma_paths,
    plot_metric_by_k,
    plot_seeds,
    plot_segments,
)
from bigrec.evaluation.significance import ComparisonRow
from bigrec.storage import write_text

__all__ = [
    "AgreementRow",
    "BeyondRow",
    "ChosenRow",
    "ComparisonReport",
    "GammaPath",
    "SeedRow",
    "comparison_from_json",
    "comparison_json",
    "shown_methods",
    "write_comparison",
]

_FORMAT = 2
_PROTOCOLS = {
    True: "Seen items left out: what a user would run",
    False: "Seen items kept, as published",
}
_RECOMMENDER = "BIGRec"
_BEST = "ndcg@10"
_SHOWN = 8
_HEADLINE = ("ndcg@10", "hr@10")
_CSS = "numbers sticky"
_UNSURE = 0.05
_DIFFERENCES = (
    "Over the same queries [95 % bootstrap interval]; above 0 the method is better. p by paired "
    "randomization, Holm-corrected for all differences of both protocols; pale from "
    f"{_UNSURE} on, where chance may be all there is to it."
)
_GAINS = "What the language model adds to its signals, put together without it by the best rule"
_VALIDATION = (
    "What choices were made by: rules and gammas are the best of many here, so that these figures "
    "flatter methods with signals a little."
)
_PUBLISHED = (
    "Published protocol: a gamma for each metric and K; no single recommender reaches these"
)
_PATHS = (
    "NDCG@10 over gamma of the published product, with the gamma that was chosen on validation. "
    "Every panel has its own scale; gamma is logarithmic above 1."
)
_SCALE = (
    f"The scale fits segments of at least {FEW_QUERIES} queries; smaller ones may reach beyond it."
)
_BEYOND = (
    "Coverage: share of the catalog that at least one query gets, higher is more varied. Novelty: "
    "mean self-information of what is recommended, higher is less popular. Gini: how unequally "
    "often items are recommended, 0 for all alike, lower is fairer."
)
_AGREEMENT = (
    "How often a listed item is the target: hits per item that both methods list, against hits per "
    "item that only one of them lists. A ratio above 1 says that agreement is worth something. "
    "Overlap: mean share of a list that the other list holds, too."
)
_SEEDS = (
    "Training runs that differ in their seed only. The standard deviation is over runs; intervals "
    "over queries do not show it."
)


class _Row(Protocol):
    @property
    def exclude_seen(self) -> bool: ...


_AnyRow = TypeVar("_AnyRow", bound=_Row)


def comparison_json(report: ComparisonReport) -> dict[str, Any]:
    """The report as JSON-like values; the plots are drawn from these."""
    content = TypeAdapter(ComparisonReport).dump_python(report, mode="json")
    return {"format": _FORMAT, **content}


def comparison_from_json(content: Mapping[str, Any]) -> ComparisonReport:
    """The report that ``comparison_json`` described.

    Raises:
        BundleError: If the content is of another format, incomplete or of wrong types.
    """
    version = content.get("format")
    if version != _FORMAT:
        raise BundleError(
            f"The comparison has format {version}; this version of bigrec reads format {_FORMAT}. "
            "Run the comparison again."
        )
    try:
        return TypeAdapter(ComparisonReport).validate_python(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BundleError(
            f"The comparison is damaged at {place}: {problem['msg']}. Run the comparison again."
        ) from None


def shown_methods(report: ComparisonReport, *, exclude_seen: bool) -> list[str]:
    """The methods that plots show: more than a dozen cannot be told apart.

    Args:
        report: The comparison.
        exclude_seen: Which of the two protocols.

    Returns:
        The 8 best by NDCG@10, the reference, and the recommender without signals, in the order of
        the tables.
    """
    rows = _of(report.rows, exclude_seen)
    values = {row.method: row.value for row in rows if row.metric == _BEST}
    best = sorted(values, key=values.__getitem__, reverse=True)[:_SHOWN]
    with_signals = {row.method for row in _of(report.chosen, exclude_seen)}
    return [
        method
        for method in dict.fromkeys(row.method for row in rows)
        if method in {*best, report.reference}
        or (method.startswith(_RECOMMENDER) and method not in with_signals)
    ]


def write_comparison(path: Path, report: ComparisonReport) -> None:
    """Write one HTML file that needs no other.

    Raises:
        StorageError: If the file cannot be written.
    """
    shares = [(name, f"{value:.1%}") for name, value in report.shares.items()]
    settings = [(name, setting_text(value)) for name, value in report.settings.items()]
    body = [
        f"<h1>{escape(report.title)}</h1>",
        *paragraphs(report.notes),
        *(part for exclude_seen in _PROTOCOLS for part in _protocol(report, exclude_seen)),
        *(["<h2>Generated texts</h2>", pairs(shares)] if shares else []),
        *(["<h2>Settings</h2>", details("What was run", pairs(settings))] if settings else []),
    ]
    write_text(path, page(report.title, body, css="wide"))


def _protocol(report: ComparisonReport, exclude_seen: bool) -> list[str]:
    """Everything about one protocol; nothing where it was not run."""
    rows = _of(report.rows, exclude_seen)
    if not rows:
        return []
    return [
        f"<h2>{_PROTOCOLS[exclude_seen]}</h2>",
        *_metrics(rows),
        *_differences(f"Difference to {report.reference}", _of(report.differences, exclude_seen)),
        *_differences(_GAINS, _of(report.gains, exclude_seen)),
        *_validation(_of(report.validation, exclude_seen)),
        *_chosen(report, exclude_seen),
        *_plots(report, exclude_seen),
        *_beyond(_of(report.beyond, exclude_seen)),
        *_agreement(_of(report.agreement, exclude_seen)),
        *_seeds(_of(report.seeds, exclude_seen)),
    ]


def _metrics(rows: Sequence[SummaryRow]) -> list[str]:
    by_k = [row for row in rows if "@" in row.metric]
    whole = metric_tables([row for row in rows if "@" not in row.metric], css=_CSS)
    return [
        *paragraphs(["Mean over the queries [95 % bootstrap interval]; the best in bold."]),
        *metric_tables(by_k, css=_CSS),
        *(details("Over the whole ranking", body) for body in whole),
    ]


def _validation(rows: Sequence[SummaryRow]) -> list[str]:
    if not rows:
        return []
    body = "".join([*paragraphs([_VALIDATION]), *metric_tables(rows, css=_CSS)])
    return [details("On the validation examples", body)]


def _differences(heading: str, rows: Sequence[ComparisonRow]) -> list[str]:
    if not rows:
        return []
    metrics = list(dict.fromkeys(row.metric for row in rows))
    lines = []
    for method in dict.fromkeys(row.method for row in rows):
        found = {row.metric: row for row in rows if row.method == method}
        cells = (_difference(found.get(metric)) for metric in metrics)
        lines.append([cell(method), *(one for both in cells for one in both)])
    heads = [text for metric in metrics for text in (metric.upper(), f"p of {metric.upper()}")]
    return [
        f"<h3>{escape(heading)}</h3>",
        *paragraphs([_DIFFERENCES]),
        table(["Method", *heads], lines, css=_CSS),
    ]


def _difference(row: ComparisonRow | None) -> tuple[str, str]:
    if row is None:
        return cell(""), cell("")
    css = "weak" if row.p_corrected >= _UNSURE else ""
    text = f"{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
    return cell(text, css=css), cell(f"{row.p_corrected:.4f}", css=css)


def _chosen(report: ComparisonReport, exclude_seen: bool) -> list[str]:
    chosen = _of(report.chosen, exclude_seen)
    if not chosen:
        return []
    values: dict[str, dict[str, float]] = {}
    for row in _of(report.rows, exclude_seen):
        values.setdefault(row.method, {})[row.metric] = row.value
    lines = [
        [
            cell(row.method),
            cell(row.rule),
            cell(_headline(values.get(row.method, {}))),
            cell(_headline(row.published or {})),
        ]
        for row in chosen
    ]
    heads = ["Method", "Rule chosen on validation", "This rule on test", _PUBLISHED]
    return ["<h3>How signals are put in</h3>", table(heads, lines, css=_CSS)]


def _headline(values: Mapping[str, float]) -> str:
    found = [f"{name.upper()} {values[name]:.3f}" for name in _HEADLINE if name in values]
    return ", ".join(found)


def _plots(report: ComparisonReport, exclude_seen: bool) -> list[str]:
    shown = shown_methods(report, exclude_seen=exclude_seen)
    every = _of(report.rows, exclude_seen)
    rows = [row for row in every if row.method in shown]
    cut = ""
    if len(shown) < len({row.method for row in every}):
        cut = (
            f" Shown are the {_SHOWN} best by {_BEST.upper()}, {report.reference} and "
            f"{_RECOMMENDER} without signals."
        )
    found = ["<h3>Plots</h3>"]
    for metric in ("hr", "ndcg"):
        if any(row.metric.startswith(f"{metric}@") for row in rows):
            png = plot_metric_by_k(rows, metric=metric, exclude_seen=exclude_seen)
            found.append(plot(f"{metric.upper()} by the length K of the list.{cut}", png))
    paths = _of(report.paths, exclude_seen)
    if paths:
        found.append(plot(_PATHS, plot_gamma_paths(paths)))
    return found + _segments(report, exclude_seen, shown=shown, cut=cut)


def _segments(
    report: ComparisonReport, exclude_seen: bool, *, shown: Sequence[str], cut: str
) -> list[str]:
    found = []
    for family, rows in report.segments.items():
        summaries = [
            row
            for row in rows
            if row.summary.exclude_seen == exclude_seen
            and row.summary.metric == _BEST
            and row.summary.method in shown
        ]
        if summaries:
            png = plot_segments(summaries, metric=_BEST, exclude_seen=exclude_seen)
            found.append(plot(f"{_BEST.upper()} by segment: {family}. {_SCALE}{cut}", png))
    return found


def _beyond(rows: Sequence[BeyondRow]) -> list[str]:
    lines = [
        [
            cell(row.method),
            cell(f"{row.coverage:.1%}"),
            cell(f"{row.novelty:.2f}"),
            cell(f"{row.gini:.3f}"),
        ]
        for row in rows
    ]
    heads = ["Method", "Coverage", "Novelty in bits", "Gini"]
    return _folded("Beyond accuracy, of the first 10", _BEYOND, heads, lines)


def _agreement(rows: Sequence[AgreementRow]) -> list[str]:
    lines = [
        [
            cell(row.method),
            cell(row.other),
            cell(f"{row.overlap:.1%}"),
            cell(_optional(row.rate_both, ".4f")),
            cell(_optional(row.rate_one, ".4f")),
            cell(_optional(row.ratio, ".1f")),
        ]
        for row in rows
    ]
    heads = ["Method", "Beside", "Overlap", "Rate, both", "Rate, one", "Ratio"]
    return _folded("Agreement, of the first 20", _AGREEMENT, heads, lines)


def _seeds(rows: Sequence[SeedRow]) -> list[str]:
    if not rows:
        return []
    seeds = sorted({seed for row in rows for seed in row.values})
    lines = [
        [
            cell(row.method),
            cell(row.metric.upper()),
            cell(f"{row.mean:.4f} ± {row.deviation:.4f}"),
            *(cell(_optional(row.values.get(seed), ".4f")) for seed in seeds),
        ]
        for row in rows
    ]
    heads = ["Method", "Metric", "Mean ± deviation", *(f"Seed {seed}" for seed in seeds)]
    plots = [
        plot(
            f"{metric.upper()} of every seed, with mean and standard deviation.",
            plot_seeds(rows, metric=metric, exclude_seen=rows[0].exclude_seen),
        )
        for metric in dict.fromkeys(row.metric for row in rows)
    ]
    return [*plots, *_folded("Seeds", _SEEDS, heads, lines)]


def _folded(
    summary: str, explanation: str, heads: Sequence[str], lines: Sequence[Sequence[str]]
) -> list[str]:
    if not lines:
        return []
    text = "".join(paragraphs([explanation]))
    return [details(summary, text + table(heads, lines, css=_CSS))]


def _of(rows: Sequence[_AnyRow], exclude_seen: bool) -> list[_AnyRow]:
    return [row for row in rows if row.exclude_seen == exclude_seen]


def _optional(value: float | None, layout: str) -> str:
    return "-" if value is None else format(value, layout)
