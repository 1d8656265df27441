"""A comparison: rules selected on validation, ranks and lists on test, then the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.evaluation.beyond_accuracy import (
    agreement_hits,
    catalog_coverage,
    gini,
    novelty,
    overlap,
)
from bigrec.evaluation.clusters import number_users
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import metric_value, selection_metric
from bigrec.evaluation.protocol import MethodResult, summarize
from bigrec.evaluation.reports.data import (
    AgreementRow,
    BeyondRow,
    ChosenRow,
    ComparisonReport,
    SeedRow,
)
from bigrec.evaluation.segments import (
    TARGET_COUNTS,
    TARGET_GAPS,
    SegmentRow,
    Segments,
    category_segments,
    gap_segments,
    history_segments,
    popularity_segments,
    segment_rows,
    target_segments,
    user_segments,
)
from bigrec.evaluation.significance import (
    ComparisonRow,
    compare_pairs,
    compare_to_reference,
    compare_to_shuffled,
    over_seeds,
)
from bigrec.experiments.fusions import SelectedFusion, trace_gamma_paths
from bigrec.experiments.methods import (
    LIST_LENGTH,
    Method,
    RankedMethod,
    evaluate_methods,
    model_methods,
)
from bigrec.experiments.windows import compare_windows
from bigrec.grounding.beams import BeamMode
from bigrec.recommender.scoring import ScoredQueries
from bigrec.recommender.training_data import PreparedData
from bigrec.recommender.windows import ScoredWindows
from bigrec.types import IntArray, ProgressFactory

_SHORT = 10
_HEADLINE = ("hr@10", "ndcg@10")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results of a comparison.

    Attributes:
        report: Everything that is shown.
        results: Target rank of every query by method and protocol.
    """

    report: ComparisonReport
    results: list[MethodResult] = field(repr=False)


def compare_methods(
    dataset: Dataset,
    prepared: PreparedData,
    *,
    valid: ScoredQueries,
    test: ScoredQueries,
    recommenders: Mapping[BeamMode, MethodId],
    signals: Sequence[MethodId],
    fusions: Sequence[tuple[MethodId, ...]],
    references: Sequence[MethodId],
    windows: ScoredWindows | None = None,
    shuffled: ScoredQueries | None = None,
    mixes_cold_items: bool = True,
    progress_factory: ProgressFactory,
) -> Comparison:
    """Rank every test target by the language model, by each signal, and by their fusions.

    A fusion is there by the paper's product and by the rule that does best on validation. Several
    signals are also fused without the language model by the best rule: its gain is measured
    against that.

    Args:
        dataset: Its catalog is ranked.
        prepared: Its examples.
        valid: The validation queries, scored.
        test: The test queries, scored, with the same signals.
        recommenders: The language model by itself, by beam mode.
        signals: The signals by themselves.
        fusions: Signals to fuse.
        references: Methods of which one is compared with all others: the best by NDCG@10 on
            validation, seen items excluded.
        windows: Several validation windows, by which closed-form signals are fused.
        shuffled: The test queries with shuffled histories, with the signals that read them.
        mixes_cold_items: See `SelectedFusion.select`.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Raises:
        ValueError: If none of the references is compared.
    """
    model = recommenders["top1"].model
    plain = [*model_methods(recommenders), *(Method(signal) for signal in signals)]
    selected = [
        SelectedFusion.select(
            valid,
            model,
            fused,
            exclude_seen=exclude_seen,
            windows=windows,
            mixes_cold_items=mixes_cold_items,
        )
        for exclude_seen in (False, True)
        for fused in fusions
    ]
    methods = {
        exclude_seen: [
            *plain,
            *(
                method
                for fusion in selected
                if fusion.exclude_seen == exclude_seen
                for method in fusion.methods
            ),
        ]
        for exclude_seen in (False, True)
    }
    progress = progress_factory("Ranking the validation examples")
    on_valid = [ranked.result for ranked in evaluate_methods(methods, valid, progress=progress)]
    progress = progress_factory("Ranking the test examples")
    ranked = evaluate_methods(methods, test, progress=progress)
    traced = trace_gamma_paths(selected, test)
    results = [method.result for method in ranked]
    users = number_users(prepared.test_queries.user_ids)
    valid_users = number_users(prepared.valid_queries.user_ids)
    reference = _best(on_valid, references)
    report = ComparisonReport(
        title=f"Comparison on {dataset.name}",
        reference=reference,
        recommenders=list(recommenders.values()),
        rows=summarize(results, users=users, seed=0),
        validation=[
            row
            for row in summarize(on_valid, users=valid_users, seed=0, ks=(_SHORT,))
            if row.metric in _HEADLINE
        ],
        order=_order(results, shuffled, methods, prepared, progress_factory),
        windows=compare_windows(windows, signals, selected),
        differences=compare_to_reference(
            results, reference=reference, users=users, seed=0, metrics=_HEADLINE
        ),
        gains=compare_pairs(
            results,
            references={
                method.id: fusion.baseline for fusion in selected for method in fusion.with_model
            },
            users=users,
            seed=0,
            metrics=_HEADLINE,
        ),
        chosen=[
            ChosenRow(
                method.id,
                fusion.exclude_seen,
                method.describe_rule(beams=len(recommenders) > 1),
                traced.get((method.id, fusion.exclude_seen), (None, None))[1],
            )
            for fusion in selected
            for method in fusion.methods
        ],
        paths=[path for path, _ in traced.values()],
        segments=_segments(results, dataset, prepared),
        beyond=_beyond(ranked, dataset, prepared),
        agreement=_agreement(ranked, list(recommenders.values())[-1], signals, test),
    )
    return Comparison(report, results)


