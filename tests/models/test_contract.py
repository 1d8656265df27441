"""The contract that every model fulfills, from popularity to the language model."""

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from bigrec.data.interactions import Interactions
from bigrec.errors import BundleError, DataError
from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS, POPULARITY_GAMMAS
from bigrec.models.base import Scorer, ScoringModel
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.llm import LLMRetriever
from bigrec.models.neural import SequentialModel
from bigrec.models.popularity import Popularity
from bigrec.models.precomputed import PrecomputedScores
from bigrec.models.registry import load_scoring_model
from bigrec.models.text import GaussianText, TextKNN, TfIdf
from bigrec.storage import file_digest
from bigrec.types import BoolArray, FloatArray
from tests.conftest import TITLES
from tests.models.fakes import N, all_rows, ring
from tests.models.llm import fakes as llm
from tests.models.neural import fakes as neural

LLM = pytest.param("LLM retrieval", marks=pytest.mark.model)
HISTORY_FREE = ["popularity", "recent popularity"]
NETWORKS = ["SASRec", "GRU4Rec", "Caser", "SASRec, DROS"]
HISTORY_BASED = ["co-occurrence", "EASE", "Gaussian", *NETWORKS, LLM]
FITTED = [*HISTORY_FREE, *HISTORY_BASED]
TEXT = ["text kNN", "tf-idf"]
STORED_ALONE = [*FITTED[:-1], *TEXT, "precomputed"]
REGISTERED = STORED_ALONE
ALL = [*STORED_ALONE, LLM]

# Padded on the left, without padding, longer than any network reads, padded within, and empty.
HISTORIES = [
    np.array([-1, -1, 0]),
    np.array([2, 3]),
    np.arange(N),
    np.array([5, -1, 5]),
    np.zeros(0, dtype=np.int64),
]

Fit = Callable[[Interactions, BoolArray], Scorer]

FITS: dict[str, Fit] = {
    "popularity": lambda of, train: Popularity.fit(np.bincount(of.items[train], minlength=N)),
    "recent popularity": lambda of, train: Popularity.fit_recent(
        of, train=train, n_items=N, half_life_days=1
    ),
    "co-occurrence": lambda of, train: Cooccurrence.fit(of, train=train, n_items=N),
    "EASE": lambda of, train: Ease.fit(of, train=train, n_items=N, regularization=1),
    "Gaussian": lambda of, train: fit_gaussian(of, train=train),
    "SASRec": lambda of, train: neural.fit("SASRec", of, train=train),
    "GRU4Rec": lambda of, train: neural.fit("GRU4Rec", of, train=train),
    "Caser": lambda of, train: neural.fit("Caser", of, train=train),
    "SASRec, DROS": lambda of, train: neural.fit("SASRec", of, train=train, robust=True),
    "text kNN": lambda *_: TextKNN.fit(np.random.default_rng(0).normal(size=(N, 3)), decay=0.5),
    "tf-idf": lambda *_: TfIdf.fit(TITLES[:N], decay=0.5),
    "precomputed": lambda *_: PrecomputedScores("another model", precomputed_scores()),
}


def fit_gaussian(of: Interactions, *, train: BoolArray) -> GaussianText:
    return GaussianText.fit(
        of,
        train=train,
        titles=TITLES[:N],
        embed=lambda titles: np.random.default_rng(0).normal(size=(len(titles), 3)),
        decay=0.5,
        window=10,
        shrinkage=0.1,
        prior_strength=1,
        ridge=1,
        popularity_weight=1,
        popularity_smoothing=1,
    )


def precomputed_scores() -> FloatArray:
    return np.arange(len(HISTORIES) * N, dtype=np.float32).reshape(len(HISTORIES), N)


@cache
def fitted(kind: str) -> Scorer:
    return FITS[kind](ring(), all_rows(ring()))


@cache
def fitted_retriever(tiny_model: Path) -> LLMRetriever:
    return llm.fit(llm.load(tiny_model), epochs=2)


@pytest.fixture
def fit(request: pytest.FixtureRequest) -> Fit:
    """Fits the kind of model that a test is parametrized with."""
    if request.param in FITS:
        return FITS[request.param]
    lm = llm.load(request.getfixturevalue("tiny_model"))
    return lambda of, train: llm.fit(lm, of, train, epochs=2)


