"""The command that runs a claim of the paper as a study."""

from pathlib import Path
from typing import Annotated, Literal

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
from bigrec.console import steps, studies
from bigrec.settings import Settings
from bigrec.storage.locks import exclusive

_PRESETS = {"small": "study-small", "paper": "paper"}


@guarded
def study(
    name: Annotated[
        str, typer.Argument(help="ranking, few-shot, samples or fusion.", show_default=False)
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
    goes on.

    Example: bigrec study few-shot --run-dir runs/studies
    """
    from bigrec.experiments.studies.designs import SIZES, make_design  # noqa: PLC0415 - torch

    overrides = overrides_of(data=data, items=items, model=model, change=change)
    settings = Settings.read(config or _PRESETS[preset], overrides)
    design = make_design(name, few=settings.data.max_train_examples, sizes=SIZES[preset])
    with exclusive(run_dir):
        if dry_run:
            from bigrec.experiments.studies.dry_run import plan_study  # noqa: PLC0415

            show(as_json, studies.plan(name, plan_study(design, settings, run_dir=run_dir)))
            return
        from bigrec.experiments.studies.study import run_study  # noqa: PLC0415

        with steps.progress() as progress_factory:
            report = run_study(design, settings, run_dir=run_dir, progress_factory=progress_factory)
        show(as_json, studies.study(report, run_dir / name))
