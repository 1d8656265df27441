"""A study: its arms are run, its contrasts tested, its report written."""

from collections.abc import Sequence
from pathlib import Path

from bigrec.errors import SettingsError
from bigrec.evaluation.clusters import describe_users, number_users
from bigrec.evaluation.protocol import MethodResult, of_protocol, summarize
from bigrec.experiments.studies.arms import run_arm
from bigrec.experiments.studies.designs import Design
from bigrec.experiments.studies.report import StudyReport, write_study
from bigrec.experiments.studies.verdict import Contrast, Finding, check_contrasts, verdicts
from bigrec.settings import Settings
from bigrec.types import IntArray, ProgressFactory, no_progress

ARMS_FOLDER = "arms"
"""The workspace of all arms in a run directory of studies."""


def run_study(
    design: Design,
    settings: Settings,
    *,
    run_dir: Path,
    progress_factory: ProgressFactory = no_progress,
) -> StudyReport:
    """Run a study; complete stages and arms of this run directory are reused.

    Args:
        design: Arms and contrasts.
        settings: Of generative mode; the arms change decoding, examples and baselines.
        run_dir: Holds the arms, and the report in a folder of the study's name.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used.
    """
    check_settings(settings)
    results: list[MethodResult] = []
    user_ids: list[str] = []
    for arm in design.arms:
        table = run_arm(
            arm, settings, folder=run_dir / ARMS_FOLDER, progress_factory=progress_factory
        )
        user_ids = table.frame["user_id"].to_list()
        results += table.results()
    return report_study(design, results, user_ids, settings=settings, run_dir=run_dir)


def report_study(
    design: Design,
    results: Sequence[MethodResult],
    user_ids: Sequence[str],
    *,
    settings: Settings,
    run_dir: Path,
) -> StudyReport:
    """Test a study's contrasts and write its report.

    Args:
        design: The contrasts; its arms are not read.
        results: Target ranks of every method and protocol; equal ones may occur again.
        user_ids: User of each query.
        settings: The settings of the study.
        run_dir: Holds the report in a folder of the study's name.

    Raises:
        StorageError: If a file cannot be written.
    """
    # Arms repeat what does not depend on the examples.
    found = list({(result.method, result.exclude_seen): result for result in results}.values())
    users, protocol = number_users(user_ids), settings.recommend.exclude_seen
    findings = findings_of(design.contrasts, found, users=users, exclude_seen=protocol)
    report = StudyReport(
        name=design.name,
        claim=design.claim,
        exclude_seen=protocol,
        verdicts=verdicts(findings),
        findings=findings,
        rows=summarize(found, users=users, seed=0),
        curves={
            name: {size: method.label for size, method in points.items()}
            for name, points in design.curves.items()
        },
        settings=settings.to_dict(),
        notes=[f"{describe_users(users).capitalize()}. Seed {settings.seed}."],
    )
    write_study(run_dir / design.name, report)
    return report


def findings_of(
    contrasts: Sequence[Contrast],
    results: Sequence[MethodResult],
    *,
    users: IntArray,
    exclude_seen: bool,
) -> list[Finding]:
    """Contrasts tested by one protocol, corrected for all of them.

    Args:
        contrasts: What is tested.
        results: Target ranks of every method and protocol.
        users: Number of each query's user, ``[q]``.
        exclude_seen: The protocol.
    """
    of_methods = of_protocol(results, exclude_seen=exclude_seen)
    ranks = {result.method: result.ranks for result in of_methods}
    return check_contrasts(contrasts, ranks, users=users, seed=0)


def check_settings(settings: Settings) -> None:
    """Refuse settings that a study cannot vary.

    Raises:
        SettingsError: If they are not of generative mode with beams.
    """
    if not settings.writes_texts or settings.decodes_states:
        raise SettingsError(
            "a study compares beams and latent decoding of one fine-tuned model: it needs "
            "mode: generative, with generative.decoding.method: beams."
        )
    if settings.generative.prompt.style == "auto":
        raise SettingsError(
            "generative.prompt.style is auto, by which beams and latent decoding would be trained "
            "on different prompts: set it to list, plain or chat."
        )