@pytest.fixture(params=ALL)
def model(request: pytest.FixtureRequest) -> Any:
    """A model of every kind, fitted to the ring."""
    if request.param in FITS:
        return fitted(request.param)
    return fitted_retriever(request.getfixturevalue("tiny_model"))


@pytest.fixture
def load(request: pytest.FixtureRequest, model: Any) -> Callable[[Path], Scorer]:
    """Loads a model of the fixture's class."""
    options: dict[str, Any] = {}
    if model.kind == SequentialModel.kind:
        options = {"device": "cpu"}
    elif model.kind == LLMRetriever.kind:
        lm = llm.load(request.getfixturevalue("tiny_model"))
        options = {"lm": lm, "index": model.index, "title_ids": model.title_ids}
    return partial(type(model).load, **options)


def scores(model: Scorer, *numbers: int) -> FloatArray:
    """Scores for the histories of these numbers, by default for all."""
    positions = np.array(numbers or range(len(HISTORIES)))
    return model.at_queries(positions).scores([HISTORIES[number] for number in positions])


def edit(folder: Path, **fields: Any) -> None:
    """Change fields of a saved model's description."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_every_query_gets_a_finite_score_for_every_item(model: Scorer) -> None:
    actual = model.scores(HISTORIES)
    assert actual.shape == (len(HISTORIES), model.n_items)
    assert actual.dtype in {np.dtype(np.float32), np.dtype(np.float64)}
    assert np.isfinite(actual).all()


def test_no_query_gets_no_scores(model: Scorer) -> None:
    actual = model.at_queries(np.zeros(0, dtype=np.int64)).scores([])
    assert actual.shape == (0, model.n_items)


def test_a_batch_scores_like_its_queries_one_by_one(model: Scorer) -> None:
    alone = np.concatenate([scores(model, number) for number in range(len(HISTORIES))])
    np.testing.assert_allclose(scores(model), alone, rtol=1e-4, atol=1e-5)


def test_some_of_the_queries_get_their_own_scores(model: Scorer) -> None:
    expected = scores(model)
    np.testing.assert_allclose(scores(model, 2, 0), expected[[2, 0]], rtol=1e-4, atol=1e-5)
    rows = slice(1, 3)
    actual = model.at_queries(rows).scores(HISTORIES[rows])
    np.testing.assert_allclose(actual, expected[rows], rtol=1e-4, atol=1e-5)


def test_padding_is_skipped_wherever_it_stands(model: Scorer) -> None:
    single = model.at_queries(slice(0, 1))
    np.testing.assert_array_equal(
        single.scores([np.array([-1, 2, -1, 3, -1])]), single.scores([np.array([2, 3])])
    )


@pytest.mark.parametrize("model", [*HISTORY_BASED, *TEXT], indirect=True)
@pytest.mark.parametrize("history", [[], [-1, -1]], ids=str)
def test_an_empty_history_scores_all_items_0(model: Scorer, history: list[int]) -> None:
    actual = model.scores([np.array(history, dtype=np.int64), HISTORIES[0]])
    np.testing.assert_array_equal(actual[0], np.zeros(model.n_items))


@pytest.mark.parametrize("model", HISTORY_FREE, indirect=True)
def test_popularity_scores_an_empty_history_like_any_other(model: Scorer) -> None:
    actual = scores(model)
    np.testing.assert_array_equal(actual[-1], actual[0])


@pytest.mark.parametrize("model", [*FITTED, *TEXT], indirect=True)
@pytest.mark.parametrize("beyond", [-2, 0])
def test_an_item_outside_of_the_catalog_is_refused(model: Scorer, beyond: int) -> None:
    item = beyond or model.n_items
    message = f"a history holds item number {item}; expected 0 to {model.n_items - 1}, or -1"
    with pytest.raises(ValueError, match=message):
        model.scores([np.array([0, item])])


def test_histories_are_read_from_any_iterable(model: Scorer) -> None:
    lists = [history.tolist() for history in HISTORIES]
    expected = model.scores(HISTORIES)
    np.testing.assert_array_equal(model.scores(iter(lists)), expected)  # type: ignore[arg-type]
    generators = [(item for item in history) for history in lists]
    np.testing.assert_array_equal(model.scores(generators), expected)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected .*item numbers"):
        model.scores([["1"]])  # type: ignore[list-item]


def test_histories_stay_unchanged(model: Scorer) -> None:
    histories = [history.copy() for history in HISTORIES]
    for history in histories:
        history.flags.writeable = False
    before = model.scores(histories).copy()
    for history, expected in zip(histories, HISTORIES, strict=True):
        np.testing.assert_array_equal(history, expected)
    np.testing.assert_array_equal(model.scores(histories), before)


@pytest.mark.parametrize("fit", FITTED, indirect=True)
def test_interactions_stay_unchanged(fit: Fit) -> None:
    of, train = ring(), all_rows(ring())
    of.items.flags.writeable = train.flags.writeable = False
    fit(of, train)
    np.testing.assert_array_equal(of.items, ring().items)


@pytest.mark.parametrize("fit", FITTED, indirect=True)
def test_only_training_interactions_are_learned(fit: Fit) -> None:
    of, other = ring(), ring()
    train = all_rows(of)
    train[:4] = train[-1] = False
    other.items[~train] = 7
    assert other.times is not None
    other.times[-1] *= 1000
    expected = fit(of, train).scores(HISTORIES)
    np.testing.assert_array_equal(fit(other, train).scores(HISTORIES), expected)


@pytest.mark.parametrize("fit", FITTED[1:], indirect=True)
@pytest.mark.parametrize(
    "train", [np.ones(3, dtype=bool), np.ones(72, dtype=int), np.ones((72, 1), dtype=bool)]
)
def test_training_rows_that_are_not_a_mask_are_refused(fit: Fit, train: Any) -> None:
    with pytest.raises(ValueError, match=r"expected bool of shape \(72,\)"):
        fit(ring(), train)


@pytest.mark.parametrize("fit", FITTED[1:], indirect=True)
def test_no_training_interactions_are_refused(fit: Fit) -> None:
    with pytest.raises(DataError, match="no training interactions: train is False everywhere"):
        fit(ring(), ~all_rows(ring()))


def test_a_model_has_a_name(model: Scorer) -> None:
    assert model.name.strip()


@pytest.mark.parametrize(
    ("model", "grid"),
    [
        ("popularity", POPULARITY_GAMMAS),
        ("recent popularity", POPULARITY_GAMMAS),
        ("co-occurrence", COLLABORATIVE_GAMMAS),
        ("EASE", COLLABORATIVE_GAMMAS),
        ("Gaussian", COLLABORATIVE_GAMMAS),
        ("GRU4Rec", COLLABORATIVE_GAMMAS),
        ("text kNN", COLLABORATIVE_GAMMAS),
        ("tf-idf", COLLABORATIVE_GAMMAS),
        ("precomputed", COLLABORATIVE_GAMMAS),
        pytest.param("LLM retrieval", COLLABORATIVE_GAMMAS, marks=pytest.mark.model),
    ],
    indirect=["model"],
)
def test_the_gamma_grid_is_the_papers_for_popularity_or_collaborative_weights(
    model: Scorer, grid: FloatArray
) -> None:
    assert model.gamma_grid is grid


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("popularity", False),
        ("co-occurrence", False),
        ("EASE", False),
        ("Gaussian", True),
        ("GRU4Rec", False),
        ("text kNN", True),
        ("tf-idf", True),
        ("precomputed", True),
        pytest.param("LLM retrieval", True, marks=pytest.mark.model),
    ],
    indirect=["model"],
)
def test_only_models_with_scores_for_cold_items_know_them(model: Scorer, expected: bool) -> None:
    assert model.knows_cold_items is expected


def test_a_loaded_model_gives_the_same_scores(
    model: ScoringModel, load: Callable[[Path], Scorer], tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (loaded.name, loaded.n_items) == (model.name, model.n_items)
    np.testing.assert_array_equal(loaded.scores(HISTORIES), model.scores(HISTORIES))


@pytest.mark.parametrize("model", REGISTERED, indirect=True)
def test_the_registry_loads_a_model_without_its_class(model: ScoringModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = load_scoring_model(tmp_path / "model")
    assert type(loaded) is type(model)
    # A network is loaded to another device, if there is one.
    np.testing.assert_allclose(
        loaded.scores(HISTORIES), model.scores(HISTORIES), rtol=1e-4, atol=1e-4
    )


def test_a_model_replaces_an_older_one(
    model: ScoringModel, load: Callable[[Path], Scorer], tmp_path: Path
) -> None:
    Popularity.fit(np.array([1, 2])).save(tmp_path / "model")
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").n_items == model.n_items
    files = sorted(file.name for file in (tmp_path / "model").iterdir())
    assert files == ["arrays.safetensors", "model.json"]


def append_a_byte(folder: Path) -> None:
    with (folder / "arrays.safetensors").open("ab") as stream:
        stream.write(b"x")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), r"model\.json is missing"),
        (lambda folder: (folder / "model.json").write_text("{"), r"model\.json is damaged"),
        (lambda folder: edit(folder, format=1), "has format 1; this bigrec reads format 2"),
        (lambda folder: edit(folder, kind="other"), "holds a model of kind 'other'; expected '"),
        (lambda folder: edit(folder, settings={}), "it lacks "),
        (
            lambda folder: (folder / "arrays.safetensors").unlink(),
            r"arrays\.safetensors cannot be used: it is missing",
        ),
        (append_a_byte, r"do not match the checksum in model\.json"),
    ],
    ids=["no file", "no JSON", "format", "kind", "settings", "no arrays", "changed arrays"],
)
def test_a_damaged_folder_is_refused(
    model: ScoringModel,
    load: Callable[[Path], Scorer],
    damage: Callable[[Path], Any],
    message: str,
    tmp_path: Path,
) -> None:
    model.save(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(BundleError, match=message):
        load(tmp_path / "model")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a saved model's arrays, with the checksum that belongs to them."""
    path = folder / "arrays.safetensors"
    arrays = load_file(path)
    change(arrays)
    path.write_bytes(save(arrays))
    edit(folder, arrays_sha256=file_digest(path))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(
    model: ScoringModel, load: Callable[[Path], Scorer], tmp_path: Path, value: float
) -> None:
    model.save(tmp_path / "model")

    def spoil(arrays: dict[str, Any]) -> None:
        name = next(name for name in sorted(arrays) if arrays[name].dtype.kind == "f")
        arrays[name].flat[0] = value

    def counted(arrays: dict[str, Any]) -> None:
        arrays["counts"] = arrays["counts"].astype(np.float64)
        spoil(arrays)

    rewrite(tmp_path / "model", counted if model.name == "popularity" else spoil)
    with pytest.raises(BundleError, match="holds NaN or infinity; expected finite numbers"):
        load(tmp_path / "model")


