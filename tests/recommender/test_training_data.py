"""The examples of a run."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from bigrec.data.dataset import Dataset
from bigrec.recommender.training_data import (
    EvalQueries,
    all_training_data,
    few_shot_training_data,
    load_source,
    prepare_examples,
)
from bigrec.settings import Settings
from tests.conftest import TITLES, tiny_dataset


def settings(*overrides: str) -> Settings:
    return Settings.read(overrides=["mode=generative", *overrides])


def test_few_shot_training_data_are_the_examples_of_fine_tuning() -> None:
    dataset = tiny_dataset()
    few = settings("data.max_train_examples=5", "data.max_history_length=3")
    prepared = prepare_examples(dataset, few)
    data = few_shot_training_data(dataset, prepared)
    rows = np.split(data.interactions.items, data.interactions.user_start[1:-1])
    titles = {(*map(TITLES.__getitem__, row),) for row in rows}
    assert titles == {(*example.history, example.target) for example in prepared.train}
    assert data.train.all()
    every = all_training_data(dataset, prepared)
    assert every.train.sum() == prepared.counts.sum() > len(data.interactions)


def test_item_columns_of_the_settings_are_read(tiny_files: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_files / "interactions.csv", tmp_path)
    items = pl.read_csv(tiny_files / "items.csv").with_columns(price=pl.int_range(pl.len()))
    items.write_csv(tmp_path / "items.csv")
    named = settings(f"data.source={tmp_path}", "data.item_columns=[price]")
    assert load_source(named.data).catalog.columns["price"].to_list() == list(range(12))


def test_networks_stop_by_more_examples_than_the_model_writes_for() -> None:
    dataset = tiny_dataset()
    prepared = prepare_examples(dataset, settings("data.max_valid_examples=1"))
    assert len(prepared.valid_queries) == 1 < prepared.sizes["valid"]
    assert len(all_training_data(dataset, prepared).valid_targets) == prepared.sizes["valid"]


def copy_with_other_titles(files: Path, folder: Path) -> Path:
    shutil.copytree(files, folder)
    titles = (folder / "items.csv").read_text().replace("(199", "[199")
    (folder / "items.csv").write_text(titles)
    return folder


def test_a_second_dataset_is_mixed_in_and_the_first_is_recommended_from(
    tiny_files: Path, tmp_path: Path
) -> None:
    other = copy_with_other_titles(tiny_files, tmp_path / "other")
    source = f"data.extra_train_sources=[{{source: {other}, item_type: game}}]"
    prepared = prepare_examples(
        tiny_dataset(),
        settings(source, "data.max_train_examples=8", "data.max_valid_examples=4"),
    )
    assert sorted(example.item_type for example in prepared.train) == ["game"] * 8 + ["movie"] * 8
    assert sorted(example.item_type for example in prepared.valid) == ["game"] * 4 + ["movie"] * 4
    assert all(target < len(TITLES) for target in prepared.test_queries.targets)


def test_a_zero_shot_model_is_trained_and_stopped_by_the_other_datasets_alone(
    tiny_files: Path, tmp_path: Path
) -> None:
    other = copy_with_other_titles(tiny_files, tmp_path / "other")
    source = f"data.extra_train_sources=[{{source: {other}, item_type: game}}]"
    sizes = ("data.max_train_examples=8", "data.max_valid_examples=4")
    alone = prepare_examples(tiny_dataset(), settings(*sizes))
    zero_shot = prepare_examples(
        tiny_dataset(), settings(source, *sizes, "data.train_sources=extra")
    )
    assert [example.item_type for example in zero_shot.train] == ["game"] * 8
    assert [example.item_type for example in zero_shot.valid] == ["game"] * 4
    # All but the language model knows the dataset that is recommended from.
    assert [*map(list, zero_shot.train_items)] == [*map(list, alone.train_items)]
    for split in ("valid", "test"):
        of_both = zero_shot.queries(split), alone.queries(split)
        np.testing.assert_array_equal(of_both[0].targets, of_both[1].targets)
    np.testing.assert_array_equal(zero_shot.counts, alone.counts)


def test_several_datasets_make_the_same_examples_whichever_is_recommended_from(
    tiny_files: Path, tmp_path: Path
) -> None:
    other = copy_with_other_titles(tiny_files, tmp_path / "other")
    first, second = ({"source": str(folder), "item_type": "film"} for folder in (tiny_files, other))
    prepared = []
    for tested, further in ((first, second), (second, first)):
        values = {**tested, "extra_train_sources": [further], "max_train_examples": 8}
        asked = Settings.checked({"mode": "generative", "data": values})
        prepared.append(prepare_examples(load_source(asked.data), asked))
    assert prepared[0].train == prepared[1].train
    assert prepared[0].valid == prepared[1].valid
    assert len({example.history for example in prepared[0].train}) > 8


def timed_dataset(**columns: list[int]) -> Dataset:
    """Users a with a training item and two test items, b with two training items and another."""
    interactions = pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "b", "b", "b"],
            "item_id": ["i0", "i1", "i2", "i1", "i2", "i0"],
            "split": ["train", "test", "test", "train", "train", "valid"],
            **columns,
        }
    )
    items = pl.DataFrame({"item_id": ["i0", "i1", "i2"], "title": TITLES[:3]})
    order = None if "timestamp" in columns else "row"
    return Dataset.from_frames(interactions, items, order=order, split="split")


def test_queries_hold_the_time_from_the_item_before_to_the_target() -> None:
    data = settings("data.split_method=predefined")
    prepared = prepare_examples(timed_dataset(timestamp=[100, 100, 130, 5, 7, 9]), data)
    assert prepared.test_queries.gaps is not None
    gaps = dict(zip(prepared.test_queries.targets, prepared.test_queries.gaps, strict=True))
    assert gaps == {1: 0, 2: 30}
    assert prepared.valid_queries.gaps == 2


def test_queries_without_timestamps_or_of_a_file_have_no_times(tmp_path: Path) -> None:
    data = settings("data.split_method=predefined")
    assert prepare_examples(timed_dataset(), data).test_queries.gaps is None
    file = tmp_path / "test.json"
    history, target = (json.dumps(title) for title in TITLES[:2])
    example = {"instruction": "", "input": f"The user has watched: {history}", "output": target}
    file.write_text(json.dumps([example]))
    of_file = settings("data.split_method=predefined", f"data.test_file={file}")
    dataset = timed_dataset(timestamp=[100, 100, 130, 5, 7, 9])
    assert prepare_examples(dataset, of_file).test_queries.gaps is None


def test_shuffled_histories_hold_the_same_items_in_another_order() -> None:
    histories = [np.arange(9), np.array([3]), np.array([5, 5, 7])]
    queries = EvalQueries(
        ["a", "b", "c"], histories, [np.arange(12), *histories[1:]], np.array([1, 2, 3])
    )
    shuffled = queries.shuffled(seed=0)
    for field in ("histories", "full_histories"):
        pairs = zip(getattr(queries, field), getattr(shuffled, field), strict=True)
        assert all(sorted(before) == sorted(after) for before, after in pairs)
        assert (getattr(queries, field)[0] != getattr(shuffled, field)[0]).any()
    assert shuffled.targets is queries.targets
    assert shuffled.user_ids == queries.user_ids
    np.testing.assert_array_equal(queries.shuffled(seed=0).histories[0], shuffled.histories[0])
    np.testing.assert_array_equal(queries.histories[0], np.arange(9))
