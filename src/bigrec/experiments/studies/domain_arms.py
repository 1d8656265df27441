"""The arms of the study of domains: what a model was trained on, and how it ranks a domain."""

from collections.abc import Mapping, Sequence
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
from bigrec.recommender.fit_store import TEXT_STAGES
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.latent_query_encoder import LatentQueryEncoder
from bigrec.settings import Settings
from bigrec.settings.sections import SourceSettings
from bigrec.types import ProgressFactory, no_progress

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
        by_title: Whether latent decoding places items by their titles, as states of the first other
            domain predict them, and not at states of the tested domain's training examples.
    """

    trained_on: TrainedOn
    decoding: Decoding
    by_title: bool = False

    @property
    def words(self) -> str:
        """What it was trained on, and how its items are placed, in words."""
        return IN_WORDS[self.trained_on] + (", items by title" if self.by_title else "")

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


ZERO_SHOT = DomainArm("other", "latent", by_title=True)
"""Latent decoding that saw nothing of the tested domain but its titles."""

ARMS = (
    *(DomainArm("none", decoding) for decoding in ("latent", "beams")),
    ZERO_SHOT,
    *(
        DomainArm(trained_on, decoding)
        for trained_on in ("other", "own", "all")
        for decoding in ("latent", "beams")
    ),
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
    # The examples of a file are of the first domain.
    return [
        _tested_on(
            base,
            source,
            others=[other for other in sources if other is not source],
            test_file=data.test_file if source is first else None,
        )
        for source in sources
    ]


def method_id(domain: str, model: str, words: str = "") -> MethodId:
    """A method of the study: a model on the domain that it is tested on.

    Args:
        domain: The tested domain.
        model: The model.
        words: What a language model was trained on, of `DomainArm.words`.
    """
    return MethodId(f"{domain}: {model} [{words}]" if words else f"{domain}: {model}")


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
    stage = pipeline.evaluation_stage.folder
    path = stage / f"domains-{arm.words.replace(', ', '-').replace(' ', '-')}.parquet"
    if path.is_file():
        return QueryTable.load(path)
    table = _rank(arm, pipeline)
    table.save(path)
    return table


def _rank(arm: DomainArm, pipeline: Pipeline) -> QueryTable:
    fitting, dataset = pipeline.fitting.tested, pipeline.dataset
    queries, encoded = fitting.prepared.test_queries, fitting.encode("test")
    recommender = fitting.unfused
    if arm.by_title:
        recommender = _placed_by_title(pipeline)
        states = pipeline.tested_store.stage(TEXT_STAGES["test"]).folder
        encoded = recommender.encoder.encode(queries.histories, parts_folder=states)
    labels = {name: method_id(dataset.name, name) for name in arm.baselines}
    signals = {labels[name].label: fitting.baselines.fit(name) for name in arm.baselines}
    methods = [
        Method(method_id(dataset.name, method.model, arm.words), beams=beams)
        for beams, method in recommender.encoder.methods.items()
    ]
    methods += map(Method, labels.values())
    scored = recommender.score(encoded, queries, signals=signals)
    ranked = evaluate_methods({False: methods, True: methods}, scored)
    results = (method.result for method in ranked)
    return make_query_table(dataset.catalog, queries, encoded.texts, results)


def _placed_by_title(pipeline: Pipeline) -> FittedRecommender:
    """The recommender of an arm whose items are placed by states of the first other domain.

    Raises:
        TypeError: If the arm does not decode states alone.
    """
    settings, fitting = pipeline.settings, pipeline.fitting.tested
    other, *others = settings.data.extra_train_sources
    of_other = Pipeline(
        pipeline.folder,
        _tested_on(settings, other, others=others, test_file=None),
        progress_factory=pipeline.progress_factory,
        write_settings=False,
    )
    encoder, placed = fitting.encoder, of_other.fitting.tested.encoder
    if not isinstance(encoder, LatentQueryEncoder) or not isinstance(placed, LatentQueryEncoder):
        raise TypeError(f"items are placed by {type(encoder).__name__}; expected latent decoding.")
    titles = pipeline.dataset.catalog.titles
    grounded = placed.grounded.with_titles(titles, embed=fitting.baselines.embed)
    return FittedRecommender(
        settings,
        encoder.grounded_by(grounded),
        catalog=pipeline.dataset.catalog,
        counts=fitting.prepared.counts,
        item_type=pipeline.dataset.item_type,
        title_encoder=fitting.title_encoder,
    )


def _tested_on(
    base: Settings,
    source: SourceSettings,
    *,
    others: Sequence[SourceSettings],
    test_file: str | None,
) -> Settings:
    """The settings with a source as the data that is tested, and others that are trained on too."""
    values = {
        **source.model_dump(),
        "extra_train_sources": tuple(others),
        "train_sources": "all",
        "test_file": test_file,
    }
    return base.model_copy(update={"data": base.data.model_copy(update=values)})
