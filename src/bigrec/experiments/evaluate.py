"""Full-ranking evaluation of a recommender beside popularity and a random order."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import DataError
from bigrec.evaluation.clusters import number_users
from bigrec.evaluation.generation_stats import generation_stats
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult, SummaryRow, random_ranks, summarize
from bigrec.evaluation.query_table import QueryTable
from bigrec.evaluation.reports.evaluation import ReportExample
from bigrec.experiments.methods import Method, evaluate_methods, model_methods
from bigrec.grounding.beams import EncodedQueries
from bigrec.models.popularity import Popularity
from bigrec.models.registry import POPULARITY
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.recommendations import to_recommendations
from bigrec.recommender.training_data import EvalQueries, load_source, prepare_test_queries
from bigrec.types import (
    UNRANKED,
    FloatArray,
    GeneratedText,
    IntArray,
    ProgressCallback,
    ProgressFactory,
    no_progress,
)

if TYPE_CHECKING:
    from bigrec.models.base import Scorer

RANDOM = MethodId("random")
"""A random order of the whole catalog, the floor of every table."""

_LIST_LENGTH = 10
_N_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Results of an evaluation.

    Attributes:
        table: Every query with every method's target rank.
        rows: HR, NDCG and MRR with 95 % intervals, of every method and protocol.
        shares: Statistics of the generated texts; empty in retrieval mode.
        nearest: Distance of each query's top beam to the nearest title, ``[q]``.
        examples: Some queries, with the list recommended for each.
    """

    table: QueryTable
    rows: list[SummaryRow]
    shares: dict[str, float]
    nearest: FloatArray
    examples: list[ReportExample]

    def to_frame(self) -> pl.DataFrame:
        """The metrics, one row for each method, protocol and metric."""
        rows = [{**asdict(row), "method": row.method.label} for row in self.rows]
        return pl.DataFrame(rows)


def evaluate(
    model: BIGRec,
    dataset: Dataset | str | Path,
    *,
    progress_factory: ProgressFactory = no_progress,
) -> EvaluationResult:
    """Evaluate a recommender on the test split of the dataset that it was fitted on.

    Args:
        model: A fitted recommender. Its settings say how the dataset is split.
        dataset: The dataset, or a folder, file or short name to load it from.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Raises:
        NotFittedError: If the recommender is not fitted.
        DataError: If the dataset's catalog is not the recommender's.
    """
    fitted, settings = model.fitted, model.settings
    if not isinstance(dataset, Dataset):
        dataset = load_source(settings.data.model_copy(update={"source": str(dataset)}))
    if dataset.catalog.fingerprint != fitted.catalog.fingerprint:
        raise DataError(
            f"the dataset {dataset.name!r} has another catalog ({dataset.catalog.n_items} items) "
            f"than the recommender ({fitted.catalog.n_items} items). Evaluate on the dataset that "
            "it was fitted on."
        )
    queries = prepare_test_queries(dataset, settings)
    encoded = fitted.encoder.encode(queries.histories, progress=progress_factory("Encoding (test)"))
    progress = progress_factory("Ranking the test examples")
    return evaluate_recommender(fitted, queries, encoded, progress=progress)


def evaluate_recommender(
    fitted: FittedRecommender,
    queries: EvalQueries,
    encoded: EncodedQueries,
    *,
    progress: ProgressCallback | None = None,
) -> EvaluationResult:
    """Rank the whole catalog for every test example, under both protocols.

    Args:
        fitted: The recommender.
        queries: Histories and their targets, ``q`` of them.
        encoded: The histories, encoded.
        progress: Called with (queries ranked, queries in total).
    """
    catalog, texts = fitted.catalog, encoded.texts
    signals: dict[str, Scorer] = {POPULARITY: Popularity.fit(fitted.counts)}
    if fitted.fusion is not None:
        signals |= fitted.fusion.signals
    scored = fitted.score(encoded, queries, signals=signals)
    methods = {exclude_seen: _methods(fitted, exclude_seen) for exclude_seen in (False, True)}
    ranked = evaluate_methods(methods, scored, progress=progress)
    results = [method.result for method in ranked]
    results += _random_results(catalog.n_titles, scored.targets, scored.seen)
    nearest = fitted.encoder.ranker.rank(encoded, k=1, beams="top1").distances[:, 0]
    return EvaluationResult(
        table=make_query_table(catalog, queries, texts, results),
        rows=summarize(results, users=number_users(queries.user_ids), seed=0),
        shares=text_statistics(texts, catalog, histories=queries.histories),
        nearest=nearest,
        examples=_examples(fitted, queries, encoded),
    )


