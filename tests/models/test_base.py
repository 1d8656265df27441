"""Rows of interactions and histories, and the folders of stored models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.errors import BundleError, StorageError
from bigrec.models.base import history_rows, model_kind, training_rows
from bigrec.models.popularity import Popularity
from bigrec.storage import file_digest
from tests.models.fakes import all_rows, interactions

N = 5
OF = interactions([0, 1, 2], [2, 1], [3, 0, 1])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a saved model."""
    Popularity.fit(np.array([1, 2])).save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **fields: Any) -> None:
    """Change fields of a saved model's description; None removes one."""
    path = folder / "model.json"
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_items_beyond_the_catalog_are_refused() -> None:
    with pytest.raises(ValueError, match="item number 3; expected numbers below n_items, 3"):
        training_rows(OF, all_rows(OF), n_items=3)


def test_training_rows_keep_users_and_order() -> None:
    users, items = training_rows(
        OF, np.array([True, False, True, True, False, False, False, True]), n_items=N
    )
    np.testing.assert_array_equal(users, [0, 0, 1, 2])
    np.testing.assert_array_equal(items, [0, 2, 2, 1])


def test_history_rows_drop_padding_and_count_ages_from_the_newest() -> None:
    starts, items, ages = history_rows(
        [np.array([-1, 4, 2]), np.zeros(0, dtype=int), np.array([3])], n_items=N
    )
    np.testing.assert_array_equal(starts, [0, 2, 2, 3])
    np.testing.assert_array_equal(items, [4, 2, 3])
    np.testing.assert_array_equal(ages, [1, 0, 0])


def test_history_rows_of_no_query_are_empty() -> None:
    starts, items, ages = history_rows([], n_items=N)
    assert (starts.tolist(), items.tolist(), ages.tolist()) == ([0], [], [])


def test_a_saved_model_tells_its_kind(saved: Path) -> None:
    assert model_kind(saved) == "popularity"


def test_a_description_of_something_else_is_refused(saved: Path) -> None:
    (saved / "model.json").write_text("[]")
    with pytest.raises(BundleError, match="it does not describe a model"):
        model_kind(saved)


def test_a_description_without_a_format_is_refused(saved: Path) -> None:
    edit(saved, format=None)
    with pytest.raises(BundleError, match="has format None; this bigrec reads format 2"):
        model_kind(saved)


def test_a_description_without_a_field_is_refused(saved: Path) -> None:
    edit(saved, arrays_sha256=None)
    with pytest.raises(BundleError, match="it lacks arrays_sha256"):
        model_kind(saved)


def test_settings_without_names_are_refused(saved: Path) -> None:
    edit(saved, settings=[1])
    with pytest.raises(BundleError, match="settings: Input should be a valid dictionary"):
        model_kind(saved)


def test_a_missing_setting_is_named(saved: Path) -> None:
    edit(saved, settings={})
    with pytest.raises(BundleError, match="it lacks half_life_days"):
        Popularity.load(saved)


def test_arrays_of_another_format_are_refused(saved: Path) -> None:
    (saved / "arrays.safetensors").write_bytes(b"no safetensors")
    edit(saved, arrays_sha256=file_digest(saved / "arrays.safetensors"))
    with pytest.raises(BundleError, match="it is not a safetensors file"):
        Popularity.load(saved)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Could not write"):
        Popularity.fit(np.array([1])).save(tmp_path / "file" / "model")


@pytest.mark.parametrize("make", [list, tuple, np.array, iter, pl.Series])
def test_histories_of_any_iterables_are_read_once(make: Any) -> None:
    starts, items, ages = history_rows((make(history) for history in ([2, 0], [1])), n_items=3)
    assert starts.tolist() == [0, 2, 3]
    assert items.tolist() == [2, 0, 1]
    assert ages.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "history", [[1.5], [True], "12", ["1"], [[1]], np.array([1.0]), np.array([True]), 1, None]
)
def test_a_history_that_is_no_list_of_whole_numbers_is_refused(history: Any) -> None:
    with pytest.raises(TypeError, match=r"a history is .*expected .*item numbers"):
        history_rows([history], n_items=3)


def test_a_single_history_is_no_list_of_histories() -> None:
    with pytest.raises(TypeError, match="Put a single history in a list"):
        history_rows(np.array([1, 2]), n_items=3)
    with pytest.raises(TypeError, match="histories is 5; expected a list of histories"):
        history_rows(5, n_items=3)  # type: ignore[arg-type]
