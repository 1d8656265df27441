from pathlib import Path

import numpy as np
import pytest

from bigrec.data.interactions import Interactions
from bigrec.errors import BundleError, DataError, SettingsError
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.popularity import Popularity
from bigrec.models.registry import NAMES, Lessons, fit_signal, is_network, load_signal_folder

# Two users: items 0, 1, 2 and 1, 2; the last of each is not learnt from.
ROWS = Interactions(
    user_ids=["a", "b"],
    user_start=np.array([0, 3, 5]),
    items=np.array([0, 1, 2, 1, 2], dtype=np.int32),
    times=None,
    ratings=None,
    splits=None,
)
LESSONS = Lessons(
    interactions=ROWS,
    train=np.array([True, True, False, True, False]),
    n_items=3,
    valid_histories=[np.array([0, 1])],
    valid_targets=np.array([2]),
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("popularity", Popularity), ("co-occurrence", Cooccurrence), ("EASE", Ease)],
)
def test_a_signal_goes_by_its_name_and_comes_back_from_its_folder(
    name: str, kind: type, tmp_path: Path
) -> None:
    signal = fit_signal(name, LESSONS)
    assert signal.name == name
    signal.save(tmp_path / "signal")
    loaded = load_signal_folder(tmp_path / "signal")
    assert isinstance(loaded, kind)
    histories = [np.array([0, 1])]
    np.testing.assert_array_equal(loaded.scores(histories), signal.scores(histories))


def test_only_the_training_interactions_count() -> None:
    np.testing.assert_array_equal(
        fit_signal("popularity", LESSONS).scores([np.array([0])]), [[1, 2, 0]]
    )


def test_recent_popularity_needs_timestamps() -> None:
    with pytest.raises(DataError, match="needs timestamps"):
        fit_signal("recent popularity", LESSONS)


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="no signal 'easy': expected some of popularity; "):
        fit_signal("easy", LESSONS)


def test_networks_are_told_from_the_rest() -> None:
    assert [name for name in NAMES if is_network(name)] == [
        "SASRec",
        "GRU4Rec",
        "Caser",
        "SASRec, DROS",
        "GRU4Rec, DROS",
        "Caser, DROS",
    ]


def test_a_folder_without_a_signal_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"signal\.json"):
        load_signal_folder(tmp_path)


@pytest.mark.model
def test_a_network_goes_by_its_name_and_comes_back_from_its_folder(tmp_path: Path) -> None:
    signal = fit_signal("GRU4Rec, DROS", LESSONS)
    assert signal.name == "GRU4Rec, DROS"
    signal.save(tmp_path / "signal")
    histories = [np.array([0, 1])]
    np.testing.assert_array_equal(
        load_signal_folder(tmp_path / "signal").scores(histories), signal.scores(histories)
    )
