"""What the language model is worth in retrieval mode: variants without its parts, and verdicts."""

import math
from dataclasses import astuple, dataclass
from pathlib import Path

from bigrec.errors import SettingsError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.query_table import QueryTable
from bigrec.evaluation.reports.table import Table
from bigrec.experiments.evaluate import make_query_table
from bigrec.experiments.fusions import SelectedFusion, fused_ids
from bigrec.experiments.methods import Method, evaluate_methods, model_methods
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.studies.designs import Design, above
from bigrec.experiments.studies.dry_run import counts_table
from bigrec.experiments.studies.report import StudyReport
from bigrec.experiments.studies.study import ARMS_FOLDER, report_study
from bigrec.experiments.studies.variants import PRETRAINED, VARIANTS, Variant, make_variant
from bigrec.models.base import training_rows
from bigrec.models.llm import LLMRetriever
from bigrec.models.llm.arguments import targets_per_step
from bigrec.models.registry import COOCCURRENCE, GAUSSIAN, TEXT_KNN
from bigrec.models.text.vectors import TitleEmbedder
from bigrec.recommender.factory import load_truncated_model
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.query_encoders import RetrievalQueryEncoder
from bigrec.recommender.title_index import kept_index
from bigrec.settings import Settings
from bigrec.types import ProgressFactory, no_progress

ABLATION = "ablation"
"""Name of the study."""

# In closed form and at home in a catalog of any size.
_SIGNALS = tuple(MethodId(name) for name in (COOCCURRENCE, TEXT_KNN, GAUSSIAN))
_CLAIM = "In retrieval mode, what the language model knows from its pretraining earns its cost."
# What the variant with nothing replaced is expected to be above, by the variant that lacks it.
_QUESTIONS = {
    "untrained": "Training improves it.",
    "random encoder": "Pretrained weights encode histories better than random ones.",
    "random weights": "Pretrained weights are better than random ones, title features included.",
    "TF-IDF features": "The model's title features are better than TF-IDF.",
    "noise features": "The model's title features are better than noise.",
}


def make_ablation() -> Design:
    """The questions of the study."""
    own = MethodId(PRETRAINED.label)
    without = {variant.name: MethodId(variant.label) for variant in VARIANTS}
    contrasts = [above(question, own, without[name]) for name, question in _QUESTIONS.items()]
    alone, *_, fused = fused_ids(PRETRAINED.label, _SIGNALS)
    question = "It adds to signals in closed form."
    contrasts.append(above(question, fused, alone))
    question = "It adds more to signals in closed form than the same without its knowledge."
    for name in ("random weights", "noise features"):
        other = fused_ids(without[name].model, _SIGNALS)[-1]
        contrasts.append(above(question, fused, other))
    return Design(ABLATION, _CLAIM, (), contrasts, {})


def run_ablation(
    settings: Settings, *, run_dir: Path, progress_factory: ProgressFactory = no_progress
) -> StudyReport:
    """Run the ablation; complete variants of this run directory are read.

    Args:
        settings: Of retrieval mode.
        run_dir: Holds the variants, and the report in a folder of the study's name.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used.
    """
    pipeline = _pipeline(settings, run_dir, progress_factory)
    tables = [_run_variant(variant, pipeline) for variant in VARIANTS]
    results = [result for table in tables for result in table.results()]
    users = tables[0].frame["user_id"].to_list()
    return report_study(make_ablation(), results, users, settings=settings, run_dir=run_dir)


def _run_variant(variant: Variant, pipeline: Pipeline) -> QueryTable:
    """Target ranks of a variant, alone and with signals; a complete one is read."""
    path = pipeline.evaluation_stage.folder / f"ablation-{_folder_name(variant)}.parquet"
    if path.is_file():
        return QueryTable.load(path)
    fitting, prepared, dataset = pipeline.fitting, pipeline.prepared, pipeline.dataset
    encoder = RetrievalQueryEncoder(
        _fit_variant(variant, pipeline),
        catalog=dataset.catalog,
        counts=prepared.counts,
        max_history_length=pipeline.settings.data.max_history_length,
    )
    recommender = FittedRecommender(
        pipeline.settings,
        encoder,
        catalog=dataset.catalog,
        counts=prepared.counts,
        item_type=dataset.item_type,
        title_encoder=fitting.title_encoder,
    )
    signals = {signal.label: fitting.baselines.fit(signal.label) for signal in _SIGNALS}
    valid, test = (
        recommender.score(encoder.encode(queries.histories), queries, signals=signals)
        for queries in (prepared.valid_queries, prepared.test_queries)
    )
    mixes = pipeline.settings.fusion.mixes_cold_items
    methods: dict[bool, list[Method]] = {}
    for exclude_seen in (False, True):
        fusion = SelectedFusion.select(
            valid, variant.label, _SIGNALS, exclude_seen=exclude_seen, mixes_cold_items=mixes
        )
        methods[exclude_seen] = [
            *model_methods({"top1": MethodId(variant.label)}),
            *map(Method, _SIGNALS),
            *(method for method in fusion.methods if method.id.fusion == "tuned"),
        ]
    results = (method.result for method in evaluate_methods(methods, test))
    table = make_query_table(dataset.catalog, prepared.test_queries, [[]] * len(test), results)
    table.save(path)
    return table


