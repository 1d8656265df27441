"""Results of commands as rich views for the terminal and as JSON-like values."""

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from bigrec.data.audit import Audit
from bigrec.errors import BundleError
from bigrec.evaluation.metrics import SELECTION_METRIC
from bigrec.evaluation.protocol import PROTOCOL_LABELS
from bigrec.evaluation.reports.comparison import comparison_json
from bigrec.evaluation.reports.comparison_tables import comparison_tables
from bigrec.evaluation.reports.data import ComparisonReport
from bigrec.evaluation.reports.evaluation import (
    Report,
    ReportExample,
    evaluation_tables,
    recommendations_table,
    report_json,
)
from bigrec.evaluation.reports.fitted_to import fitted_to_table
from bigrec.evaluation.reports.table import Cell, Mark, Table, pairs_table
from bigrec.experiments.stage import read_timings
from bigrec.grounding.index import ItemIndex
from bigrec.printable import printable
from bigrec.recommender.bundle import MANIFEST, read_manifest
from bigrec.settings import Settings

if TYPE_CHECKING:
    from bigrec.experiments.pipeline import Pipeline
    from bigrec.experiments.tune import TuningResult

_METRIC_COLUMNS = (
    "Method",
    *(f"{name}@{k}" for name in ("HR", "NDCG") for k in (1, 5, 10, 20)),
    *(f"{name}@10 on validation" for name in ("HR", "NDCG")),
)
_STYLES: Mapping[Mark, str] = {"": "", "best": "bold", "weak": "dim"}


@dataclass(frozen=True)
class Shown:
    """A result in both forms.

    Attributes:
        view: For the terminal.
        values: JSON-like values for ``--json``.
    """

    view: RenderableType
    values: Any


def tell(sentence: str) -> None:
    """Print a sentence, on one line as long as it is."""
    Console(soft_wrap=True).print(as_text(sentence))


def note(sentence: str) -> None:
    """Print a sentence on the error stream, beside the progress."""
    Console(stderr=True, soft_wrap=True).print(as_text(sentence))


def tell_error(error: Exception) -> None:
    """Print a message on the error stream."""
    Console(stderr=True).print(Text.assemble(("Error:", "bold red"), " ", as_text(str(error))))


