"""Latent decoding: fitting that resumes, both heads, updates, and an untrained model."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError, SettingsError
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.models.text.grounded_titles import GaussianTitles, MeanTitles
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.latent_fitting import collect_statistics
from bigrec.recommender.latent_query_encoder import LatentQueryEncoder
from bigrec.settings import Settings
from bigrec.storage import read_json
from bigrec.types import FloatArray
from tests.conftest import TITLES, tiny_dataset, tiny_frames, tiny_settings
from torture.damage import resign

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]


def fit(tiny_model: Path, *changes: str) -> BIGRec:
    return BIGRec(tiny_settings(tiny_model, *changes, mode="latent")).fit(tiny_dataset())


def encoder_of(model: BIGRec) -> LatentQueryEncoder:
    encoder = model.fitted.encoder
    assert isinstance(encoder, LatentQueryEncoder)
    return encoder


@pytest.fixture(scope="module")
def fitted(tiny_model: Path) -> BIGRec:
    return fit(tiny_model)


class FakeStates:
    """States that say how long the history was; stops when told to."""

    dim = 2

    def __init__(self, *, stops_after: int | None = None) -> None:
        self._left = stops_after

    def within(self, sequences: list[list[str]]) -> FloatArray:
        if self._left == 0:
            raise KeyboardInterrupt
        if self._left is not None:
            self._left -= 1
        rows = [[length, 1] for titles in sequences for length in range(1, len(titles))]
        return np.array(rows, dtype=np.float32)


def collected(folder: Path, states: Any) -> GaussianStatistics:
    sequences = [np.array([start % 4, (start + 1) % 4, (start + 3) % 4]) for start in range(200)]
    return collect_statistics(
        states,
        sequences,
        rows=np.arange(4),
        folder=folder,
    )


def test_interrupted_collecting_resumes_to_the_same_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigrec.recommender.latent_fitting._SAVE_EVERY_S", -1.0)
    expected = collected(tmp_path / "whole", FakeStates())
    assert expected.counts.sum() == 400
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            collected(tmp_path / "killed", FakeStates(stops_after=1))
    assert len(list((tmp_path / "killed").iterdir())) == 1
    resumed = collected(tmp_path / "killed", FakeStates())
    np.testing.assert_array_equal(resumed.sums, expected.sums)
    np.testing.assert_array_equal(resumed.counts, expected.counts)
    np.testing.assert_array_equal(resumed.second_moment, expected.second_moment)
    # What is complete is read.
    collected(tmp_path / "killed", FakeStates(stops_after=0))


def test_the_head_is_that_of_the_settings(fitted: BIGRec, tiny_model: Path) -> None:
    assert isinstance(encoder_of(fitted).grounded, GaussianTitles)
    plain = fit(tiny_model, "grounding.head=l2")
    grounded = encoder_of(plain).grounded
    assert isinstance(grounded, MeanTitles)
    assert [method.label for method in encoder_of(plain).methods.values()] == ["BIGRec, latent L2"]
    first = plain.recommend(HISTORY, k=1, exclude_seen=False)[0]
    histories = [plain.catalog.resolve(HISTORY)]
    states = encoder_of(plain).states(histories)
    distances = np.linalg.norm(grounded.item_points() - states, axis=1)
    assert first.distance == pytest.approx(distances.min(), rel=1e-4)
    assert first.title == plain.catalog.unique_titles[int(distances.argmin())]


def test_the_means_are_those_of_the_training_interactions(tiny_model: Path) -> None:
    model = fit(tiny_model, "grounding.head=l2")
    statistics = encoder_of(model).grounded.statistics
    n_train = int(model.fitted.counts.sum())
    # Every training interaction but the first of each of 20 users.
    assert statistics.counts.sum() == n_train - 20


def test_few_shots_are_known_from_the_examples_alone(tiny_model: Path) -> None:
    few = fit(tiny_model, "generative.latent.train_on=examples", "data.max_train_examples=3")
    counts = encoder_of(few).grounded.statistics.counts
    assert 3 <= counts.sum() <= 3 * 7


def test_an_untrained_model_has_the_states_of_the_base_model(tiny_model: Path) -> None:
    untrained = fit(tiny_model, "generative.finetune.epochs=0", "baselines.tune=none")
    encoder = encoder_of(untrained)
    histories = [untrained.catalog.resolve(HISTORY)]
    states = encoder.states(histories)
    with encoder.lm.model.disable_adapter():
        np.testing.assert_array_equal(encoder.states(histories), states)


def test_later_interactions_are_added_without_training(fitted: BIGRec, tmp_path: Path) -> None:
    later = pl.DataFrame(
        [
            {"user_id": "u0", "item_id": "i4", "timestamp": 10_000},
            {"user_id": "new", "item_id": "i1", "timestamp": 10_000},
            {"user_id": "new", "item_id": "i2", "timestamp": 10_001},
        ]
    )
    fitted.save(tmp_path / "bundle")
    model = BIGRec.load(tmp_path / "bundle", device="cpu")
    before = encoder_of(model).grounded.statistics
    model.update(later)
    after = encoder_of(model).grounded.statistics
    # A user's first interaction has nothing before it.
    assert after.counts.sum() - before.counts.sum() == 2
    state = encoder_of(model).states([model.catalog.resolve(["i1"])])[0]
    gained = after.sums - before.sums
    np.testing.assert_allclose(gained[model.catalog.resolve(["i2"])[0]], state, rtol=1e-5)


@pytest.mark.parametrize("head", ["l2", "gaussian"])
def test_a_bundle_gives_the_same_lists_and_takes_new_titles(
    tiny_model: Path, tmp_path: Path, head: str
) -> None:
    model = fit(tiny_model, f"grounding.head={head}")
    model.save(tmp_path / "bundle")
    loaded = BIGRec.load(tmp_path / "bundle", device="cpu")
    assert loaded.recommend(HISTORY, k=8) == model.recommend(HISTORY, k=8)
    _, items = tiny_frames()
    more = pl.concat([items, pl.DataFrame({"item_id": ["new"], "title": ["Alien (1979)"]})])
    before = [item.item_id for item in loaded.recommend(HISTORY, k=12, exclude_seen=False)]
    loaded.update_catalog(Catalog.from_frame(more))
    after = [item.item_id for item in loaded.recommend(HISTORY, k=13, exclude_seen=False)]
    assert len(after) == len(TITLES) + 1
    assert [item for item in after if item != "new"] == before


def test_states_of_another_dimension_are_refused(
    fitted: BIGRec, tmp_path: Path, tiny_model: Path
) -> None:
    from bigrec.models.base import write_model_folder

    fitted.save(tmp_path / "bundle")
    grounded = encoder_of(fitted).grounded

    def collect(rows: Any, vectors: Any) -> GaussianStatistics:
        statistics = GaussianStatistics.empty(len(vectors), 3)
        statistics.partial_fit(np.ones((2, 3), dtype=np.float32), rows[:2])
        return statistics

    assert isinstance(grounded, GaussianTitles)
    other = GaussianTitles.fit(
        fitted.catalog.titles,
        grounded.grounding.parameters,
        embed=lambda titles: np.ones((len(titles), 2)),
        collect=collect,
    )
    write_model_folder(
        tmp_path / "bundle" / "latent",
        read_json(tmp_path / "bundle" / "latent" / "model.json")["kind"],
        settings=other.to_settings(),
        arrays=other.to_arrays(),
    )
    resign(tmp_path / "bundle")
    with pytest.raises(BundleError, match="its states have 3 dimensions and the base model's"):
        BIGRec.load(tmp_path / "bundle", device="cpu")


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        (["generative.decoding.num_beams=2"], "generative.decoding.method: beams"),
        (["generative.embedding.pooling=mean"], "generative.decoding.method: beams"),
        (["grounding.beams=top1"], "generative.decoding.method: beams"),
        (["generative.prompt.response_prefix=Next"], "generative.prompt.style: plain"),
    ],
)
def test_what_latent_decoding_does_not_do_cannot_be_set(changes: list[str], needs: str) -> None:
    latent = ["mode=generative", "generative.decoding.method=latent"]
    with pytest.raises(SettingsError, match=needs):
        Settings.read(overrides=[*latent, *changes])


@pytest.mark.parametrize("change", ["grounding.head=l2", "generative.latent.train_on=examples"])
def test_what_only_latent_decoding_does_cannot_be_set_without_it(change: str) -> None:
    with pytest.raises(SettingsError, match=r"generative\.decoding\.method: latent"):
        Settings.read(overrides=["mode=generative", change])
