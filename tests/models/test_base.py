"""The contract of every signal, and how signals are stored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigrec.data.interactions import Interactions
from bigrec.errors import BundleError, DataError, StorageError
from bigrec.models.base import Signal, history_rows, training_rows
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.popularity import Popularity
from bigrec.models.precomputed import External
from bigrec.storage import file_digest
from bigrec.types import BoolArray
from tests.models.fakes import every_row, interactions

N = 5
OF = interactions([0, 1, 2], [2, 1], [3, 0, 1], times=[1, 2, 3, 1, 2, 1, 2, 3])
# padded on the left, without padding, longer than any user's, and empty
HISTORIES = [np.array([-1, -1, 0]), np.array([2, 3]), np.arange(N), np.zeros(0, dtype=np.int64)]

Fit = Callable[[Interactions, BoolArray], Signal]


def external(path: Path) -> External:
    np.save(path, np.arange(len(HISTORIES) * N, dtype=np.float32).reshape(len(HISTORIES), N))
    return External.from_npy(path, name="DROS", n_queries=len(HISTORIES), n_items=N)


FITS: dict[str, Fit] = {
    "recent": lambda of, train: Popularity.fit_recent(of, train=train, n_items=N, half_life_days=1),
    "cooccurrence": lambda of, train: Cooccurrence.fit(of, train=train, n_items=N),
    "ease": lambda of, train: Ease.fit(of, train=train, n_items=N, l2=1),
}


@pytest.fixture(params=["popularity", "external", *FITS])
def signal(request: pytest.FixtureRequest, tmp_path: Path) -> Signal:
    """One signal of every kind."""
    if request.param == "popularity":
        return Popularity.fit(np.array([2, 3, 2, 1, 0]))
    if request.param == "external":
        return external(tmp_path / "scores.npy")
    return FITS[request.param](OF, every_row(OF))


@pytest.fixture(params=list(FITS))
def fit(request: pytest.FixtureRequest) -> Fit:
    """Fits one kind of signal."""
    return FITS[request.param]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a saved signal."""
    Popularity.fit(np.array([1, 2])).save(tmp_path / "signal")
    return tmp_path / "signal"


def edit(folder: Path, **fields: Any) -> None:
    """Change fields of a saved signal's description; None removes one."""
    path = folder / "signal.json"
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_every_query_gets_a_finite_score_for_every_item(signal: Signal) -> None:
    scores = signal.scores(HISTORIES)
    assert scores.shape == (len(HISTORIES), signal.n_items) == (len(HISTORIES), N)
    assert scores.dtype in {np.dtype(np.float32), np.dtype(np.float64)}
    assert np.isfinite(scores).all()


def test_weights_are_the_scores_of_each_query_scaled_to_0_to_1(signal: Signal) -> None:
    weights = signal.weights(HISTORIES)
    for row, scores in zip(weights, signal.scores(HISTORIES), strict=True):
        span = np.ptp(scores) or 1
        np.testing.assert_allclose(row, (scores - scores.min()) / span, atol=1e-6)


@pytest.mark.parametrize("kind", ["cooccurrence", "ease"])
def test_an_empty_history_says_nothing_to_a_signal_that_looks_at_it(kind: str) -> None:
    signal = FITS[kind](OF, every_row(OF))
    np.testing.assert_array_equal(signal.weights(HISTORIES[-1:]), np.zeros((1, N)))


def test_a_saved_signal_answers_as_before(signal: Signal, tmp_path: Path) -> None:
    signal.save(tmp_path / "signal")
    loaded = type(signal).load(tmp_path / "signal")
    assert loaded.name == signal.name
    np.testing.assert_array_equal(loaded.scores(HISTORIES), signal.scores(HISTORIES))
    np.testing.assert_array_equal(loaded.weights(HISTORIES), signal.weights(HISTORIES))


def test_a_signal_has_a_name(signal: Signal) -> None:
    assert signal.name.strip()


