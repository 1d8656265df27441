"""The ``bigrec`` command: parses, calls, prints. What it calls is the library."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigrec import __version__, console
from bigrec.cli import answers, serve
from bigrec.cli.doctor import doctor
from bigrec.cli.options import (
    DEFAULT_RUN_DIR,
    BundleArgument,
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
from bigrec.cli.study import study
from bigrec.console import demonstration, steps
from bigrec.recommender.bundle import MANIFEST, read_manifest
from bigrec.recommender.signing import generate_keys, sign_manifest
from bigrec.settings import Settings
from bigrec.storage.locks import exclusive
from bigrec.types import ProgressFactory

if TYPE_CHECKING:
    from bigrec.experiments.pipeline import Pipeline

app = typer.Typer(
    name="bigrec",
    help="Make a language model recommend real items: train it on histories and ground its output "
    "to the items of a catalog.",
    epilog="Start with: bigrec demo. Every command runs the stages before it that are missing, so "
    "`bigrec evaluate` alone prepares, trains, indexes and evaluates.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

bundle_app = typer.Typer(
    help="Sign bundles and check their signatures.", no_args_is_help=True, add_completion=False
)
app.add_typer(bundle_app, name="bundle")
app.add_typer(serve.app, name="serve")
app.command()(doctor)
app.command()(study)
for name, command in answers.COMMANDS.items():
    app.command(name)(command)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


_Step = Callable[[Path, Settings, ProgressFactory], console.Shown]
"""Part of a command: from the run directory and the settings to what is shown."""


def _add_stage(name: str, result: "Callable[[Pipeline], console.Shown]", *, about: str) -> None:
    """Add a command that runs the stages up to one."""

    def step(run_dir: Path, settings: Settings, factory: ProgressFactory) -> console.Shown:
        return result(_pipeline(run_dir, settings, factory))

    _add_steps(name, [step], about=about)


def _add_steps(
    name: str,
    parts: Sequence[_Step],
    *,
    about: str,
    run_dir: Path = DEFAULT_RUN_DIR,
    config: str | None = None,
) -> None:
    """Add a command that shows each step when it is done; they all take the same options."""

    def command(
        run_dir: RunDirOption = run_dir,
        config: ConfigOption = config,
        change: SetOption = None,
        data: DataOption = None,
        items: ItemsOption = None,
        model: ModelOption = None,
        as_json: JsonOption = False,
    ) -> None:
        overrides = overrides_of(data=data, items=items, model=model, change=change)
        settings = _settings(run_dir, config, overrides)
        with exclusive(run_dir):
            done: list[console.Shown] = []
            for step in parts:
                with steps.progress() as progress_factory:
                    done.append(step(run_dir, settings, progress_factory))
                if not as_json:
                    show(as_json, done[-1])
            if as_json:
                values = {key: value for shown in done for key, value in shown.values.items()}
                show(as_json, console.Shown("", values))

    app.command(name, help=about)(guarded(command))


def _settings(run_dir: Path, config: str | None, overrides: list[str]) -> Settings:
    """The settings of a command: without a file, those of the run directory's last one."""
    last = run_dir / "settings.yaml"
    if config is None and last.is_file():
        return Settings.read(previous=last, overrides=overrides)
    return Settings.read(config, overrides)


def _compare(pipeline: "Pipeline") -> console.Shown:
    from bigrec.experiments.compare import compare_pipeline  # noqa: PLC0415 - torch, seconds

    report = compare_pipeline(pipeline).report
    return console.comparison(report, pipeline.comparison_file)


_add_stage(
    "prepare",
    console.preparation,
    about="Read the data, repair it, split it and draw the examples.",
)
_add_stage(
    "audit",
    lambda pipeline: console.audit(pipeline.audit()),
    about="Report what is wrong with the data and how it was repaired.",
)
_add_stage(
    "train",
    lambda pipeline: (console.grid if pipeline.settings.mode == "text" else console.training)(
        pipeline.training_stage.folder, pipeline.train()
    ),
    about="Train the mode's model. Ctrl-C saves; the same command resumes.\n\n"
    "With several GPUs or processes: accelerate launch -m bigrec train …",
)
_add_stage(
    "index",
    lambda pipeline: console.index(pipeline.index_folder, pipeline.fitting.encoder.ranker.index),
    about="Embed the catalog. Only titles that are new since the last time cost anything.",
)
_add_stage(
    "evaluate",
    lambda pipeline: console.evaluation(pipeline.evaluate(), pipeline),
    about="Rank the whole catalog for every test example; write the report and the bundle.",
)
_add_stage(
    "compare",
    _compare,
    about="Compare with popularity, co-occurrence, EASE, SASRec, GRU4Rec and Caser, each trained "
    "on all data and on the few shots, by themselves and fused, on the same queries. Everything is "
    "selected on validation.",
)


