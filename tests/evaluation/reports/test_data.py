from dataclasses import replace

import pytest

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.data import ComparisonReport, GammaPath
from bigrec.evaluation.segments import SegmentRow

OURS = MethodId("ours")
PATH = GammaPath(OURS, False, (0.0, 1.0), (0.5, 0.25), (0.4, 0.3), 1.0)
ROW = SummaryRow(OURS, False, "hr@10", 0.5, 0.25, 0.75)


def test_a_path_whose_lengths_differ_is_refused() -> None:
    with pytest.raises(ValueError, match="'ours' has 2 gammas, 1 validation and 2 test figures"):
        replace(PATH, valid=(0.5,))


def test_a_chosen_gamma_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'ours' has the chosen gamma 0.5; expected one of its 2"):
        replace(PATH, chosen=0.5)


def test_reports_of_the_same_content_are_equal_whatever_their_sequences() -> None:
    segment = SegmentRow("cold", 3, ROW)
    first = ComparisonReport(
        "t", OURS, [OURS], [ROW], [], [], [PATH], {"target": [segment]}, [], []
    )
    second = ComparisonReport(
        "t", OURS, (OURS,), (ROW,), (), (), (PATH,), {"target": (segment,)}, (), ()
    )
    assert first == second