def test_a_signal_is_written_over_an_older_one(signal: Signal, saved: Path) -> None:
    signal.save(saved)
    assert type(signal).load(saved).n_items == N
    assert sorted(file.name for file in saved.iterdir()) == ["arrays.safetensors", "signal.json"]


def test_nothing_is_learnt_from_rows_outside_of_training(fit: Fit) -> None:
    train = np.array([True, True, False, True, True, True, True, False])
    # other items, much later, in the rows that are left out
    other = interactions([0, 1, 4], [2, 1], [3, 0, 4], times=[1, 2, 900, 1, 2, 1, 2, 900])
    np.testing.assert_array_equal(
        fit(other, train).scores(HISTORIES), fit(OF, train).scores(HISTORIES)
    )


@pytest.mark.parametrize("kind", ["cooccurrence", "ease"])
@pytest.mark.parametrize("item", [-2, N])
def test_an_item_outside_of_the_catalog_is_refused(kind: str, item: int) -> None:
    with pytest.raises(ValueError, match=f"a history holds item number {item}; expected 0 to 4"):
        FITS[kind](OF, every_row(OF)).scores([np.array([0, item])])


@pytest.mark.parametrize(
    "train", [np.ones(3, dtype=bool), np.ones(len(OF), dtype=int), np.ones((len(OF), 1), bool)]
)
def test_training_rows_that_are_no_mask_are_refused(fit: Fit, train: Any) -> None:
    with pytest.raises(ValueError, match=r"expected bool of shape \(8,\)"):
        fit(OF, train)


def test_nothing_to_learn_from_is_told(fit: Fit) -> None:
    with pytest.raises(DataError, match="no interaction to learn from: train is False everywhere"):
        fit(OF, np.zeros(len(OF), dtype=bool))


def test_items_beyond_the_catalog_are_refused() -> None:
    with pytest.raises(ValueError, match="item number 3; expected numbers below n_items, 3"):
        training_rows(OF, every_row(OF), n_items=3)


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


def test_a_missing_description_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"signal\.json is missing"):
        Popularity.load(tmp_path)


def test_a_description_of_something_else_is_told(saved: Path) -> None:
    (saved / "signal.json").write_text("[]")
    with pytest.raises(BundleError, match="it does not describe a signal"):
        Popularity.load(saved)


def test_another_format_version_is_told(saved: Path) -> None:
    edit(saved, format=2)
    with pytest.raises(BundleError, match="has format 2; this version of bigrec reads format 1"):
        Popularity.load(saved)


def test_another_kind_of_signal_is_told(saved: Path) -> None:
    with pytest.raises(BundleError, match="holds the signal 'popularity'; expected 'ease'"):
        Ease.load(saved)


def test_a_description_without_a_field_is_told(saved: Path) -> None:
    edit(saved, arrays_sha256=None)
    with pytest.raises(BundleError, match="it lacks arrays_sha256"):
        Popularity.load(saved)


def test_settings_without_names_are_told(saved: Path) -> None:
    edit(saved, settings=[1])
    with pytest.raises(BundleError, match="it lacks named settings"):
        Popularity.load(saved)


def test_a_setting_that_is_not_there_is_told(saved: Path) -> None:
    edit(saved, settings={})
    with pytest.raises(BundleError, match="it lacks half_life_days"):
        Popularity.load(saved)


def test_missing_arrays_are_told(saved: Path) -> None:
    (saved / "arrays.safetensors").unlink()
    with pytest.raises(BundleError, match=r"arrays\.safetensors cannot be used: it is missing"):
        Popularity.load(saved)


def test_changed_arrays_are_told(saved: Path) -> None:
    with (saved / "arrays.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match=r"do not match the checksum in signal\.json"):
        Popularity.load(saved)


def test_arrays_of_another_format_are_told(saved: Path) -> None:
    (saved / "arrays.safetensors").write_bytes(b"no safetensors")
    edit(saved, arrays_sha256=file_digest(saved / "arrays.safetensors"))
    with pytest.raises(BundleError, match="it is not a safetensors file"):
        Popularity.load(saved)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Could not write"):
        Popularity.fit(np.array([1])).save(tmp_path / "file" / "signal")
