"""A comparison put together: choices on validation, ranks and lists on test, then the report."""

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
from bigrec.evaluation.metrics import chosen_by, metric_value
from bigrec.evaluation.protocol import MethodResult, summarise
from bigrec.evaluation.reports.comparison import ComparisonReport
from bigrec.evaluation.reports.data import (
    AgreementRow,
    BeyondRow,
    ChosenRow,
    GammaPath,
    SeedRow,
)
from bigrec.evaluation.segments import (
    SegmentRow,
    Segments,
    category_segments,
    history_segments,
    popularity_segments,
    segment_rows,
    target_segments,
    user_segments,
)
from bigrec.evaluation.significance import compare_pairs, compare_to_reference, over_seeds
from bigrec.experiments.methods import (
    LIST_LENGTH,
    Ranked,
    choose_injection,
    gamma_paths,
    plain_methods,
    rank_all,
    rank_targets,
)
from bigrec.experiments.precomputed import injected_names
from bigrec.recommender.factory import Drawn
from bigrec.recommender.scoring import Evidence
from bigrec.types import Progress

_SHORT = 10
_HEADLINE = ("hr@10", "ndcg@10")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes:
        report: Everything that is shown.
        results: Target rank of every query by method and protocol.
    """

    report: ComparisonReport
    results: list[MethodResult] = field(repr=False)


def compare(
    dataset: Dataset,
    drawn: Drawn,
    *,
    valid: Evidence,
    test: Evidence,
    inject: Sequence[str],
    references: Sequence[str],
    progress: Progress | None = None,
) -> Comparison:
    """Rank every test target by the recommender, by each signal, and by both together.

    Together once by the published product, ``BIGRec x signal``, and once by whichever rule does
    best on validation, ``BIGRec + signal``. Several signals are also put together without the
    recommender, by the best rule too: what it adds is judged against that.

    Args:
        dataset: What is recommended from.
        drawn: Its examples.
        valid: Evidence of the validation examples.
        test: Evidence of the test examples, with the same signals.
        inject: Signals to put into the distances, several at once joined by ``&``.
        references: Methods of which one is what all others are compared with: the one with the best
            NDCG@10 on validation, seen items left out.
        progress: Called with (examples ranked, to rank), each counted once for each protocol.

    Raises:
        SettingsError: If an entry of ``inject`` names no signal.
        ValueError: If none of the references is compared.
    """
    plain = plain_methods(test)
    entries = injected_names(inject, test.signals)
    step = _Steps([len(valid), len(test)] * 2, progress)
    ranked: list[Ranked] = []
    on_valid: list[MethodResult] = []
    chosen: list[ChosenRow] = []
    paths: list[GammaPath] = []
    gains: dict[str, str] = {}
    for hide in (False, True):
        injections = [choose_injection(valid, names, exclude_seen=hide) for names in entries]
        methods = [*plain, *(method for one in injections for method in one.methods())]
        on_valid += rank_targets(methods, valid, exclude_seen=hide, progress=step.next())
        ranked += rank_all(methods, test, exclude_seen=hide, progress=step.next())
        traced = gamma_paths(injections, test, exclude_seen=hide)
        paths += [path for path, _ in traced.values()]
        for one in injections:
            gains |= {method.name: one.label for method in one.with_model()}
            for method in one.methods():
                rule = method.describe(beams=len(test.names) > 1)
                _, published = traced.get(method.name, (None, None))
                chosen.append(ChosenRow(method.name, hide, rule, published))
    results = [one.result for one in ranked]
    reference = _best(on_valid, references)
    rows = summarise(results, seed=0)
    report = ComparisonReport(
        title=f"Comparison on {dataset.name}",
        reference=reference,
        rows=rows,
        validation=[
            row for row in summarise(on_valid, seed=0, ks=(_SHORT,)) if row.metric in _HEADLINE
        ],
        differences=compare_to_reference(results, reference=reference, seed=0, metrics=_HEADLINE),
        gains=compare_pairs(results, references=gains, seed=0, metrics=_HEADLINE),
        chosen=chosen,
        paths=paths,
        segments=_segments(results, dataset, drawn),
        beyond=_beyond(ranked, dataset, drawn),
        agreement=_agreement(ranked, test),
        seeds=(),
        shares={},
        settings={},
        notes=(),
    )
    return Comparison(report, results)


class _Steps:
    """Progress over several passes as one."""

    def __init__(self, sizes: Sequence[int], progress: Progress | None) -> None:
        self._sizes = sizes
        self._progress = progress
        self._passed = 0

    def next(self) -> Progress | None:
        """Progress of the next pass."""
        if self._progress is None:
            return None
        progress, before, total = self._progress, sum(self._sizes[: self._passed]), sum(self._sizes)
        self._passed += 1
        return lambda done, _: progress(before + done, total)


def seed_rows(by_seed: Mapping[int, Sequence[MethodResult]]) -> list[SeedRow]:
    """Mean and deviation over seeds of the methods that every seed has; none for one seed."""
    if len(by_seed) < 2:
        return []
    found = {
        seed: {(one.name, one.exclude_seen): one.ranks for one in results}
        for seed, results in by_seed.items()
    }
    keys = [key for key in next(iter(found.values())) if all(key in one for one in found.values())]
    rows = []
    for name, exclude_seen in keys:
        for metric in _HEADLINE:
            values = {
                seed: metric_value(ranks[name, exclude_seen], metric)
                for seed, ranks in found.items()
            }
            mean, deviation = over_seeds(values)
            rows.append(SeedRow(name, exclude_seen, metric, mean, deviation, values))
    return rows


def _best(results: Sequence[MethodResult], names: Sequence[str]) -> str:
    found = {
        one.name: chosen_by(one.ranks) for one in results if one.exclude_seen and one.name in names
    }
    if not found:
        compared = "; ".join(dict.fromkeys(one.name for one in results))
        raise ValueError(f"references is {list(names)}: expected some of {compared}.")
    return max(found, key=found.__getitem__)


def _segments(
    results: Sequence[MethodResult], dataset: Dataset, drawn: Drawn
) -> dict[str, list[SegmentRow]]:
    test = drawn.test
    lengths = np.array([len(history) for history in test.full_histories], dtype=np.int64)
    families = {
        "target in training": target_segments(test.targets, drawn.counts),
        "target's popularity": popularity_segments(test.targets, drawn.counts),
        "items before the target": history_segments(lengths, starts=(0, 1, 3, 5, 10, 20, 50)),
    }
    if dataset.catalog.categories is not None:
        families["target's category"] = category_segments(test.targets, dataset.catalog.categories)
    users = _user_segments(dataset, drawn)
    if users is not None:
        families["user in training"] = users
    return {
        family: [
            row
            for row in segment_rows(results, segments, seed=0, ks=(_SHORT,))
            if row.summary.metric in _HEADLINE
        ]
        for family, segments in families.items()
    }


def _user_segments(dataset: Dataset, drawn: Drawn) -> Segments | None:
    """None where the test examples come from a file, which names no users."""
    interactions = dataset.interactions
    numbers = {user: number for number, user in enumerate(interactions.user_ids)}
    users = [numbers.get(user) for user in drawn.test.user_ids]
    if None in users:
        return None
    counts = np.bincount(
        interactions.users()[drawn.train_rows], minlength=len(interactions.user_ids)
    )
    return user_segments(np.array(users, dtype=np.int64), counts)


def _beyond(ranked: Sequence[Ranked], dataset: Dataset, drawn: Drawn) -> list[BeyondRow]:
    catalog = dataset.catalog
    # A title is as well known as all of its items together.
    counts = np.bincount(catalog.group, weights=drawn.counts).astype(np.int64)
    k = min(_SHORT, catalog.n_groups)
    return [
        BeyondRow(
            one.result.name,
            one.result.exclude_seen,
            coverage=catalog_coverage(one.lists, n_items=catalog.n_groups, k=k),
            novelty=novelty(one.lists, counts, k=k),
            gini=gini(one.lists, n_items=catalog.n_groups, k=k),
        )
        for one in ranked
    ]


def _agreement(ranked: Sequence[Ranked], test: Evidence) -> list[AgreementRow]:
    """The recommender's lists beside every signal's."""
    lists = {(one.result.name, one.result.exclude_seen): one.lists for one in ranked}
    *_, recommender = test.names.values()
    rows = []
    for hide in (False, True):
        own = lists[recommender, hide]
        k = min(LIST_LENGTH, own.shape[1])
        for name in test.signals:
            hits = agreement_hits(own, lists[name, hide], test.targets, k=k)
            rows.append(
                AgreementRow(
                    recommender,
                    name,
                    hide,
                    overlap=overlap(own, lists[name, hide], k=k),
                    rate_both=hits.rate_both,
                    rate_one=hits.rate_one,
                    ratio=hits.ratio,
                )
            )
    return rows
