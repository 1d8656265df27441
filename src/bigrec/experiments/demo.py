"""The demonstration: text mode, the trained mode and what it adds, the paper's method beside."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bigrec.errors import DataError
from bigrec.evaluation.clusters import number_users
from bigrec.evaluation.protocol import MethodResult, SummaryRow, of_protocol, summarize
from bigrec.evaluation.query_table import QueryTable
from bigrec.evaluation.significance import ComparisonRow, compare_pairs
from bigrec.experiments.methods import recommender_ids
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.studies.arms import Arm
from bigrec.settings import Settings
from bigrec.types import ProgressFactory, no_progress

_TEXT_BUNDLE = "text-bundle"
_GENERATIVE_PRESET = "study-small"
_KEYS = ["user_id", "history", "target"]


def text_pipeline(
    run_dir: Path, settings: Settings, *, progress_factory: ProgressFactory = no_progress
) -> Pipeline:
    """The pipeline of text mode on the same data, whose stages both modes share.

    Args:
        run_dir: The run directory of the demonstration.
        settings: Of any mode; what has no effect in text mode is ignored.
        progress_factory: Called with the name of each long step; gives its progress callback.
    """
    text = Settings.checked(settings.model_copy(update={"mode": "text"}).to_dict())
    return Pipeline(
        run_dir,
        text,
        progress_factory=progress_factory,
        write_settings=False,
        bundle=run_dir / _TEXT_BUNDLE,
    )


def generative_pipelines(
    run_dir: Path, settings: Settings, *, progress_factory: ProgressFactory = no_progress
) -> tuple[Pipeline, Pipeline]:
    """The pipelines of generative mode with beams and in latent space, which share a checkpoint.

    They have fewer test examples than the other modes, because writing takes longest.

    Args:
        run_dir: The run directory of the demonstration.
        settings: Of another mode: the data, the models and the protocol.
        progress_factory: Called with the name of each long step; gives its progress callback.
    """
    preset = Settings.read(_GENERATIVE_PRESET)
    names = [f"max_{part}_examples" for part in ("train", "valid", "test")]
    sizes = {name: getattr(preset.data, name) for name in names}
    base = preset.model_copy(
        update={
            "data": settings.data.model_copy(update=sizes),
            "model": settings.model,
            "text": settings.text,
            "recommend": settings.recommend,
        }
    )
    beams, latent = (
        Pipeline(
            run_dir,
            Arm(decoding, preset.data.max_train_examples).settings(base),
            progress_factory=progress_factory,
            write_settings=False,
            bundle=run_dir / f"{decoding}-bundle",
        )
        for decoding in ("beams", "latent")
    )
    return beams, latent


def side_by_side(pipelines: Sequence[Pipeline]) -> tuple[list[SummaryRow], int]:
    """Metrics of every method of several modes, on the queries that all have.

    Args:
        pipelines: Evaluated, at least one. Of a method that occurs in several, the first counts.

    Returns:
        Rows under the protocol of the first pipeline, and the number of queries.

    Raises:
        DataError: If they have no query in common.
    """
    tables = [
        QueryTable.load(pipeline.evaluation_stage.folder / "queries.parquet")
        for pipeline in pipelines
    ]
    places = [
        {
            (user, tuple(history), target): place
            for place, (user, history, target) in enumerate(table.frame.select(_KEYS).iter_rows())
        }
        for table in tables
    ]
    common = [query for query in places[0] if all(query in others for others in places)]
    if not common:
        raise DataError(
            "the modes were evaluated on different queries: evaluate all with the same data."
        )
    protocol = pipelines[0].settings.recommend.exclude_seen
    results: dict[str, MethodResult] = {}
    for table, at in zip(tables, places, strict=True):
        rows = [at[query] for query in common]
        for result in of_protocol(table.results(), exclude_seen=protocol):
            results.setdefault(result.method.label, replace(result, ranks=result.ranks[rows]))
    users = number_users([user for user, *_ in common])
    return summarize(list(results.values()), users=users, seed=0, ks=(10,)), len(common)


def gains_over_text(text: Pipeline, trained: Pipeline) -> list[ComparisonRow]:
    """Differences of the trained mode to text mode, each by itself and with its signals.

    There are none of text mode to itself.

    Args:
        text: Evaluated.
        trained: Evaluated, on the same queries.

    Raises:
        DataError: If the queries differ.
    """
    if trained.settings.mode == "text":
        return []
    tables = [
        QueryTable.load(pipeline.evaluation_stage.folder / "queries.parquet")
        for pipeline in (text, trained)
    ]
    if not tables[0].frame.select(_KEYS).equals(tables[1].frame.select(_KEYS)):
        raise DataError(
            f"{text.folder} and {trained.folder} were evaluated on other queries: evaluate both "
            "with the same data settings."
        )
    protocol = trained.settings.recommend.exclude_seen
    (own, own_fused), (alone, fused) = (
        _recommenders(table, pipeline, exclude_seen=protocol)
        for table, pipeline in zip(tables, (text, trained), strict=True)
    )
    references = {other.method: own[0].method for other in alone}
    references |= {other.method: own_fused[0].method for other in fused if own_fused}
    return compare_pairs(
        [*own, *own_fused, *alone, *fused],
        references=references,
        users=number_users(tables[0].frame["user_id"].to_list()),
        seed=0,
    )


def _recommenders(
    table: QueryTable, pipeline: Pipeline, *, exclude_seen: bool
) -> tuple[list[MethodResult], list[MethodResult]]:
    """The mode's model by itself and with signals, under one protocol."""
    own = {method.model for method in recommender_ids(pipeline.settings)}
    results = [
        result
        for result in table.results()
        if result.exclude_seen == exclude_seen and result.method.model in own
    ]
    alone = [result for result in results if result.method.fusion == "none"]
    return alone, [result for result in results if result.method.fusion != "none"]
