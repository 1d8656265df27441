"""What the command line shows: every result as a rich view and as JSON-like values."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from bigrec.data.audit import Audit
from bigrec.errors import BundleError
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.comparison import comparison_json
from bigrec.evaluation.reports.evaluation import Report, ReportExample, report_json
from bigrec.evaluation.significance import ComparisonRow
from bigrec.experiments.stage import read_timings
from bigrec.grounding.index import ItemIndex
from bigrec.recommender.bundle import MANIFEST, read_manifest
from bigrec.settings import Settings
from bigrec.types import Recommendation, Track

if TYPE_CHECKING:
    from bigrec.experiments.comparison import Comparison
    from bigrec.experiments.pipeline import Run

_TABLE_KS = (1, 5, 10, 20)
_SEEN = {False: "kept", True: "left out"}
_LINE_EVERY_S = 30.0


@dataclass(frozen=True)
class Shown:
    """A result in both forms."""

    view: RenderableType
    values: Any


@contextmanager
def progress() -> Iterator[Track]:
    """Progress with time left, on the error stream; gives what starts a step.

    Bars on a terminal; elsewhere, where bars would show only at the end, a line now and then.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name: _Lines(name, console)
        return
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
    tasks: dict[str, Any] = {}

    def track(name: str) -> Any:
        def report(done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        return report

    with bars:
        yield track


class _Lines:
    """Progress as lines, at most one in `_LINE_EVERY_S`."""

    def __init__(self, name: str, console: Console) -> None:
        self._name = name
        self._console = console
        self._started = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if done < total and now - self._told < _LINE_EVERY_S:
            return
        self._told = now
        per_unit = (now - self._started) / max(1, done - self._first)
        left = timedelta(seconds=round(per_unit * (total - done)))
        self._console.print(f"{self._name}: {done} of {total}, {left} left", highlight=False)


def tell_error(error: Exception) -> None:
    """One message on the error stream."""
    Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)


def tell_stopped() -> None:
    """What Ctrl-C leaves."""
    Console(stderr=True).print(
        "Stopped. What was done is kept: give the same command to go on.", highlight=False
    )


def preparation(run: "Run") -> Shown:
    """Sizes of the dataset and of what was drawn from it, and a prompt."""
    dataset, drawn, prompt = run.dataset, run.drawn, run.prompt()
    values = {
        "dataset": dataset.name,
        "users": len(dataset.interactions.user_ids),
        "items": dataset.catalog.n_items,
        "different titles": dataset.catalog.n_groups,
        "interactions": len(dataset.interactions.items),
        **{f"{name} examples": size for name, size in drawn.sizes.items()},
        "drawn to train on": len(drawn.train),
        "drawn to validate on": len(drawn.valid),
        "drawn to test on": len(drawn.test),
    }
    view = Group(_pairs(values), Panel(escape(prompt), title="A prompt"))
    return Shown(view, {**values, "prompt": prompt})


def audit(found: Audit) -> Shown:
    """The checks of the data."""
    table = Table("Check", "Count", "Share", "Examples", "What it means", title="Audit")
    for row in found.rows:
        share = "" if row.share is None else f"{row.share:.1%}"
        examples = "; ".join(row.examples[:3])
        table.add_row(row.check, f"{row.count:,}", share, escape(examples), escape(row.note))
    return Shown(table, found.to_json())


def training(folder: Path, log: Sequence[dict[str, float]]) -> Shown:
    """How the losses went."""
    judged = {"eval_loss": "Validation loss", "ndcg@10": "Validation NDCG@10"}
    table = Table("Epoch", *(name for key, name in judged.items() if any(key in e for e in log)))
    for entry in log:
        figures = [f"{entry[key]:.4f}" for key in judged if key in entry]
        if figures:
            table.add_row(f"{entry['epoch']:.0f}", *figures)
    place = f"What was learned: {folder}\nLoss curve: {folder / 'loss.png'}"
    return Shown(Group(table, escape(place)), {"folder": str(folder), "log": list(log)})


def index(folder: Path, built: ItemIndex) -> Shown:
    """What was embedded."""
    values = {
        "folder": str(folder),
        "titles": len(built.titles),
        "embedding size": int(built.embeddings.shape[1]),
        "space": built.space_kind,
        "key": built.key,
    }
    return Shown(_pairs(values), values)


def evaluation(report: Report, run: "Run") -> Shown:
    """The metric table, and where the rest is."""
    shares = "  ".join(f"{name}: {value:.1%}" for name, value in report.shares.items())
    places = (
        f"Report: {run.evaluation_stage.folder / 'report.html'}\n"
        f"Every query: {run.evaluation_stage.folder / 'queries.parquet'}\n"
        f"Bundle: {run.bundle}"
    )
    notes = "\n".join(report.notes)
    view = Group(metric_table(report.rows), escape(notes), escape(shares), escape(places))
    return Shown(view, report_json(report))


def metric_table(rows: Sequence[SummaryRow], *, ks: Sequence[int] = _TABLE_KS) -> RenderableType:
    """HR and NDCG of every method, with intervals."""
    tables: list[RenderableType] = []
    for hide in (False, True):
        chosen = [row for row in rows if row.exclude_seen == hide]
        for metric in ("hr", "ndcg"):
            names = [f"{metric}@{k}" for k in ks]
            protocol = "seen items left out" if hide else "seen items kept, as published"
            table = Table("Method", *map(str.upper, names), title=protocol)
            for method in dict.fromkeys(row.method for row in chosen):
                cells = {row.metric: row for row in chosen if row.method == method}
                table.add_row(method, *(_interval(cells[name]) for name in names))
            tables.append(table)
    return Group(*tables)