def _demonstrate_text(
    run_dir: Path, settings: Settings, progress_factory: ProgressFactory
) -> console.Shown:
    from bigrec.experiments.demo import text_pipeline  # noqa: PLC0415 - torch, seconds

    text = text_pipeline(run_dir, settings, progress_factory=progress_factory)
    return demonstration.text_demonstration(text)


def _demonstrate_trained(
    run_dir: Path, settings: Settings, progress_factory: ProgressFactory
) -> console.Shown:
    from bigrec.experiments.demo import gains_over_text, text_pipeline  # noqa: PLC0415

    trained = _pipeline(run_dir, settings, progress_factory)
    trained.evaluate()
    return demonstration.demonstration(
        trained, gains_over_text(text_pipeline(run_dir, settings), trained)
    )


def _demonstrate_generative(
    run_dir: Path, settings: Settings, progress_factory: ProgressFactory
) -> console.Shown:
    from bigrec.experiments.demo import (  # noqa: PLC0415
        generative_pipelines,
        side_by_side,
        text_pipeline,
    )

    shown = [text_pipeline(run_dir, settings)]
    written = [_pipeline(run_dir, settings, progress_factory)]
    if settings.mode != "generative":
        shown += written
        written = [*generative_pipelines(run_dir, settings, progress_factory=progress_factory)]
    reports = [pipeline.evaluate() for pipeline in written]
    rows, queries = side_by_side([*shown, *written])
    return demonstration.generative_demonstration(reports[0].examples[0], rows, queries=queries)


_add_steps(
    "demo",
    [_demonstrate_text, _demonstrate_trained, _demonstrate_generative],
    about="All of bigrec on MovieLens-100K: text mode in a minute, then the language model of the "
    "settings' mode and what that adds, then the paper's method and all of them side by side.",
    run_dir=Path("runs/demo"),
    config="demo",
)


@app.command()
@guarded
def tune(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Such as EASE, or 'LLM retrieval'.")],
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    config: ConfigOption = None,
    change: SetOption = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting of the model to search, in place of the default space: NAME=LOW..HIGH, "
            "NAME=LOW..HIGH:log or NAME=\\[A, B]. May be given many times."
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(help="Trials at the end, those of earlier calls included.")
    ] = 30,
    minutes: Annotated[
        float | None, typer.Option(help="No trial is started after so many minutes.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search a model's hyperparameters on validation with Optuna; write the best settings.

    Ctrl-C keeps what is done; the same command goes on.

    Example: bigrec tune EASE --search baselines.ease.regularization=50..5000:log
    """
    from bigrec.experiments.tune import tune as run  # noqa: PLC0415 - torch, seconds

    settings = _settings(run_dir, config, change or [])
    with exclusive(run_dir), steps.progress() as progress_factory:
        pipeline = _pipeline(run_dir, settings, progress_factory)
        result = run(pipeline, name, n_trials=trials, searched=search or (), minutes=minutes)
    show(as_json, console.tuning(result))


@bundle_app.command()
@guarded
def keygen(
    key: Annotated[
        Path, typer.Argument(help="The private key's file to write.", show_default=False)
    ],
) -> None:
    """Make a pair of Ed25519 keys: KEY to sign with, KEY.pub to give to others."""
    console.tell(f"{key} signs: keep it secret. {generate_keys(key)} verifies: give it to others.")


@bundle_app.command()
@guarded
def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option("--key", help="A private Ed25519 key, PEM or OpenSSH.")],
) -> None:
    """Sign a bundle, so that others can tell that it is yours and as you made it."""
    read_manifest(bundle)
    console.tell(f"{bundle} is signed: {sign_manifest(bundle / MANIFEST, key)}")


@bundle_app.command()
@guarded
def verify(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option("--key", help="A public Ed25519 key, PEM or OpenSSH.")],
) -> None:
    """Check that a bundle is undamaged and was signed with the private key of a public one."""
    manifest = read_manifest(bundle, verify_key=key)
    files = f"its {len(manifest.files)} files are sound"
    console.tell(f"{bundle} is signed with this key, and {files}.")


@app.command()
@guarded
def info(
    folder: Annotated[
        Path, typer.Argument(help="A run directory or a bundle.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Show the contents of a run directory or a bundle."""
    show(as_json, console.folder_info(folder))


@app.command()
@guarded
def config(as_json: JsonOption = False) -> None:
    """Show every setting, its default and its effect."""
    show(as_json, console.settings_help())


def _pipeline(run_dir: Path, settings: Settings, progress_factory: ProgressFactory) -> "Pipeline":
    from bigrec.experiments.pipeline import Pipeline  # noqa: PLC0415 - torch, seconds

    return Pipeline(run_dir, settings, progress_factory=progress_factory)


def main() -> None:
    """Run the command."""
    sys.excepthook = console.tell_traceback
    app()