def tell_traceback(
    _: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print a traceback on the error stream, as Python does, but safe to show."""
    lines = "".join(traceback.format_exception(error.with_traceback(trace)))
    sys.stderr.write(printable(lines, lines=True))


def tell_stopped() -> None:
    """Print the message of Ctrl-C on the error stream."""
    Console(stderr=True).print(
        "Stopped. Completed work is kept: give the same command to continue.", highlight=False
    )


def preparation(pipeline: "Pipeline") -> Shown:
    """Sizes of the dataset and of its examples, and in generative mode a prompt."""
    dataset, prepared = pipeline.dataset, pipeline.prepared
    values: dict[str, Any] = {
        "dataset": dataset.name,
        "users": len(dataset.interactions.user_ids),
        "items": dataset.catalog.n_items,
        "distinct titles": dataset.catalog.n_titles,
        "interactions": len(dataset.interactions.items),
        **{f"{name} examples": size for name, size in prepared.sizes.items()},
        "sampled for training": len(prepared.train),
        "sampled for validation": len(prepared.valid),
        "sampled for testing": len(prepared.test_queries),
    }
    if pipeline.settings.mode != "generative":
        return Shown(_pairs(values), values)
    prompt = pipeline.prompt()
    view = Group(_pairs(values), Panel(as_text(prompt), title="A prompt"))
    return Shown(view, {**values, "prompt": prompt})


def audit(checks: Audit) -> Shown:
    """The checks of the data."""
    rows = tuple(
        (
            Cell(row.check),
            Cell(f"{row.count:,}"),
            Cell("" if row.share is None else f"{row.share:.1%}"),
            Cell("; ".join(row.examples[:3])),
            Cell(row.note),
        )
        for row in checks.rows
    )
    table = Table("Audit", ("Check", "Count", "Share", "Examples", "Meaning"), rows)
    return Shown(rich_table(table), checks.to_json())


def training(folder: Path, log: Sequence[dict[str, float]]) -> Shown:
    """Validation losses and metrics by epoch.

    Args:
        folder: The training stage.
        log: Entries of the training log.
    """
    names = {"eval_loss": "Validation loss", "ndcg@10": "Validation NDCG@10"}
    keys = [key for key in names if any(key in entry for entry in log)]
    rows = tuple(
        (
            Cell(f"{entry['epoch']:.0f}"),
            *(Cell(f"{entry[key]:.4f}" if key in entry else "") for key in keys),
        )
        for entry in log
        if any(key in entry for key in keys)
    )
    table = Table("", ("Epoch", *(names[key] for key in keys)), rows)
    places = f"Trained weights: {folder}\nLoss curve: {folder / 'loss.png'}"
    view = Group(rich_table(table), as_text(places))
    return Shown(view, {"folder": str(folder), "log": list(log)})


def grid(folder: Path, candidates: Sequence[Mapping[str, float]]) -> Shown:
    """Hyperparameters of text mode with their validation figures, the best first.

    Args:
        folder: The training stage.
        candidates: From `Pipeline.train`; none without tuning.
    """
    best_first = sorted(candidates, key=lambda candidate: -candidate[SELECTION_METRIC])
    columns = tuple(best_first[0]) if best_first else ()
    rows = tuple(
        tuple(
            Cell(f"{value:.4f}" if name == SELECTION_METRIC else f"{value:g}")
            for name, value in candidate.items()
        )
        for candidate in best_first
    )
    names = (
        f"Validation {SELECTION_METRIC.upper()}" if name == SELECTION_METRIC else name
        for name in columns
    )
    table = Table("Hyperparameters, the best first", tuple(names), rows)
    view = Group(*([rich_table(table)] if rows else []), as_text(f"Folder: {folder}"))
    return Shown(view, {"folder": str(folder), "grid": list(candidates)})


def index(folder: Path, item_index: ItemIndex) -> Shown:
    """Sizes and the embedding space of an item index."""
    values = {
        "folder": str(folder),
        "titles": len(item_index.titles),
        "embedding size": int(item_index.embeddings.shape[1]),
        "space": item_index.normalization,
        "key": item_index.key,
    }
    return Shown(_pairs(values), values)


def evaluation(report: Report, pipeline: "Pipeline") -> Shown:
    """The metric tables, and the paths of all other results."""
    tables = evaluation_tables(report)
    metrics = [
        rich_table(kept)
        for of_protocol in tables.metrics.values()
        for kept in _headline_metrics(of_protocol)
    ]
    places = (
        f"Report: {pipeline.evaluation_stage.folder / 'report.html'}\n"
        f"Every query: {pipeline.evaluation_stage.folder / 'queries.parquet'}\n"
        f"Bundle: {pipeline.bundle}"
    )
    further = [rich_table(table) for table in (tables.fitted_to, tables.shares) if table.rows]
    view = Group(*metrics, as_text("\n".join(report.notes)), *further, as_text(places))
    return Shown(view, report_json(report))


def comparison(report: ComparisonReport, file: Path) -> Shown:
    """Metrics, fusion rules, differences and segments of the target under each protocol.

    Args:
        report: The comparison.
        file: The JSON file of the comparison; the page is beside it.
    """
    shown: list[RenderableType] = []
    for exclude_seen, tables in comparison_tables(report).items():
        shown.append(Rule(PROTOCOL_LABELS[exclude_seen].capitalize()))
        shown += map(rich_table, _headline_metrics(tables.metrics))
        further = (
            *(tables.fusion, tables.differences, tables.gains),
            *(tables.order, tables.windows, tables.targets, tables.seeds),
        )
        shown += map(rich_table, chain(*further))
    if report.fitted_to:
        shown.append(rich_table(fitted_to_table(report.fitted_to)))
    places = f"Report: {file.with_suffix('.html')}\nFigures: {file}"
    return Shown(Group(*shown, as_text(places)), comparison_json(report))


def tuning(result: "TuningResult") -> Shown:
    """The best trials of a search, and the file of the best settings."""
    place = f"Best settings: {result.file}, for --config"
    return Shown(Group(rich_table(result.table()), as_text(place)), result.to_json())


def example(query: ReportExample) -> Shown:
    """One user's history, the texts generated for it, and the recommended list."""
    generated = [Panel(_listed(query.texts), title="Generated texts, most probable first")]
    view = Group(
        Panel(_listed(query.history), title="One user's history, oldest first"),
        *(generated if query.texts else []),
        rich_table(recommendations_table(query.recommendations)),
        _listed([f"The user's next item was: {query.target}"]),
    )
    return Shown(view, asdict(query))


def folder_info(folder: Path) -> Shown:
    """Contents of a run directory or a bundle.

    Raises:
        BundleError: If it is neither.
    """
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        values = {**manifest.model_dump(), "files": len(manifest.files)}
        return Shown(_pairs(values), values)
    if not (folder / "settings.yaml").is_file():
        raise BundleError(
            f"{folder} is neither a bundle nor a run directory: it has no {MANIFEST} and no "
            "settings.yaml."
        )
    stages = read_timings(folder)
    rows = tuple(
        (
            Cell(name),
            Cell(f"{stage['seconds']:.1f}"),
            Cell(f"{stage['per_s']:.2f} {stage['unit']}/s" if "per_s" in stage else ""),
            Cell(f"{stage['peak_mib']:,} MiB" if "peak_mib" in stage else ""),
        )
        for name, stage in stages.items()
    )
    table = Table(str(folder), ("Stage", "Seconds", "Throughput", "Peak memory"), rows)
    settings = Settings.read(folder / "settings.yaml").to_dict()
    return Shown(rich_table(table), {"stages": stages, "settings": settings})


def settings_help() -> Shown:
    """Every setting with its default and its effect, for ``bigrec config``."""
    settings = list(_settings_of(Settings))
    rows = tuple((Cell(name), Cell(str(default)), Cell(text)) for name, default, text in settings)
    table = Table("Settings (--set name=value)", ("Setting", "Default", "Effect"), rows)
    values = {name: {"default": default, "effect": text} for name, default, text in settings}
    return Shown(rich_table(table), values)


def as_text(text: str) -> Text:
    """Lines of text, never as markup."""
    return Text(printable(text, lines=True))


def _listed(texts: Sequence[str]) -> Text:
    """One text from data on each line."""
    return Text("\n".join(map(printable, texts)))


def rich_table(table: Table) -> RichTable:
    """A table for the terminal: intervals below their values, the note below the table."""
    rich = RichTable(
        *(Column(Text(printable(column))) for column in table.columns),
        title=Text(printable(table.title), style="table.title") if table.title else None,
        caption=Text(printable(table.note), style="table.caption") if table.note else None,
        show_header=bool(table.columns),
    )
    for row in table.rows:
        rich.add_row(*map(_rich_cell, row))
    return rich


def _rich_cell(cell: Cell) -> Text:
    text = Text(printable(cell.text), style=_STYLES[cell.mark])
    return text.append(f"\n{cell.interval}", style="dim") if cell.interval else text


def _headline_metrics(tables: Sequence[Table]) -> list[Table]:
    """The tables of HR and NDCG at the list lengths for which a terminal is wide enough."""
    headline = (table.keep(_METRIC_COLUMNS) for table in tables)
    return [table for table in headline if len(table.columns) > 1]


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


def _pairs(values: Mapping[str, Any]) -> RichTable:
    """Names and values, counts with thousands separators."""

    def text(value: Any) -> str:
        is_count = isinstance(value, int) and not isinstance(value, bool)
        return f"{value:,}" if is_count else str(value)

    return rich_table(pairs_table("", {name: text(value) for name, value in values.items()}))
