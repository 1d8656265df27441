"""What methods were fitted to, and the targets that are cold to them."""

import numpy as np
import pytest

from bigrec.evaluation.cold_targets import ColdRow, cold_rows
from bigrec.evaluation.method import MethodId

COUNTS = {
    "A": np.array([5, 0, 1, 0]),
    "A, few-shot": np.array([2, 0, 0, 0]),
    "titles": np.array([0, 0, 0, 0]),
    "LLM": np.array([2, 0, 0, 0]),
}
TARGETS = np.array([0, 0, 1, 2])


def test_a_target_is_cold_by_what_the_method_was_fitted_to() -> None:
    methods = [
        MethodId("A"),
        MethodId("A", training_data="few-shot"),
        MethodId("titles"),
        MethodId("LLM", "tuned", ("A, few-shot",)),
        MethodId("LLM", "paper", ("A",)),
        MethodId("", "tuned", ("A, few-shot", "titles")),
    ]
    assert cold_rows(methods, targets=TARGETS, counts=COUNTS) == [
        ColdRow(methods[0], 6, 0.25),
        ColdRow(methods[1], 2, 0.5),
        ColdRow(methods[2], 0, 1.0),
        ColdRow(methods[3], 2, 0.5),
        ColdRow(methods[4], 6, 0.25),
        ColdRow(methods[5], 2, 0.5),
    ]


def test_a_method_of_which_nothing_is_known_has_no_row() -> None:
    unknown = [MethodId("files"), MethodId("LLM", "tuned", ("A", "files"))]
    assert cold_rows(unknown, targets=TARGETS, counts=COUNTS) == []


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"targets is empty; expected at least one query"):
        cold_rows([], targets=np.zeros(0, dtype=np.int64), counts=COUNTS)
    with pytest.raises(ValueError, match=r"targets holds"):
        cold_rows([MethodId("A")], targets=np.array([4]), counts=COUNTS)