def text_statistics(
    texts: Sequence[Sequence[GeneratedText]], catalog: Catalog, *, histories: Sequence[IntArray]
) -> dict[str, float]:
    """Statistics of the generated texts; empty in retrieval mode."""
    if not any(texts):
        return {}
    return generation_stats(
        [[text.text for text in beams] for beams in texts],
        set(catalog.unique_titles),
        histories=[[catalog.titles[item] for item in items] for items in histories],
    )


def _methods(fitted: FittedRecommender, exclude_seen: bool) -> list[Method]:
    methods = model_methods(fitted.encoder.methods)
    fusion = fitted.fusion
    if fusion is not None:
        model = methods[0].id.model
        kind: Any = "paper" if fitted.settings.fusion.method == "paper" else "tuned"
        fused = MethodId(model, kind, tuple(fusion.signals))
        methods.append(Method(fused, fusion.rules[exclude_seen]))
    return [*methods, Method(MethodId(POPULARITY))]


def _random_results(
    n_titles: int, targets: IntArray, seen: Sequence[IntArray]
) -> list[MethodResult]:
    q = len(targets)
    # A target that was seen before cannot be found by a ranking that excludes it.
    repeated = np.array([target in titles for target, titles in zip(targets, seen, strict=True)])
    excluded_counts = np.minimum([len(titles) for titles in seen], n_titles - 1)
    included = random_ranks(n_titles, q, seed=0)
    excluded = random_ranks(n_titles, q, seed=0, excluded_counts=excluded_counts)
    return [
        MethodResult(RANDOM, False, included),
        MethodResult(RANDOM, True, np.where(repeated, UNRANKED, excluded)),
    ]


def _examples(
    fitted: FittedRecommender, queries: EvalQueries, encoded: EncodedQueries
) -> list[ReportExample]:
    catalog = fitted.catalog
    count = min(_N_EXAMPLES, len(queries))
    lists = fitted.rank(
        encoded.first(count),
        queries.full_histories[:count],
        k=min(_LIST_LENGTH, catalog.n_titles),
        exclude_seen=fitted.settings.recommend.exclude_seen,
    )
    return [
        ReportExample(
            history=[catalog.titles[item] for item in queries.histories[query]],
            target=catalog.titles[queries.targets[query]],
            texts=[text.text for text in encoded.texts[query]],
            recommendations=list(
                to_recommendations(catalog, lists, query, texts=encoded.texts[query])
            ),
        )
        for query in range(count)
    ]


def make_query_table(
    catalog: Catalog,
    queries: EvalQueries,
    texts: Sequence[Sequence[GeneratedText]],
    results: Iterable[MethodResult],
) -> QueryTable:
    """The queries with their histories, targets, texts and ranks.

    Args:
        catalog: The catalog.
        queries: The queries.
        texts: Generated texts of each.
        results: Their target ranks.
    """
    table = QueryTable.build(
        user_ids=queries.user_ids,
        histories=[[catalog.item_ids[item] for item in items] for items in queries.histories],
        targets=[catalog.item_ids[item] for item in queries.targets],
        target_titles=[catalog.titles[item] for item in queries.targets],
        texts=texts,
    )
    for result in results:
        table = table.with_ranks(result)
    return table
