"""Results of studies for the terminal and as JSON-like values."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group

from bigrec.console import Shown, as_text, rich_table
from bigrec.experiments.studies.report import StudyReport, study_json, study_tables

if TYPE_CHECKING:
    from bigrec.experiments.studies.ablation import PlannedVariant
    from bigrec.experiments.studies.domains import PlannedDomainArm
    from bigrec.experiments.studies.dry_run import PlannedArm


def study(report: StudyReport, folder: Path) -> Shown:
    """The claim, the verdicts with what was tested, and the metrics.

    Args:
        report: The study.
        folder: Holds its files.
    """
    head = "\n".join([report.claim, *report.notes])
    places = f"Report: {folder / 'study.html'}\nFigures: {folder / 'study.json'}"
    return Shown(
        Group(as_text(head), *map(rich_table, study_tables(report)), as_text(places)),
        study_json(report),
    )


def plan(name: str, planned: list["PlannedArm"]) -> Shown:
    """The arms of a dry run."""
    from bigrec.experiments.studies.dry_run import plan_table  # noqa: PLC0415 - torch, seconds

    return Shown(rich_table(plan_table(name, planned)), [asdict(arm) for arm in planned])


def domains_plan(planned: list["PlannedDomainArm"]) -> Shown:
    """The arms of a dry run of the study of domains."""
    from bigrec.experiments.studies.domains import domains_table  # noqa: PLC0415 - torch, seconds

    return Shown(rich_table(domains_table(planned)), [asdict(arm) for arm in planned])


def ablation_plan(planned: list["PlannedVariant"]) -> Shown:
    """The variants of a dry run of the ablation."""
    from bigrec.experiments.studies.ablation import ablation_table  # noqa: PLC0415 - torch, seconds

    return Shown(rich_table(ablation_table(planned)), [asdict(variant) for variant in planned])
