"""The demonstration: text mode first, then the trained mode, and what it adds."""

from pathlib import Path

from bigrec.errors import DataError
from bigrec.evaluation.clusters import number_users
from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.query_table import QueryTable
from bigrec.evaluation.significance import ComparisonRow, compare_pairs
from bigrec.experiments.methods import recommender_ids
from bigrec.experiments.pipeline import Pipeline
from bigrec.recommender.fitting import no_progress
from bigrec.settings import Settings
from bigrec.types import ProgressFactory

_TEXT_BUNDLE = "text-bundle"


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
    keys = ["user_id", "history", "target"]
    if not tables[0].frame.select(keys).equals(tables[1].frame.select(keys)):
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
