"""Arguments of the wrong type or size, wherever callers hand them over."""

from typing import Any

import numpy as np
import pytest

from bigrec.data.arguments import check_least, check_type, check_whole
from bigrec.data.interactions import Interactions
from bigrec.data.splits import split_dataset
from tests.conftest import tiny_dataset, tiny_frames

NO_WHOLE_NUMBERS = [True, np.bool_(0), 1.0, np.float64(2), "3", None, float("nan"), [1]]


@pytest.mark.parametrize("value", [0, -1, 10**30, np.int8(3), np.uint64(2**63)])
def test_whole_numbers_of_any_kind_pass(value: Any) -> None:
    check_whole(value, name="k")


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"window is .*; expected a whole number"):
        check_least(value, 1, name="window")


def test_a_number_below_the_least_is_refused() -> None:
    check_least(1, 1, name="window")
    with pytest.raises(ValueError, match="window is 0; expected at least 1"):
        check_least(0, 1, name="window")


def test_an_argument_of_another_type_is_named_with_what_to_pass() -> None:
    check_type("a", str, name="title", cure="")
    with pytest.raises(TypeError, match=r"title is of type int; expected str\. Quote it\."):
        check_type(1, str, name="title", cure="Quote it.")


@pytest.mark.parametrize("name", ["max_history_length", "min_history"])
@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS)
def test_lengths_of_a_split_are_whole_numbers(name: str, value: Any) -> None:
    lengths = {"max_history_length": 5, "min_history": 1} | {name: value}
    with pytest.raises(TypeError, match=f"{name} is .*; expected a whole number"):
        split_dataset(tiny_dataset().interactions, method="leave_one_out", **lengths)


def test_a_dataset_is_no_interactions() -> None:
    with pytest.raises(TypeError, match="interactions is of type Dataset; expected Interactions"):
        split_dataset(tiny_dataset(), method="auto", max_history_length=5, min_history=1)


def test_interactions_need_a_catalog_and_a_number_as_lowest_rating() -> None:
    rows, items = tiny_frames()
    with pytest.raises(TypeError, match="catalog is of type DataFrame; expected Catalog"):
        Interactions.from_frame(rows, items)
    with pytest.raises(TypeError, match="min_rating is '3'; expected a number"):
        Interactions.from_frame(rows, tiny_dataset().catalog, min_rating="3")  # type: ignore[arg-type]
