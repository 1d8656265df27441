"""The order of turns, the inputs that are timed, and the figures of a comparison."""

from collections.abc import Sequence

import pytest

from benchmarks.harness import Timing, figures, take_turns, timed


def test_sides_take_turns_in_changing_order_after_a_warm_up() -> None:
    calls: list[tuple[str, int]] = []

    def side(name: str, inputs: Sequence[int]) -> str:
        calls.append((name, len(inputs)))
        return name

    sides = {"ours": lambda x: side("ours", x), "reference": lambda x: side("reference", x)}
    timings = take_turns(sides, [1, 2, 3], turns=3, warm_up=1)
    warm_up, timed_calls = calls[:2], calls[2:]
    assert warm_up == [("ours", 1), ("reference", 1)]
    assert [name for name, _ in timed_calls] == [
        "ours", "reference", "reference", "ours", "ours", "reference",
    ]  # fmt: skip
    assert {size for _, size in timed_calls} == {3}
    assert timings["ours"].result == "ours"
    assert len(timings["reference"].seconds) == 3


def test_no_warm_up_calls_each_side_once_a_turn() -> None:
    calls: list[int] = []
    take_turns({"ours": lambda x: calls.append(len(x))}, [1], turns=2, warm_up=0)
    assert calls == [1, 1]


@pytest.mark.parametrize(("inputs", "turns"), [([], 1), ([1], 0)])
def test_no_inputs_or_no_turns_are_refused(inputs: list[int], turns: int) -> None:
    with pytest.raises(ValueError, match="expected at least 1 of each"):
        take_turns({"ours": len}, inputs, turns=turns, warm_up=0)


def test_the_ratio_is_that_of_the_median_turn_with_its_spread() -> None:
    # The reference takes 2, 4 and 1 times as long.
    timings = {
        "ours": Timing([1.0, 2.0, 4.0], 10.0, None),
        "reference": Timing([2.0, 8.0, 4.0], 30.0, None),
    }
    values = figures(timings, units=8, unit="texts")
    assert (values["ratio"], values["ratio_min"], values["ratio_max"]) == (2.0, 1.0, 4.0)
    assert (values["ours_texts_per_s"], values["reference_texts_per_s"]) == (4.0, 2.0)
    assert (values["ours_peak_mib"], values["reference_peak_mib"]) == (10.0, 30.0)
    assert (values["texts"], values["turns"]) == (8, 3)


def test_timing_returns_the_result_of_the_call() -> None:
    seconds, result = timed(lambda: 7)
    assert result == 7
    assert seconds >= 0
