"""Options that commands share, and what becomes of their errors."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from bigrec import console
from bigrec.errors import BigrecError
from bigrec.settings import preset_names
from bigrec.storage import interrupts

RunDirOption = Annotated[
    Path,
    typer.Option("--run-dir", "-r", help="Holds all stages; those that are complete are reused."),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        help="A YAML file or a preset (" + ", ".join(preset_names()) + "). "
        "By default the settings of the run directory's last command.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change one value, as in --set generative.finetune.epochs=3. May be given many times.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", "-d", help="Short for --set data.source=…: a folder, a file or ml-100k."
    ),
]
ItemsOption = Annotated[
    str | None, typer.Option("--items", help="Short for --set data.items=…: the file of titles.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Short for --set model.base=…: hub id, folder, .gguf or short name."
    ),
]
BundleArgument = Annotated[
    Path, typer.Argument(help="The folder that evaluate or save() wrote.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

_P = ParamSpec("_P")

DEFAULT_RUN_DIR = Path("runs/default")


def guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """Tell our errors in one message, without a traceback; what was done stays."""

    @functools.wraps(command)
    def guarded_command(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            interrupts.check()
        except BaseException as error:
            # A library may have turned Ctrl-C into an error.
            if interrupts.requested() or isinstance(error, KeyboardInterrupt):
                console.tell_stopped()
                raise typer.Exit(interrupts.EXIT_CODE) from None
            if not isinstance(error, BigrecError | ValueError) or os.environ.get(
                "BIGREC_TRACEBACK"
            ):
                raise
            console.tell_error(error)
            raise typer.Exit(2) from None

    return guarded_command
