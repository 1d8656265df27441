"""The arms of the study of domains: what a model was trained on, and how it ranks a domain."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bigrec.errors import SettingsError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.query_table import QueryTable
from bigrec.experiments.evaluate import make_query_table
from bigrec.experiments.methods import Method, evaluate_methods
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.studies.arms import Decoding, decoded_by
from bigrec.models.registry import GAUSSIAN, POPULARITY, TEXT_KNN, TF_IDF
from bigrec.recommender.fitting import no_progress
from bigrec.settings import Settings
from bigrec.settings.sections import SourceSettings
from bigrec.types import ProgressFactory

TrainedOn = Literal["none", "other", "own", "all"]
"""Domains that a model was trained on, from that which is tested."""

IN_WORDS: Mapping[TrainedOn, str] = {
    "none": "untrained",
    "other": "other domains",
    "own": "own domain",
    "all": "all domains",
}
BASELINES = (POPULARITY, TF_IDF, TEXT_KNN, GAUSSIAN)
"""Models of the tested domain; all but the text models know all of its training interactions."""

_SAMPLE = SourceSettings(source="sample")


@dataclass(frozen=True)
class DomainArm:
    """A model that is tested on a domain.

    Attributes:
        trained_on: What it was trained on, as many examples from each domain.
        decoding: How it ranks.
    """

    trained_on: TrainedOn
    decoding: Decoding

    @property
    def baselines(self) -> tuple[str, ...]:
        """Models that are ranked beside it; the last arm of a domain has them."""
        return BASELINES if self == ARMS[-1] else ()

    def settings(self, tested: Settings) -> Settings:
        """The settings of the arm.

        Args:
            tested: One of `domain_settings`.
        """
        data, generative = tested.data, decoded_by(self.decoding, tested.generative)
        if self.trained_on == "other":
            data = data.model_copy(update={"train_sources": "extra"})
        elif self.trained_on != "all":
            data = data.model_copy(update={"extra_train_sources": ()})
        if self.trained_on == "none":
            finetune = generative.finetune.model_copy(update={"epochs": 0})
            generative = generative.model_copy(update={"finetune": finetune})
        changed = tested.model_copy(update={"data": data, "generative": generative})
        return Settings.checked(changed.to_dict())


ARMS = tuple(
    DomainArm(trained_on, decoding) for trained_on in IN_WORDS for decoding in ("latent", "beams")
)
"""The arms of each domain."""


def domain_settings(base: Settings) -> list[Settings]:
    """The settings with each domain as that which is tested, the others as further sources.

    Args:
        base: Those of the study. Without ``data.extra_train_sources`` the second domain is the
            data that ships with bigrec.

    Raises:
        SettingsError: If a domain is named twice.
    """
    data = base.data
    first = SourceSettings.model_validate(data.model_dump(include={*SourceSettings.model_fields}))
    sources = [first, *(data.extra_train_sources or [_SAMPLE])]
    places = [source.source for source in sources]
    if len(set(places)) < len(places):
        raise SettingsError(
            f"the domains are {', '.join(places)}: expected different ones. Name the others in "
            "data.extra_train_sources."
        )
    tested = []
    for source in sources:
        others = tuple(other for other in sources if other is not source)
        values = {**source.model_dump(), "extra_train_sources": others, "train_sources": "all"}
        if source is not first:
            # These examples are of the first domain.
            values["test_file"] = None
        tested.append(base.model_copy(update={"data": data.model_copy(update=values)}))
    return tested


def method_id(domain: str, model: str, trained_on: TrainedOn | None = None) -> MethodId:
    """A method of the study: a model on the domain that it is tested on.

    Args:
        domain: The tested domain.
        model: The model.
        trained_on: Of a language model, what it was trained on.
    """
    return MethodId(
        f"{domain}: {model}"
        if trained_on is None
        else f"{domain}: {model} [{IN_WORDS[trained_on]}]"
    )


def rank_arm(
    arm: DomainArm,
    tested: Settings,
    *,
    folder: Path,
    progress_factory: ProgressFactory = no_progress,
) -> QueryTable:
    """Target ranks of an arm's model and baselines on a domain; a complete arm is read, not run.

    Args:
        arm: The arm.
        tested: One of `domain_settings`.
        folder: The workspace of all arms.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used.
    """
    pipeline = Pipeline(
        folder, arm.settings(tested), progress_factory=progress_factory, write_settings=False
    )
    path = pipeline.evaluation_stage.folder / f"domains-{arm.trained_on}.parquet"
    if path.is_file():
        return QueryTable.load(path)
    fitting, dataset = pipeline.fitting.tested, pipeline.dataset
    queries, encoded = fitting.prepared.test_queries, fitting.encode("test")
    labels = {name: method_id(dataset.name, name) for name in arm.baselines}
    signals = {labels[name].label: fitting.baselines.fit(name) for name in arm.baselines}
    methods = [
        Method(method_id(dataset.name, method.model, arm.trained_on), beams=beams)
        for beams, method in fitting.encoder.methods.items()
    ]
    methods += map(Method, labels.values())
    scored = fitting.unfused.score(encoded, queries, signals=signals)
    table = make_query_table(dataset.catalog, queries, encoded.texts)
    for ranked in evaluate_methods({False: methods, True: methods}, scored):
        table = table.with_ranks(ranked.result)
    table.save(path)
    return table
