"""The arms of a study: comparisons of one workspace, whose stages they share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.query_table import QueryTable
from bigrec.experiments.compare import compare_pipeline
from bigrec.experiments.evaluate import make_query_table
from bigrec.experiments.methods import recommender_ids
from bigrec.experiments.pipeline import Pipeline
from bigrec.settings import Settings
from bigrec.settings.generative import DecodingSettings, GenerativeSettings, LatentSettings
from bigrec.settings.sections import SelectionMethod
from bigrec.types import ProgressFactory, no_progress

Decoding = Literal["beams", "latent"]

SELECTIONS: Mapping[SelectionMethod, str] = {
    "random": "random",
    "influence": "influence",
    "influence_effort": "influence + effort",
}
"""How examples can be chosen, in words."""


@dataclass(frozen=True)
class Arm:
    """One comparison of a study.

    Attributes:
        decoding: How the fine-tuned model ranks. Arms of both kinds share its checkpoint.
        examples: Training examples; None for all.
        baselines: Models that are compared, on all data and on the examples.
        fusions: Signals that are fused into the distances; some of the baselines.
        selection: How the examples are chosen; None as the study's settings say.
    """

    decoding: Decoding
    examples: int | None
    baselines: tuple[str, ...] = ()
    fusions: tuple[str, ...] = ()
    selection: SelectionMethod | None = None

    @property
    def budget(self) -> str:
        """The number of training examples in words, and how the arm chooses them."""
        count = "all" if self.examples is None else f"{self.examples:,}"
        return count if self.selection is None else f"{count}, {SELECTIONS[self.selection]}"

    def settings(self, base: Settings) -> Settings:
        """The settings of the arm: those of the study with the arm's values."""
        generative = decoded_by(self.decoding, base.generative)
        compare = base.compare.model_copy(
            update={"baselines": self.baselines, "fusions": self.fusions, "reference": "auto"}
        )
        selection = base.data.example_selection
        if self.selection is not None:
            selection = selection.model_copy(update={"method": self.selection})
        data = base.data.model_copy(
            update={"max_train_examples": self.examples, "example_selection": selection}
        )
        changed = base.model_copy(
            update={"generative": generative, "compare": compare, "data": data}
        )
        return Settings.checked(changed.to_dict())


def decoded_by(decoding: Decoding, generative: GenerativeSettings) -> GenerativeSettings:
    """Settings of beams, or of latent decoding in their place.

    Latent decoding takes the states of the training examples alone, so that both decodings know
    items from the same examples.
    """
    if decoding == "beams":
        return generative
    latent = {
        "decoding": DecodingSettings(method="latent"),
        "latent": LatentSettings(train_on="examples"),
    }
    return generative.model_copy(update=latent)


def run_arm(
    arm: Arm, base: Settings, *, folder: Path, progress_factory: ProgressFactory = no_progress
) -> QueryTable:
    """Target ranks of every method of an arm; a complete arm is read, not run.

    Methods that depend on the number of training examples have it in their name.

    Args:
        arm: The arm.
        base: The settings of the study.
        folder: The workspace of all arms.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used.
    """
    settings = arm.settings(base)
    pipeline = Pipeline(folder, settings, progress_factory=progress_factory, write_settings=False)
    # An arm that chooses its examples names its methods by it.
    named = "" if arm.selection is None else f"-{arm.selection}"
    file = f"study-{settings.compare.fingerprint()[:8]}{named}.parquet"
    path = pipeline.evaluation_stage.folder / file
    if path.is_file():
        return QueryTable.load(path)
    results = compare_pipeline(pipeline).results
    tested = pipeline.fitting.tested
    own = {method.model for method in recommender_ids(settings)}
    table = make_query_table(
        pipeline.dataset.catalog,
        tested.prepared.test_queries,
        tested.encode("test").texts,
        [_with_budget(result, arm, own) for result in results],
    )
    table.save(path)
    return table


def budgeted(model: str, arm: Arm) -> str:
    """Name of a model that was trained on the examples of an arm."""
    return f"{model} [{arm.budget}]"


def _with_budget(result: MethodResult, arm: Arm, own: set[str]) -> MethodResult:
    method = result.method
    if method.training_data == "few-shot" or method.model in own:
        named = replace(method, model=budgeted(method.model, arm), training_data="all")
        return replace(result, method=named)
    return result
