"""The content of a comparison report: metrics, choices, gamma paths, lists, agreement, seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigrec.evaluation.cold_targets import ColdRow
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import SELECTION_METRIC
from bigrec.evaluation.protocol import SummaryRow, of_protocol
from bigrec.evaluation.segments import SegmentRow
from bigrec.evaluation.selection import WindowRow
from bigrec.evaluation.significance import ComparisonRow

_SEQUENCES = (
    *("recommenders", "rows", "differences", "chosen", "paths", "beyond", "agreement", "gains"),
    *("validation", "order", "windows", "fitted_to", "seeds", "notes"),
)
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ChosenRow:
    """How signals are fused under one protocol, selected on validation.

    Attributes:
        method: The method.
        exclude_seen: Whether seen items are excluded from the ranking.
        rule: Description of the fusion rule; one rule for every metric and K.
        paper: The paper's protocol on test, by metric; None for a method that the paper does not
            have. Each figure may have another gamma, so no single recommender reaches all of them.
    """

    method: MethodId
    exclude_seen: bool
    rule: str
    paper: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class GammaPath:
    """NDCG@10 of one method at every gamma.

    Attributes:
        method: The method.
        exclude_seen: Whether seen items are excluded from the ranking.
        gammas: The grid, ascending, at least 0.
        valid: NDCG@10 on the validation queries, one for each gamma, in [0, 1], higher is better.
        test: NDCG@10 on the test queries.
        chosen: The gamma selected on validation, one of ``gammas``.
    """

    method: MethodId
    exclude_seen: bool
    gammas: tuple[float, ...]
    valid: tuple[float, ...]
    test: tuple[float, ...]
    chosen: float

    def __post_init__(self) -> None:
        """Refuse a path that cannot be drawn.

        Raises:
            ValueError: If the lengths differ or ``chosen`` is not one of ``gammas``.
        """
        label = self.method.label
        if not len(self.gammas) == len(self.valid) == len(self.test):
            raise ValueError(
                f"{label!r} has {len(self.gammas)} gammas, {len(self.valid)} validation and "
                f"{len(self.test)} test figures; expected one of each for every gamma."
            )
        if self.chosen not in self.gammas:
            raise ValueError(
                f"{label!r} has the chosen gamma {self.chosen}; expected one of its "
                f"{len(self.gammas)} gammas."
            )


@dataclass(frozen=True, slots=True)
class BeyondRow:
    """The first 10 of one method's lists, beyond accuracy; see ``beyond_accuracy``.

    Attributes:
        method: The method.
        exclude_seen: Whether seen items are excluded from the ranking.
        coverage: Share of the catalog in at least one list, in [0, 1], higher is more varied.
        novelty: Mean self-information of the listed items, in bits, higher is less popular; None
            where all lists are empty, because every title was seen.
        gini: Inequality of the items' frequencies in lists, in [0, 1], lower is fairer; None
            likewise.
    """

    method: MethodId
    exclude_seen: bool
    coverage: float
    novelty: float | None
    gini: float | None


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """The first 20 of two methods' lists; see ``beyond_accuracy.agreement_hits``.

    Attributes:
        method: One method.
        other: The other method.
        exclude_seen: Whether seen items are excluded from the rankings.
        overlap: Mean share of items that the two lists of a query have in common, in [0, 1].
        rate_both: Hits per item that both list; None where there is no such item.
        rate_one: Hits per item that only one lists; None where there is no such item.
        ratio: ``rate_both / rate_one``, above 1 where agreement predicts hits; None where it is
            not defined.
    """

    method: MethodId
    other: MethodId
    exclude_seen: bool
    overlap: float
    rate_both: float | None
    rate_one: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One metric of one method over several training runs; see ``significance.over_seeds``.

    Attributes:
        method: The method.
        exclude_seen: Whether seen items are excluded from the ranking.
        metric: ``hr@10``, ``ndcg@10``, ... or ``mrr``.
        mean: Mean over the seeds, in [0, 1], higher is better.
        deviation: Sample standard deviation over the seeds, at least 0.
        values: The metric by seed.
    """

    method: MethodId
    exclude_seen: bool
    metric: str
    mean: float
    deviation: float
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """Everything that is reported about a comparison.

    Sequences are kept as tuples, so that reports of the same content are equal.

    Attributes:
        title: Heading of the page.
        reference: The method that differences are to.
        recommenders: The recommender without signals, once for each beam mode. Plots always show
            it.
        rows: Metrics of every method and protocol on the test queries, from ``summarize``.
        differences: Differences to the reference, from ``compare_to_reference``.
        chosen: The fusion rules.
        paths: NDCG@10 at every gamma.
        segments: Rows of ``segment_rows`` by the name of the segmentation.
        beyond: Lists beyond accuracy.
        agreement: Pairs of methods.
        gains: Gains by the language model: each fusion against its signals without the model, from
            ``compare_pairs``.
        validation: HR@10 and NDCG@10 of every method and protocol on the validation queries.
        order: Differences to the same methods with shuffled histories, by one protocol; none
            without that diagnostic.
        windows: Closed-form methods on several validation windows; none for a single one.
        fitted_to: What each method was fitted to.
        seeds: Several training runs; empty for a single run.
        shares: Statistics of the generated texts, from ``generation_stats``.
        settings: Settings of the run, as JSON-like values.
        notes: Sentences that a reader needs to judge the numbers.
    """

    title: str
    reference: MethodId
    recommenders: Sequence[MethodId]
    rows: Sequence[SummaryRow]
    differences: Sequence[ComparisonRow]
    chosen: Sequence[ChosenRow]
    paths: Sequence[GammaPath]
    segments: Mapping[str, Sequence[SegmentRow]]
    beyond: Sequence[BeyondRow]
    agreement: Sequence[AgreementRow]
    gains: Sequence[ComparisonRow] = ()
    validation: Sequence[SummaryRow] = ()
    order: Sequence[ComparisonRow] = ()
    windows: Sequence[WindowRow] = ()
    fitted_to: Sequence[ColdRow] = ()
    seeds: Sequence[SeedRow] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Make tuples of the sequences."""
        for name in _SEQUENCES:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        segments = {name: tuple(rows) for name, rows in self.segments.items()}
        object.__setattr__(self, "segments", segments)


def shown_methods(report: ComparisonReport, *, exclude_seen: bool) -> list[MethodId]:
    """The methods in plots and tables of segments, which cannot show more than a dozen.

    Args:
        report: The comparison.
        exclude_seen: The protocol.

    Returns:
        The 8 best by NDCG@10, the reference, and the recommender without signals, in the order of
        the tables.
    """
    rows = of_protocol(report.rows, exclude_seen=exclude_seen)
    values = {row.method: row.value for row in rows if row.metric == SELECTION_METRIC}
    best = sorted(values, key=values.__getitem__, reverse=True)[:_SHOWN]
    shown = {*best, report.reference, *report.recommenders}
    return [method for method in dict.fromkeys(row.method for row in rows) if method in shown]


def selection_note(report: ComparisonReport, *, exclude_seen: bool) -> str:
    """Sentence about the methods of ``shown_methods``; empty where these are all."""
    compared = {row.method for row in of_protocol(report.rows, exclude_seen=exclude_seen)}
    if len(shown_methods(report, exclude_seen=exclude_seen)) == len(compared):
        return ""
    return (
        f"Shown are the {_SHOWN} best by {SELECTION_METRIC.upper()}, {report.reference.label} and "
        "the recommender without signals."
    )