def comparison(found: "Comparison", file: Path) -> Shown:
    """Metrics, how signals are put in, and differences to the reference."""
    report = found.report
    chosen = Table(
        "Method", "Seen items", "Chosen on validation", "NDCG@10, published", title="Injections"
    )
    for one in report.chosen:
        published = "" if one.published is None else f"{one.published['ndcg@10']:.4f}"
        chosen.add_row(one.method, _SEEN[one.exclude_seen], one.rule, published)
    against = _differences(f"Less {report.reference}", report.differences)
    gains = _differences("Less its signals", report.gains, title="What the language model adds")
    seeds = Table("Method", "Seen items", "Metric", "Mean", "Deviation", title="Seeds")
    for one_seed in report.seeds:
        seeds.add_row(
            one_seed.method,
            _SEEN[one_seed.exclude_seen],
            one_seed.metric.upper(),
            f"{one_seed.mean:.4f}",
            f"{one_seed.deviation:.4f}",
        )
    places = f"Report: {file.with_suffix('.html')}\nFigures: {file}"
    tables = [metric_table(report.rows), chosen, against, gains]
    tables += [seeds] if report.seeds else []
    return Shown(Group(*tables, escape(places)), comparison_json(report))


def _differences(heading: str, rows: Sequence[ComparisonRow], *, title: str | None = None) -> Table:
    table = Table("Method", "Seen items", "Metric", heading, "p, corrected", title=title)
    for row in rows:
        interval = f"{row.difference:+.4f} [dim]{row.low:+.4f} to {row.high:+.4f}[/]"
        seen = _SEEN[row.exclude_seen]
        table.add_row(row.method, seen, row.metric.upper(), interval, f"{row.p_corrected:.4f}")
    return table


def recommendations(found: Sequence[Recommendation]) -> Shown:
    """A recommended list."""
    return Shown(_list(found), [asdict(one) for one in found])


def example(one: ReportExample) -> Shown:
    """One user's history, the texts written for it, and the list."""
    history, texts = "\n".join(one.history), "\n".join(one.texts)
    written = [Panel(escape(texts), title="What the model wrote, best first")] if texts else []
    view = Group(
        Panel(escape(history), title="One user's history, oldest first"),
        *written,
        _list(one.recommendations),
        escape(f"The user's next item was: {one.target}"),
    )
    return Shown(view, asdict(one))


def demonstration(run: "Run") -> Shown:
    """Everything a first look should show."""
    found, report = audit(run.audit()), run.evaluate()
    measured, shown = evaluation(report, run), example(report.examples[0])
    return Shown(
        Group(found.view, measured.view, shown.view),
        {"audit": found.values, "evaluation": measured.values, "example": shown.values},
    )


def folder_info(folder: Path) -> Shown:
    """What a run folder or a bundle holds.

    Raises:
        BundleError: If it is neither.
    """
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        values = {name: value for name, value in manifest.items() if name != "files"}
        values["files"] = len(manifest["files"])
        return Shown(_pairs(values), values)
    if not (folder / "settings.yaml").is_file():
        raise BundleError(
            f"{folder} is neither a bundle nor a run folder: it has no {MANIFEST} and no "
            "settings.yaml."
        )
    values = read_timings(folder)
    table = Table("Stage", "Seconds", "Throughput", "Peak memory", title=str(folder))
    for name, took in values.items():
        pace = f"{took['per_s']:.2f} {took['unit']}/s" if "per_s" in took else ""
        memory = f"{took['peak_mib']:,} MiB" if "peak_mib" in took else ""
        table.add_row(name, f"{took['seconds']:.1f}", pace, memory)
    settings = Settings.read(folder / "settings.yaml").model_dump(mode="json")
    return Shown(table, {"stages": values, "settings": settings})


def settings_help() -> Shown:
    """Every setting, its default and its effect."""
    values: dict[str, dict[str, Any]] = {}
    table = Table("Setting", "Default", "Effect", title="Settings (--set name=value)")
    for name, default, text in _settings_of(Settings):
        values[name] = {"default": default, "effect": text}
        table.add_row(name, escape(str(default)), escape(text))
    return Shown(table, values)


def _settings_of(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Name, default and effect of every setting of a section and of those below it."""
    for name, field in section.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _settings_of(annotation, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        text = " ".join((field.description or "").replace("``", "").split())
        yield prefix + name, default, text


def _interval(row: SummaryRow) -> str:
    return f"{row.value:.3f}\n[dim]{row.low:.3f}-{row.high:.3f}[/]"


def _list(found: Sequence[Recommendation]) -> Table:
    written = any(one.generated_text is not None for one in found)
    grounded = ["Grounded from"] if written else []
    table = Table("Rank", "Item", "Title", "Distance", *grounded, title="Recommended")
    for one in found:
        cells = [str(one.rank), one.item_id, one.title, f"{one.distance:.3f}"]
        cells += [one.generated_text or ""] if written else []
        table.add_row(*map(escape, cells))
    return table


def _pairs(values: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    for name, value in values.items():
        is_count = isinstance(value, int) and not isinstance(value, bool)
        table.add_row(name, escape(f"{value:,}" if is_count else str(value)))
    return table