def _fit_variant(variant: Variant, pipeline: Pipeline) -> LLMRetriever:
    settings, catalog = pipeline.settings, pipeline.dataset.catalog
    lm, of_texts = make_variant(
        variant, load_truncated_model(settings, "retrieval"), catalog.texts, seed=settings.seed
    )
    features = TitleEmbedder(of_texts, catalog)
    # The variant with nothing replaced is what retrieval mode trains, and so are its features.
    stage = pipeline.stage("retrieval").folder
    place = stage if variant.features == "pretrained" else stage / variant.features
    label = variant.label
    index = kept_index(
        place,
        catalog.unique_titles,
        features,
        progress=pipeline.progress_factory(f"Features of {label}"),
    )
    return LLMRetriever.fit(
        lm,
        index,
        pipeline.fitting.retriever_data(),
        settings.retrieval,
        title_ids=pipeline.dataset.catalog.title_ids,
        seed=settings.seed,
        text_features=features,
        stop_after=None if variant.trained else 0,
        folder=stage / ("all" if variant == PRETRAINED else _folder_name(variant)),
        progress=pipeline.progress_factory(f"Training {label}"),
    )


@dataclass(frozen=True, slots=True)
class PlannedVariant:
    """What a variant would do.

    Attributes:
        name: The variant.
        targets: Training targets of one epoch.
        steps: Optimizer steps of one epoch, about.
        epochs: Passes over the targets, unless training stops early.
        titles: Titles whose features are made.
        queries: Validation and test histories that are encoded.
    """

    name: str
    targets: int
    steps: int
    epochs: int
    titles: int
    queries: int


def plan_ablation(settings: Settings, *, run_dir: Path) -> list[PlannedVariant]:
    """Count what the variants would do; only data is read.

    Raises:
        BigrecError: If the data or the settings cannot be used.
    """
    pipeline = _pipeline(settings, run_dir, no_progress)
    prepared, catalog = pipeline.prepared, pipeline.dataset.catalog
    data = pipeline.fitting.retriever_data()
    users, items = training_rows(data.interactions, data.train, n_items=catalog.n_items)
    targets = int((users[1:] == users[:-1]).sum())
    steps = math.ceil(targets / targets_per_step(settings.retrieval, n_rows=len(items)))
    queries = len(prepared.valid_queries) + len(prepared.test_queries)
    return [
        PlannedVariant(
            name=variant.name,
            targets=targets,
            steps=steps,
            epochs=settings.retrieval.epochs if variant.trained else 0,
            titles=catalog.n_titles,
            queries=queries,
        )
        for variant in VARIANTS
    ]


def ablation_table(planned: list[PlannedVariant]) -> Table:
    """The variants as a table."""
    heads = ("Variant", "Targets", "Steps", "Epochs", "Titles", "Queries")
    note = "Targets and steps of one epoch, epochs unless training stops early."
    return counts_table(f"Variants of study {ABLATION}", heads, map(astuple, planned), note)


def _pipeline(settings: Settings, run_dir: Path, progress_factory: ProgressFactory) -> Pipeline:
    """The data and the signals of all variants.

    Raises:
        SettingsError: If the settings are of another mode, are fitted a second time, or name
            further datasets.
    """
    if settings.data.extra_train_sources:
        raise SettingsError(
            "data.extra_train_sources names further datasets: the ablation trains its variants on "
            "one. Leave it empty."
        )
    if settings.mode != "retrieval" or settings.evaluation.refit != "none":
        raise SettingsError(
            f"mode is {settings.mode!r} and evaluation.refit {settings.evaluation.refit!r}: the "
            "ablation needs mode: retrieval and evaluation.refit: none."
        )
    return Pipeline(
        run_dir / ARMS_FOLDER, settings, progress_factory=progress_factory, write_settings=False
    )


def _folder_name(variant: Variant) -> str:
    return variant.name.replace(" ", "-").lower()
