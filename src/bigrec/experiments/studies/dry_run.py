"""What a study would train, built from data and tokenizer, without the weights."""

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from bigrec.evaluation.reports.table import Cell, Table
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.studies.arms import SELECTIONS, Decoding
from bigrec.experiments.studies.designs import Design
from bigrec.experiments.studies.study import ARMS_FOLDER, check_settings
from bigrec.lm.batches import tokenize_examples
from bigrec.lm.finetune import training_steps
from bigrec.lm.model import load_tokenizer
from bigrec.recommender.factory import make_renderer
from bigrec.settings import Settings
from bigrec.settings.sections import SelectionMethod


@dataclass(frozen=True, slots=True)
class PlannedArm:
    """What an arm would do.

    Attributes:
        decoding: How the model ranks.
        selection: How its examples are chosen.
        examples: Training examples.
        tokens: Tokens of these in one epoch.
        longest: Tokens of the longest.
        batches: Forward passes of one epoch.
        steps: Optimizer steps of all epochs.
        queries: Validation and test histories that are encoded.
    """

    decoding: Decoding
    selection: SelectionMethod
    examples: int
    tokens: int
    longest: int
    batches: int
    steps: int
    queries: int


def plan_study(design: Design, settings: Settings, *, run_dir: Path) -> list[PlannedArm]:
    """Build every prompt and batch of a study's arms; only data and tokenizer are read.

    Args:
        design: The arms.
        settings: Of generative mode. The base model gives the tokenizer.
        run_dir: Keeps the prepared data.

    Raises:
        BigrecError: If the data, the settings or the tokenizer cannot be used.
    """
    check_settings(settings)
    return [
        plan_arm(arm.decoding, arm.settings(settings), folder=run_dir / ARMS_FOLDER)
        for arm in design.arms
    ]


def plan_arm(decoding: Decoding, settings: Settings, *, folder: Path) -> PlannedArm:
    """Build every prompt and batch of one arm.

    Args:
        decoding: How the model ranks.
        settings: Those of the arm.
        folder: Keeps the prepared data.

    Raises:
        BigrecError: If the data, the settings or the tokenizer cannot be used.
    """
    prepared = Pipeline(folder, _without_effort(settings), write_settings=False).prepared
    finetune, tokenizer = settings.generative.finetune, load_tokenizer(settings.model.base)
    tokenized = tokenize_examples(
        make_renderer(tokenizer, settings), prepared.train, loss=finetune.loss
    )
    lengths = [len(example["input_ids"]) for example in tokenized]
    return PlannedArm(
        decoding=decoding,
        selection=settings.data.example_selection.method,
        examples=len(lengths),
        tokens=sum(lengths),
        longest=max(lengths),
        batches=math.ceil(len(lengths) / finetune.per_device_batch_size),
        steps=training_steps(len(lengths), finetune) if finetune.epochs else 0,
        queries=len(prepared.valid_queries) + len(prepared.test_queries),
    )


def _without_effort(settings: Settings) -> Settings:
    """Settings that choose as many examples without the weights."""
    selection = settings.data.example_selection
    if selection.method != "influence_effort":
        return settings
    chosen = selection.model_copy(update={"method": "influence"})
    data = settings.data.model_copy(update={"example_selection": chosen})
    return settings.model_copy(update={"data": data})


def plan_table(name: str, planned: list[PlannedArm]) -> Table:
    """The arms of a study as a table."""
    heads = ("Arm", "Examples", "Tokens", "Longest", "Batches", "Steps", "Queries")
    note = (
        "Tokens and batches of one epoch, steps of all epochs unless training stops early. Arms "
        "with the same examples share their training. Examples chosen by effort, which needs the "
        "weights, are counted as those chosen by influence alone."
    )
    rows = [(f"{arm.decoding}, {SELECTIONS[arm.selection]}", *astuple(arm)[2:]) for arm in planned]
    return counts_table(f"Arms of study {name}", heads, rows, note)


def counts_table(
    title: str, heads: tuple[str, ...], planned: Iterable[tuple[Any, ...]], note: str
) -> Table:
    """A table of what is planned: in each row a name, then counts."""
    rows = tuple(
        (Cell(name), *(Cell(f"{count:,}") for count in counts)) for name, *counts in planned
    )
    return Table(title, heads, rows, note)
