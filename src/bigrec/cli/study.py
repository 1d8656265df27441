"""The command that runs a claim of the paper as a study."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bigrec.cli.options import (
    ConfigOption,
    DataOption,
    ItemsOption,
    JsonOption,
    ModelOption,
    RunDirOption,
    SetOption,
    guarded,
    overrides_of,
    show,
)
from bigrec.console import Shown, steps, studies
from bigrec.settings import Settings
from bigrec.storage.locks import exclusive

if TYPE_CHECKING:
    from bigrec.experiments.studies.report import StudyReport

_PRESETS = {"small": "study-small", "paper": "paper"}
_ABLATION = "ablation"
_DOMAINS = "domains"
# Of retrieval mode, whose defaults are meant for all data.
_ABLATION_PRESETS = {"small": "demo", "paper": None}


@guarded
def study(
    name: Annotated[
        str,
        typer.Argument(
            help="ranking, few-shot, samples, fusion, selection, domains or ablation.",
            show_default=False,
        ),
    ],
    preset: Annotated[
        Literal["small", "paper"],
        typer.Option(
            help="small: the first layers of a small model, on two cores. paper: the paper's "
            "settings, for a 7B model on GPUs."
        ),
    ] = "small",
    run_dir: RunDirOption = Path("runs/studies"),
    config: ConfigOption = None,
    change: SetOption = None,
    data: DataOption = None,
    items: ItemsOption = None,
    model: ModelOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Build every prompt, batch and step count without the weights."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a claim of the paper as a study that ends in a verdict.

    Arms are shared by the studies of a run directory. Ctrl-C keeps what is done; the same command
    goes on. The study domains tests the data and each of data.extra_train_sources, by default the
    data that ships with bigrec. The study ablation asks what the language model is worth in
    retrieval mode.

    Example: bigrec study few-shot --run-dir runs/studies
    """
    presets = _ABLATION_PRESETS if name == _ABLATION else _PRESETS
    overrides = overrides_of(data=data, items=items, model=model, change=change)
    settings = Settings.read(config or presets[preset], overrides)
    with exclusive(run_dir):
        if name == _ABLATION:
            show(as_json, _ablation(settings, run_dir, dry_run=dry_run))
        elif name == _DOMAINS:
            show(as_json, _domains(settings, run_dir, dry_run=dry_run))
        else:
            show(as_json, _claim(name, preset, settings, run_dir, dry_run=dry_run))


def _claim(name: str, preset: str, settings: Settings, run_dir: Path, *, dry_run: bool) -> Shown:
    """A study of the paper's claims, or what it would do."""
    from bigrec.experiments.studies.designs import SIZES, make_design  # noqa: PLC0415 - torch

    design = make_design(name, few=settings.data.max_train_examples, sizes=SIZES[preset])
    if dry_run:
        from bigrec.experiments.studies.dry_run import plan_study  # noqa: PLC0415

        return studies.plan(name, plan_study(design, settings, run_dir=run_dir))
    from bigrec.experiments.studies.study import run_study  # noqa: PLC0415

    return _run(partial(run_study, design, settings, run_dir=run_dir), run_dir / name)


def _domains(settings: Settings, run_dir: Path, *, dry_run: bool) -> Shown:
    """The study of several domains, or what it would do."""
    from bigrec.experiments.studies.domains import (  # noqa: PLC0415 - torch
        plan_domains,
        run_domains,
    )

    if dry_run:
        return studies.domains_plan(plan_domains(settings, run_dir=run_dir))
    return _run(partial(run_domains, settings, run_dir=run_dir), run_dir / _DOMAINS)


def _ablation(settings: Settings, run_dir: Path, *, dry_run: bool) -> Shown:
    """The study of retrieval mode, or what it would do."""
    from bigrec.experiments.studies.ablation import (  # noqa: PLC0415 - torch
        plan_ablation,
        run_ablation,
    )

    if dry_run:
        return studies.ablation_plan(plan_ablation(settings, run_dir=run_dir))
    return _run(partial(run_ablation, settings, run_dir=run_dir), run_dir / _ABLATION)


def _run(study_of: Callable[..., "StudyReport"], folder: Path) -> Shown:
    """Run a study, which shows its progress, and show its report."""
    with steps.progress() as progress_factory:
        report = study_of(progress_factory=progress_factory)
    return studies.study(report, folder)
