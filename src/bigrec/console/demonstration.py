"""What ``bigrec demo`` shows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from rich.console import Group
from rich.rule import Rule

from bigrec.console import Shown, as_text, audit, evaluation, example, rich_table
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.comparison_tables import difference_tables
from bigrec.evaluation.reports.evaluation import ReportExample
from bigrec.evaluation.reports.metric_tables import metric_tables
from bigrec.evaluation.significance import ComparisonRow

if TYPE_CHECKING:
    from bigrec.experiments.pipeline import Pipeline


def text_demonstration(pipeline: "Pipeline") -> Shown:
    """The audit, the evaluation of text mode and one example."""
    checks, shown = audit(pipeline.audit()), _evaluation_and_example(pipeline)
    heading = Rule("Text mode: no language model is trained")
    return Shown(
        Group(checks.view, heading, shown.view), {"audit": checks.values, "text": shown.values}
    )


def demonstration(pipeline: "Pipeline", gains: Sequence[ComparisonRow]) -> Shown:
    """The evaluation of the trained mode, one example, and what it adds to text mode.

    Args:
        pipeline: Of the trained mode.
        gains: Differences to text mode.
    """
    shown = _evaluation_and_example(pipeline)
    heading = Rule(f"{pipeline.settings.mode.capitalize()} mode: a language model is trained")
    added = map(rich_table, difference_tables("What the trained mode adds to text mode", gains))
    values = {
        pipeline.settings.mode: shown.values,
        "gains": TypeAdapter(list[ComparisonRow]).dump_python(list(gains), mode="json"),
    }
    return Shown(Group(heading, shown.view, *added), values)


def generative_demonstration(
    written: ReportExample, rows: Sequence[SummaryRow], *, queries: int
) -> Shown:
    """What the paper's method writes and recommends, and all modes side by side.

    Args:
        written: A query of the paper's method.
        rows: Metrics of all modes on the same queries.
        queries: Number of these.
    """
    query = example(written)
    heading = Rule("Generative mode: a language model writes titles, as in the paper")
    tables = map(rich_table, metric_tables(rows))
    told = as_text(f"All modes on the {queries:,} test examples that they share.")
    values = {
        "generative": {"example": query.values},
        "side_by_side": {
            "queries": queries,
            "rows": TypeAdapter(list[SummaryRow]).dump_python(list(rows), mode="json"),
        },
    }
    return Shown(Group(heading, query.view, told, *tables), values)


def _evaluation_and_example(pipeline: "Pipeline") -> Shown:
    report = pipeline.evaluate()
    metrics, query = evaluation(report, pipeline), example(report.examples[0])
    values = {"evaluation": metrics.values, "example": query.values}
    return Shown(Group(metrics.view, query.view), values)