def _order(
    results: Sequence[MethodResult],
    shuffled: ScoredQueries | None,
    methods: Mapping[bool, Sequence[Method]],
    prepared: PreparedData,
    progress_factory: ProgressFactory,
) -> list[ComparisonRow]:
    """Differences to shuffled histories, by the reported protocol."""
    if shuffled is None:
        return []
    of_protocol = [
        method
        for method in methods[prepared.exclude_seen]
        if method.beams is not None or set(method.labels) <= set(shuffled.signals)
    ]
    ranked = evaluate_methods(
        {prepared.exclude_seen: of_protocol},
        shuffled,
        progress=progress_factory("Ranking shuffled histories"),
    )
    return compare_to_shuffled(
        results,
        [method.result for method in ranked],
        users=number_users(prepared.test_queries.user_ids),
        seed=0,
        metrics=_HEADLINE,
    )


def seed_rows(by_seed: Mapping[int, Sequence[MethodResult]]) -> list[SeedRow]:
    """Mean and deviation over seeds of the methods that every seed has; none for one seed."""
    if len(by_seed) < 2:
        return []
    ranks_of = {
        seed: {(result.method, result.exclude_seen): result.ranks for result in results}
        for seed, results in by_seed.items()
    }
    first, *others = ranks_of.values()
    rows = []
    for method, exclude_seen in first:
        if not all((method, exclude_seen) in other for other in others):
            continue
        for metric in _HEADLINE:
            values = {
                seed: metric_value(ranks[method, exclude_seen], metric)
                for seed, ranks in ranks_of.items()
            }
            mean, deviation = over_seeds(values)
            rows.append(SeedRow(method, exclude_seen, metric, mean, deviation, values))
    return rows


def _best(results: Sequence[MethodResult], references: Sequence[MethodId]) -> MethodId:
    figures = {
        result.method: selection_metric(result.ranks)
        for result in results
        if result.exclude_seen and result.method in references
    }
    if not figures:
        compared = "; ".join(dict.fromkeys(result.method.label for result in results))
        labels = [method.label for method in references]
        raise ValueError(f"references is {labels}: expected some of {compared}.")
    return max(figures, key=figures.__getitem__)


def _segments(
    results: Sequence[MethodResult], dataset: Dataset, prepared: PreparedData
) -> dict[str, list[SegmentRow]]:
    queries = prepared.test_queries
    title_ids = dataset.catalog.title_ids
    lengths = np.array([len(history) for history in queries.full_histories], dtype=np.int64)
    families = {
        TARGET_COUNTS: target_segments(
            title_ids[queries.targets], dataset.catalog.counts_by_title(prepared.counts)
        ),
        "target's popularity": popularity_segments(queries.targets, prepared.counts),
        "items before the target": history_segments(lengths, starts=(0, 1, 3, 5, 10, 20, 50)),
    }
    # Where no timestamp is shared, the one segment would only repeat the metrics of all queries.
    if queries.gaps is not None and not queries.gaps.all():
        families[TARGET_GAPS] = gap_segments(queries.gaps)
    if dataset.catalog.categories is not None:
        families["target's category"] = category_segments(
            queries.targets, dataset.catalog.categories
        )
    in_training = _user_segments(dataset, prepared)
    if in_training is not None:
        families["user in training"] = in_training
    users = number_users(queries.user_ids)
    return {
        family: [
            row
            for row in segment_rows(results, segments, users=users, seed=0, ks=(_SHORT,))
            if row.summary.metric in _HEADLINE
        ]
        for family, segments in families.items()
    }


def _user_segments(dataset: Dataset, prepared: PreparedData) -> Segments | None:
    """None if the test examples come from a file, which names no users."""
    interactions = dataset.interactions
    number_of = {user: number for number, user in enumerate(interactions.user_ids)}
    users = [number_of.get(user) for user in prepared.test_queries.user_ids]
    if None in users:
        return None
    counts = np.bincount(
        interactions.users()[prepared.train_rows], minlength=len(interactions.user_ids)
    )
    return user_segments(np.array(users, dtype=np.int64), counts)


def _beyond(
    ranked: Sequence[RankedMethod], dataset: Dataset, prepared: PreparedData
) -> list[BeyondRow]:
    counts = dataset.catalog.counts_by_title(prepared.counts)
    return [_beyond_row(method, counts, k=min(_SHORT, len(counts))) for method in ranked]


def _beyond_row(method: RankedMethod, counts: IntArray, *, k: int) -> BeyondRow:
    lists, n_titles = method.lists, len(counts)
    any_listed = bool((lists[:, :k] >= 0).any())
    return BeyondRow(
        method.result.method,
        method.result.exclude_seen,
        coverage=catalog_coverage(lists, n_items=n_titles, k=k),
        novelty=novelty(lists, counts, k=k) if any_listed else None,
        gini=gini(lists, n_items=n_titles, k=k) if any_listed else None,
    )


def _agreement(
    ranked: Sequence[RankedMethod],
    recommender: MethodId,
    signals: Sequence[MethodId],
    test: ScoredQueries,
) -> list[AgreementRow]:
    """The recommender's lists beside every signal's."""
    lists = {(method.result.method, method.result.exclude_seen): method.lists for method in ranked}
    rows = []
    for exclude_seen in (False, True):
        own = lists[recommender, exclude_seen]
        k = min(LIST_LENGTH, own.shape[1])
        for signal in signals:
            other = lists[signal, exclude_seen]
            hits = agreement_hits(own, other, test.targets, k=k)
            rows.append(
                AgreementRow(
                    recommender,
                    signal,
                    exclude_seen,
                    overlap=overlap(own, other, k=k),
                    rate_both=hits.rate_both,
                    rate_one=hits.rate_one,
                    ratio=hits.ratio,
                )
            )
    return rows
