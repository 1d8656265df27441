"""A claim's verdict: contrasts of metrics over the same queries, tested over users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import SELECTION_METRIC, query_values
from bigrec.evaluation.significance import holm, paired_differences
from bigrec.types import IntArray

Verdict = Literal["supported", "contradicted", "undecided"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of methods' metrics that a claim expects above 0.

    Attributes:
        question: The claim that it belongs to, a sentence.
        label: The sum in words.
        weights: Weight of each method's NDCG@10.
    """

    question: str
    label: str
    weights: Mapping[MethodId, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """A tested contrast.

    Attributes:
        question: The claim that it belongs to.
        label: The sum in words.
        difference: Its mean over the queries; above 0 as the claim expects.
        low: Lower end of the 95 % bootstrap interval over users.
        high: Its upper end.
        p_value: Two-sided, in (0, 1].
        p_corrected: Corrected for all contrasts of the study by Holm's method.
    """

    question: str
    label: str
    difference: float
    low: float
    high: float
    p_value: float
    p_corrected: float


def check_contrasts(
    contrasts: Sequence[Contrast], ranks: Mapping[MethodId, IntArray], *, users: IntArray, seed: int
) -> list[Finding]:
    """Test contrasts by paired randomization of users, corrected together.

    Args:
        contrasts: At least one.
        ranks: 0-based target ranks of every method, ``[q]`` each.
        users: Number of each query's user, ``[q]``.
        seed: Fixes the resamples and the sign flips.

    Raises:
        KeyError: If a method of a contrast has no ranks.
    """
    values = {method: query_values(of, SELECTION_METRIC) for method, of in ranks.items()}
    sums = np.stack(
        [
            sum((weight * values[name] for name, weight in contrast.weights.items()), start=0.0)
            for contrast in contrasts
        ],
        axis=1,
    )
    paired = paired_differences(sums, np.zeros_like(sums), clusters=users, seed=seed)
    columns = (paired.difference, paired.low, paired.high, paired.p_value, holm(paired.p_value))
    return [
        Finding(contrast.question, contrast.label, *row)
        for contrast, row in zip(contrasts, np.stack(columns, axis=1).tolist(), strict=True)
    ]


def corrected_together(findings: Sequence[Finding]) -> list[Finding]:
    """Findings over several sets of queries, corrected for all of them by Holm's method."""
    corrected = holm(np.array([finding.p_value for finding in findings]))
    return [
        replace(finding, p_corrected=value)
        for finding, value in zip(findings, corrected.tolist(), strict=True)
    ]


def verdicts(findings: Sequence[Finding]) -> dict[str, Verdict]:
    """The verdict of each question, in the order of the findings."""
    questions = dict.fromkeys(finding.question for finding in findings)
    return {
        question: verdict([one for one in findings if one.question == question])
        for question in questions
    }


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Whether findings support the claim that all of their contrasts are above 0.

    Args:
        findings: Those of one question.

    Returns:
        ``contradicted`` if one is significantly below 0, ``supported`` if all are significantly
        above, else ``undecided``; significant is a corrected p-value below 0.05.

    Raises:
        ValueError: If there is none.
    """
    if not findings:
        raise ValueError("findings is empty; expected at least one.")
    significant = [finding.p_corrected < _SIGNIFICANT for finding in findings]
    above = [finding.difference > 0 for finding in findings]
    if any(is_real and not up for is_real, up in zip(significant, above, strict=True)):
        return "contradicted"
    return "supported" if all(significant) else "undecided"
