from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigrec.data.interactions import Interactions
from bigrec.errors import BundleError, DataError, SettingsError
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.neural import SequentialModel
from bigrec.models.popularity import Popularity
from bigrec.models.registry import (
    NAMES,
    TrainingData,
    fit_model,
    is_network,
    load_scoring_model,
)
from bigrec.models.text import GaussianText, TextKNN, TfIdf

# Two users: items 0, 1, 2 and 1, 2; the last of each is not a training interaction.
ROWS = Interactions(
    user_ids=["a", "b"],
    user_start=np.array([0, 3, 5]),
    items=np.array([0, 1, 2, 1, 2], dtype=np.int32),
    times=None,
    ratings=None,
    splits=None,
)
DATA = TrainingData(
    interactions=ROWS,
    train=np.array([True, True, False, True, False]),
    titles=["Toy Story (1995)", "Toy Story 2 (1999)", "Fargo (1996)"],
    valid_histories=[np.array([0, 1])],
    valid_targets=np.array([2]),
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("popularity", Popularity),
        ("co-occurrence", Cooccurrence),
        ("EASE", Ease),
        ("tf-idf", TfIdf),
        ("text kNN", TextKNN),
        ("Gaussian", GaussianText),
        pytest.param("GRU4Rec, DROS", SequentialModel, marks=pytest.mark.model),
    ],
)
def test_a_model_is_fitted_by_its_name(name: str, kind: type) -> None:
    model = fit_model(name, DATA, embed=lambda titles: np.eye(len(titles)))
    assert isinstance(model, kind)
    assert model.name == name


@pytest.mark.parametrize("name", ["text kNN", "Gaussian"])
def test_models_of_title_vectors_need_something_that_embeds(name: str) -> None:
    with pytest.raises(ValueError, match=f"a function that embeds titles, for {name}"):
        fit_model(name, DATA)


def test_only_the_training_interactions_count() -> None:
    np.testing.assert_array_equal(
        fit_model("popularity", DATA).scores([np.array([0])]), [[1, 2, 0]]
    )


def test_recent_popularity_needs_timestamps() -> None:
    with pytest.raises(DataError, match="needs timestamps"):
        fit_model("recent popularity", DATA)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no model 'easy': expected some of popularity; "):
        fit_model("easy", DATA)


def test_networks_are_told_from_the_rest() -> None:
    assert [name for name in NAMES if is_network(name)] == [
        "SASRec",
        "GRU4Rec",
        "Caser",
        "SASRec, DROS",
        "GRU4Rec, DROS",
        "Caser, DROS",
    ]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.json is missing"):
        load_scoring_model(tmp_path)


@pytest.mark.parametrize("name", ["text kNN", "Gaussian"])
def test_an_embedding_that_lacks_titles_is_refused(name: str) -> None:
    functions: list[Any] = [lambda _: np.ones((2, 3)), lambda _: [[1.0, 2.0]]]
    for embed in functions:
        with pytest.raises(ValueError, match=r"embed gave \d vectors for 3 titles; expected one"):
            fit_model(name, DATA, embed=embed)


@pytest.mark.parametrize("name", ["popularity", "co-occurrence", "EASE"])
@pytest.mark.parametrize("train", [slice(None), np.ones(5), np.ones(3, dtype=bool)])
def test_what_is_no_mask_of_the_rows_is_refused(name: str, train: Any) -> None:
    with pytest.raises(ValueError, match="expected bool of shape"):
        fit_model(name, replace(DATA, train=train))
