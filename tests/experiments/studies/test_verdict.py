import numpy as np
import pytest

from bigrec.evaluation.method import MethodId
from bigrec.experiments.studies.verdict import Contrast, Finding, Verdict, check_contrasts, verdict
from bigrec.types import IntArray

A, B, C = MethodId("A"), MethodId("B"), MethodId("C")
USERS = np.arange(200)


def ranks(*values: int) -> IntArray:
    return np.resize(np.array(values, dtype=np.int64), len(USERS))


def contrast(question: str, **weights: float) -> Contrast:
    return Contrast(question, question, {MethodId(name): of for name, of in weights.items()})


def finding(difference: float, p_corrected: float) -> Finding:
    return Finding("", "", difference, difference, difference, p_corrected, p_corrected)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([finding(0.1, 0.01), finding(0.2, 0.04)], "supported"),
        ([finding(0.1, 0.01), finding(0.2, 0.06)], "undecided"),
        ([finding(0.1, 0.01), finding(-0.2, 0.06)], "undecided"),
        ([finding(0.1, 0.01), finding(-0.2, 0.01)], "contradicted"),
    ],
)
def test_a_claim_needs_every_contrast_and_falls_with_one(
    findings: list[Finding], expected: Verdict
) -> None:
    assert verdict(findings) == expected


def test_no_contrast_is_no_verdict() -> None:
    with pytest.raises(ValueError, match="findings is empty"):
        verdict([])


def test_contrasts_are_sums_of_ndcg_over_the_same_queries() -> None:
    # NDCG@10 is 1 at rank 0 and 0 from rank 10 on.
    of = {A: ranks(0), B: ranks(50), C: ranks(0, 50)}
    ahead, half, behind = check_contrasts(
        [
            contrast("ahead", A=1.0, B=-1.0),
            contrast("half", C=1.0, A=-0.5),
            contrast("behind", B=1.0, C=-1.0),
        ],
        of,
        users=USERS,
        seed=0,
    )
    assert (ahead.difference, half.difference, behind.difference) == pytest.approx((1, 0, -0.5))
    assert (verdict([ahead]), verdict([half]), verdict([behind])) == (
        "supported",
        "undecided",
        "contradicted",
    )
    assert half.low < 0 < half.high


def test_more_contrasts_of_a_study_raise_the_corrected_p_values() -> None:
    of = {A: ranks(0, 0, 0, 50), B: ranks(0, 0, 50, 0)}
    one = contrast("one", A=1.0, B=-1.0)
    (alone,) = check_contrasts([one], of, users=USERS, seed=0)
    both = check_contrasts([one, one], of, users=USERS, seed=0)
    assert alone.p_corrected == alone.p_value
    assert [each.p_value for each in both] == [alone.p_value] * 2
    assert all(each.p_corrected == min(1, 2 * alone.p_value) for each in both)


def test_queries_of_one_user_count_as_one() -> None:
    of = {A: ranks(0), B: ranks(50)}
    (found,) = check_contrasts(
        [contrast("ahead", A=1.0, B=-1.0)], of, users=np.zeros_like(USERS), seed=0
    )
    assert found.p_value == 1
    assert verdict([found]) == "undecided"
