"""Histories, candidates, exclusions and list lengths as callers hand them over."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import DataError
from bigrec.recommender.bigrec import BIGRec
from tests.conftest import MODES, Mode, tiny_dataset, tiny_settings

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]

KINDS: list[Callable[[list[str]], Iterable[Any]]] = [
    tuple,
    iter,
    lambda ids: map(str, ids),
    lambda ids: (id_ for id_ in ids),
    np.array,
    pd.Series,
    pl.Series,
    lambda ids: dict.fromkeys(ids).keys(),
]


@pytest.fixture(scope="module")
def fitted(tiny_model: Path) -> BIGRec:
    settings = tiny_settings(tiny_model, mode="retrieval", signals="[popularity, EASE]")
    return BIGRec(settings).fit(tiny_dataset())


@pytest.mark.parametrize("kind", KINDS)
def test_any_iterable_of_ids_is_read(
    fitted: BIGRec, kind: Callable[[list[str]], Iterable[Any]]
) -> None:
    candidates, exclude = ["i1", "i2", "i7", "i9"], ["i2"]
    expected = fitted.recommend(HISTORY, items=candidates, exclude=exclude)
    assert {item.item_id for item in expected} == {"i1", "i7", "i9"}
    found = fitted.recommend(kind(HISTORY), items=kind(candidates), exclude=kind(exclude))
    assert found == expected
    whole = fitted.recommend_batch([HISTORY, ["i7"]], k=12)
    assert fitted.recommend_batch(iter([kind(HISTORY), kind(["i7"])]), k=12) == whole
    assert len(whole[0]) == 9


def test_a_series_of_lists_is_a_batch(fitted: BIGRec) -> None:
    whole = fitted.recommend_batch([HISTORY, ["i7"]], k=12)
    for batch in (pd.Series([HISTORY, ["i7"]]), pl.Series([HISTORY, ["i7"]])):
        assert fitted.recommend_batch(batch, k=12) == whole


def test_sets_are_candidates_and_exclusions_but_no_histories(fitted: BIGRec) -> None:
    found = fitted.recommend(HISTORY, items={"i1", "i2"}, exclude=frozenset({"i2"}))
    assert [item.item_id for item in found] == ["i1"]
    with pytest.raises(TypeError, match="the history is a set, which has no order"):
        fitted.recommend({"i0", "i3"})


@pytest.mark.parametrize("history", [[], (), iter(()), np.array([]), pd.Series([], dtype=str)])
def test_an_empty_history_is_refused(fitted: BIGRec, history: Any) -> None:
    with pytest.raises(DataError, match="the history is empty: expected a list of at least one"):
        fitted.recommend(history)


def test_a_history_of_a_batch_is_named_by_its_place(fitted: BIGRec) -> None:
    with pytest.raises(DataError, match=r"histories\[1\] is empty"):
        fitted.recommend_batch([HISTORY, []])
    with pytest.raises(DataError, match=r"histories\[0\] is 'i0': expected a list of ids"):
        fitted.recommend_batch(HISTORY)
    with pytest.raises(DataError, match=r"histories\[1\] holds nan at position 1"):
        fitted.recommend_batch([HISTORY, ["i0", float("nan")]])  # type: ignore[list-item]


@pytest.mark.parametrize("histories", ["i0", b"i0", None, 5])
def test_what_is_no_batch_is_refused(fitted: BIGRec, histories: Any) -> None:
    with pytest.raises(TypeError, match=r"histories is .*: expected a list of histories"):
        fitted.recommend_batch(histories)


@pytest.mark.parametrize("argument", ["items", "exclude"])
def test_a_single_text_is_no_list_of_items(fitted: BIGRec, argument: str) -> None:
    with pytest.raises(DataError, match=f"{argument} is 'i1': expected a list of ids or titles"):
        fitted.recommend(HISTORY, **{argument: "i1"})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=f"{argument} holds None at position 0"):
        fitted.recommend(HISTORY, **{argument: [None]})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"{argument} holds True at position 0, which is of type"):
        fitted.recommend(HISTORY, **{argument: [True]})  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [12, 13, 10**6, 10**30, np.int64(50)])
def test_a_list_longer_than_the_catalog_holds_all_titles(fitted: BIGRec, k: int) -> None:
    every = fitted.recommend(HISTORY, k=k, exclude_seen=False)
    assert {item.item_id for item in every} == {f"i{number}" for number in range(12)}
    assert len(fitted.recommend(HISTORY, k=k)) == 9


@pytest.mark.parametrize("k", [0, -1, np.int64(0)])
def test_a_list_length_below_1_is_refused(fitted: BIGRec, k: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k}; expected at least 1"):
        fitted.recommend(HISTORY, k=k)


@pytest.mark.parametrize("k", [True, np.bool_(1), 5.0, np.float64(5), "5", None, float("nan")])
def test_a_list_length_that_is_no_whole_number_is_refused(fitted: BIGRec, k: Any) -> None:
    with pytest.raises(TypeError, match=r"k is .*; expected a whole number"):
        fitted.recommend(HISTORY, k=k)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("titles", [["A"], ["A", "A", "A"]])
def test_a_catalog_of_one_title_is_refused_before_anything_is_trained(
    tmp_path: Path, mode: Mode, titles: list[str]
) -> None:
    n = len(titles)
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{step % n}", "timestamp": step}
        for user in range(4)
        for step in range(6)
    ]
    items = {"item_id": [f"i{item}" for item in range(n)], "title": titles}
    dataset = Dataset.from_frames(pl.DataFrame(rows), pl.DataFrame(items))
    # There is no such model: nothing may be loaded.
    settings = tiny_settings(tmp_path / "no model", mode=mode)
    with pytest.raises(DataError, match="the catalog has a single title, 'A': there is nothing"):
        BIGRec(settings).fit(dataset)


@pytest.mark.parametrize("mode", MODES)
def test_two_titles_and_one_user_are_enough(tiny_model: Path, mode: Mode) -> None:
    rows = [{"user_id": "u", "item_id": f"i{step % 2}", "timestamp": step} for step in range(8)]
    items = {"item_id": ["i0", "i1"], "title": ["Heat", "Alien"]}
    dataset = Dataset.from_frames(pl.DataFrame(rows), pl.DataFrame(items))
    changes = ["data.split_method=leave_one_out"]
    signals = "[popularity, co-occurrence, EASE, tf-idf, GRU4Rec]"
    if mode == "generative":
        changes.append("generative.decoding.constraint=unseen")
        signals = "[]"
    else:
        changes.append("baselines.sequential.epochs=2")
    settings = tiny_settings(tiny_model, *changes, mode=mode, signals=signals)
    model = BIGRec(settings).fit(dataset)
    every = model.recommend(["i0"], k=10, exclude_seen=False)
    assert {item.item_id for item in every} == {"i0", "i1"}
    figures = [figure for item in every for figure in (item.score, item.distance)]
    assert all(figure is not None and np.isfinite(figure) for figure in figures)
    assert [item.item_id for item in model.recommend(["i0"])] == ["i1"]
    # Nothing is left to write or to list.
    assert model.recommend(["i0", "i1"]) == []
    # A catalog may shrink to one title.
    model.update_catalog(Catalog.from_frame(pl.DataFrame(items)[:1]))
    only = model.recommend(["i0"], exclude_seen=False)
    assert [item.item_id for item in only] == ["i0"]
    assert only[0].distance is not None
    assert np.isfinite([only[0].score, only[0].distance]).all()


@pytest.mark.parametrize("exclude_seen", ["false", "", 0, 1, [], np.array([True])])
def test_excluding_seen_items_is_a_yes_or_no(fitted: BIGRec, exclude_seen: Any) -> None:
    with pytest.raises(TypeError, match=r"exclude_seen is .*; expected True, False, or None"):
        fitted.recommend(HISTORY, exclude_seen=exclude_seen)
    every = fitted.recommend(HISTORY, k=12, exclude_seen=np.bool_(0))  # type: ignore[arg-type]
    assert len(every) == 12


def test_what_is_no_catalog_is_refused_and_changes_nothing(fitted: BIGRec) -> None:
    before = fitted.recommend(HISTORY)
    dataset = tiny_dataset()
    others: list[Any] = [dataset, dataset.catalog.to_frame(), "i1", None]
    for catalog in others:
        with pytest.raises(TypeError, match=r"catalog is of type \w+; expected Catalog\. Make one"):
            fitted.update_catalog(catalog)
    assert fitted.recommend(HISTORY) == before


@pytest.mark.parametrize("settings", [5, {}, "paper", {"mode": "retrieval"}])
def test_settings_of_another_type_are_refused(settings: Any) -> None:
    with pytest.raises(TypeError, match=r"settings is of type \w+; expected Settings"):
        BIGRec(settings)


@pytest.mark.parametrize("dataset", [None, pl.DataFrame(), 5, ["a.csv"]])
def test_what_is_no_dataset_is_refused(dataset: Any) -> None:
    with pytest.raises(TypeError, match=r"dataset is of type \w+; expected Dataset, or a folder"):
        BIGRec().fit(dataset)
