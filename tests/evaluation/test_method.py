import json

import pytest

from bigrec.evaluation.method import MethodId


@pytest.mark.parametrize(
    ("method", "label"),
    [
        (MethodId("EASE"), "EASE"),
        (MethodId("EASE", training_data="few-shot"), "EASE, few-shot"),
        (MethodId("BIGRec", "paper", ("EASE",)), "BIGRec x EASE"),
        (MethodId("BIGRec", "tuned", ("EASE", "GRU4Rec")), "BIGRec + EASE & GRU4Rec"),
        (MethodId("", "tuned", ("EASE", "GRU4Rec")), "EASE & GRU4Rec"),
    ],
)
def test_a_label_names_model_fusion_signals_and_training_data(method: MethodId, label: str) -> None:
    assert method.label == label


def test_methods_are_compared_by_value_and_hashable() -> None:
    method = MethodId("BIGRec", "tuned", ("A", "B"))
    assert {method: 1}[MethodId("BIGRec", "tuned", ("A", "B"))] == 1
    assert method != MethodId("BIGRec", "paper", ("A", "B"))
    # the same label, by another model
    assert method != MethodId("BIGRec + A & B")


def test_json_holds_the_fields_and_the_label() -> None:
    assert MethodId("BIGRec", "paper", ("A", "B")).to_json() == {
        "model": "BIGRec",
        "fusion": "paper",
        "signals": ["A", "B"],
        "training_data": "all",
        "label": "BIGRec x A & B",
    }


@pytest.mark.parametrize(
    "method",
    [MethodId("EASE", training_data="few-shot"), MethodId("", "tuned", ("A", "B"))],
)
def test_a_method_comes_back_from_its_json(method: MethodId) -> None:
    assert MethodId.from_json(json.loads(json.dumps(method.to_json()))) == method


@pytest.mark.parametrize("content", [{}, {"model": "A", "fusion": "best", "signals": ["B"]}])
def test_json_of_no_method_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error for MethodId"):
        MethodId.from_json(content)


def test_signals_without_fusion_and_fusion_without_signals_are_refused() -> None:
    with pytest.raises(ValueError, match=r"fusion is 'none' with the signals \['A'\]; expected"):
        MethodId("BIGRec", signals=("A",))
    with pytest.raises(ValueError, match=r"fusion is 'paper' with the signals \[\]; expected"):
        MethodId("BIGRec", "paper")


@pytest.mark.parametrize("signals", [(), ("A",)])
def test_no_model_is_refused_unless_signals_are_fused_by_a_tuned_rule(
    signals: tuple[str, ...],
) -> None:
    with pytest.raises(ValueError, match="model is empty with fusion"):
        MethodId("", "paper" if signals else "none", signals)


def test_training_data_of_a_fusion_is_refused() -> None:
    # its label would be that of the fusion of models trained on all data
    with pytest.raises(
        ValueError, match="training_data is 'few-shot' for a fusion; expected 'all'"
    ):
        MethodId("BIGRec", "tuned", ("A",), "few-shot")