@pytest.mark.parametrize("change", ["shape", "type", "missing", "more"])
def test_arrays_of_another_shape_type_or_name_are_refused(
    model: ScoringModel, load: Callable[[Path], Scorer], tmp_path: Path, change: str
) -> None:
    model.save(tmp_path / "model")

    def spoil(arrays: dict[str, Any]) -> None:
        name = max(arrays, key=lambda name: arrays[name].ndim)
        if change == "shape":
            arrays[name] = arrays[name][None]
        elif change == "type":
            arrays[name] = arrays[name].astype(np.int8)
        elif change == "missing":
            del arrays[name]
        else:
            arrays["more"] = arrays[name]

    rewrite(tmp_path / "model", spoil)
    with pytest.raises(BundleError, match=r"cannot be used: (it lacks|it holds|.* expected )"):
        load(tmp_path / "model")


def test_settings_of_another_type_are_refused(
    model: ScoringModel, load: Callable[[Path], Scorer], tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    settings = json.loads(path.read_text())["settings"]
    for name in settings:
        edit(tmp_path / "model", settings=settings | {name: [{}]})
        with pytest.raises(BundleError, match=f"model cannot be used: .*{name}"):
            load(tmp_path / "model")


def test_indices_beyond_the_matrix_are_refused(tmp_path: Path) -> None:
    # Compiled code would read beyond its memory.
    for made in (fitted("co-occurrence"), fitted("tf-idf"), fitted("text kNN")):
        made.save(tmp_path / "model")  # type: ignore[attr-defined]
        name = "rows" if isinstance(made, TextKNN) else "columns"

        def spoil(arrays: dict[str, Any], name: str = name) -> None:
            arrays[name][-1] = 10**6

        rewrite(tmp_path / "model", spoil)
        with pytest.raises(BundleError, match=r"no sparse matrix|rows holds values from"):
            load_scoring_model(tmp_path / "model")
