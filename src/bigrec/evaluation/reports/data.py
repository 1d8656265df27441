"""What a comparison found: choices, gamma paths, lists, agreement, seeds, all of it together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.segments import SegmentRow
from bigrec.evaluation.significance import ComparisonRow

_SEQUENCES = (
    *("rows", "differences", "chosen", "paths", "beyond", "agreement", "gains", "validation"),
    *("seeds", "notes"),
)


@dataclass(frozen=True, slots=True)
class ChosenRow:
    """How signals are put into one method under one protocol, chosen on validation.

    Attributes:
        method: The method, as tables name it.
        exclude_seen: Whether seen items are left out of the ranking.
        rule: How distances and signals are put together; one rule for every metric and K.
        published: What the published protocol reports on test, by metric; None where it reports
            nothing for such a method. Each figure may have another gamma, so no single recommender
            reaches all of them.
    """

    method: str
    exclude_seen: bool
    rule: str
    published: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class GammaPath:
    """NDCG@10 of one method at every gamma.

    Attributes:
        method: The method, as tables name it.
        exclude_seen: Whether seen items are left out of the ranking.
        gammas: The grid, ascending, at least 0.
        valid: On the validation queries, one for each gamma, in [0, 1], higher is better.
        test: On the test queries.
        chosen: The gamma that was chosen on validation, one of ``gammas``.
    """

    method: str
    exclude_seen: bool
    gammas: tuple[float, ...]
    valid: tuple[float, ...]
    test: tuple[float, ...]
    chosen: float

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            ValueError: If the lengths differ or ``chosen`` is not one of ``gammas``.
        """
        if not len(self.gammas) == len(self.valid) == len(self.test):
            raise ValueError(
                f"{self.method!r} has {len(self.gammas)} gammas, {len(self.valid)} validation and "
                f"{len(self.test)} test figures; expected one of each for every gamma."
            )
        if self.chosen not in self.gammas:
            raise ValueError(
                f"{self.method!r} has the chosen gamma {self.chosen}; expected one of its "
                f"{len(self.gammas)} gammas."
            )


@dataclass(frozen=True, slots=True)
class BeyondRow:
    """The first 10 of one method's lists, beyond accuracy.

    Attributes:
        method: The method's name.
        exclude_seen: Whether seen items are left out of the ranking.
        coverage: Share of the catalog that is recommended at all, in [0, 1], higher is more varied.
        novelty: Mean self-information of what is recommended, in bits, higher is less popular.
        gini: How unequally often items are recommended, in [0, 1], lower is fairer.
    """

    method: str
    exclude_seen: bool
    coverage: float
    novelty: float
    gini: float


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """The first 20 of two methods' lists side by side; see ``beyond.agreement_hits``.

    Attributes:
        method: The one method.
        other: The other.
        exclude_seen: Whether seen items are left out of the rankings.
        overlap: Mean share of a list that the other list holds, too, in [0, 1].
        rate_both: Hits per item that both list; None where there is no such item.
        rate_one: Hits per item that only one lists; None where there is no such item.
        ratio: ``rate_both / rate_one``, above 1 where agreement is worth something; None where
            that is not defined.
    """

    method: str
    other: str
    exclude_seen: bool
    overlap: float
    rate_both: float | None
    rate_one: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One metric of one method over several training runs; see ``paired.over_seeds``.

    Attributes:
        method: The method's name.
        exclude_seen: Whether seen items are left out of the ranking.
        metric: ``hr@10``, ``ndcg@10``, ... or ``mrr``.
        mean: Over the seeds, in [0, 1], higher is better.
        deviation: Sample standard deviation over the seeds, at least 0.
        values: The metric by seed.
    """

    method: str
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
        reference: Method that the differences are to.
        rows: Metrics of every method and protocol on the test queries, from ``summarise``.
        differences: From ``compare_to_reference``.
        chosen: How signals are put in.
        paths: NDCG@10 at every gamma.
        segments: From ``segment_rows``, by what the queries were sorted by.
        beyond: Lists beyond accuracy.
        agreement: Pairs of methods.
        gains: What the language model adds: each injection against its signals without the model,
            from ``compare_pairs``.
        validation: HR@10 and NDCG@10 of every method and protocol on the validation queries.
        seeds: Several training runs; empty where there is one.
        shares: What the generated texts are like, from ``text_shares``.
        settings: What was run, as JSON-like values.
        notes: Sentences a reader must know to judge the numbers.
    """

    title: str
    reference: str
    rows: Sequence[SummaryRow]
    differences: Sequence[ComparisonRow]
    chosen: Sequence[ChosenRow]
    paths: Sequence[GammaPath]
    segments: Mapping[str, Sequence[SegmentRow]]
    beyond: Sequence[BeyondRow]
    agreement: Sequence[AgreementRow]
    gains: Sequence[ComparisonRow] = ()
    validation: Sequence[SummaryRow] = ()
    seeds: Sequence[SeedRow] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Make tuples of the sequences."""
        for name in _SEQUENCES:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        families = {family: tuple(rows) for family, rows in self.segments.items()}
        object.__setattr__(self, "segments", families)
