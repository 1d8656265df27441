"""Both decodings at once: one checkpoint whose texts and states rank together."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.experiments.pipeline import Pipeline
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.joint_query_encoder import Factors, JointQueryEncoder
from bigrec.types import FloatArray
from tests.conftest import tiny_dataset, tiny_settings

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]
BOTH = "generative.decoding.method=both"


@pytest.fixture(scope="module")
def fitted(tiny_model: Path) -> BIGRec:
    return BIGRec(tiny_settings(tiny_model, BOTH)).fit(tiny_dataset())


def encoder_of(model: BIGRec) -> JointQueryEncoder:
    encoder = model.fitted.encoder
    assert isinstance(encoder, JointQueryEncoder)
    return encoder


def with_factors(encoder: JointQueryEncoder, factors: Factors) -> JointQueryEncoder:
    return JointQueryEncoder(encoder.texts, encoder.states, factors)


def distances(encoder: JointQueryEncoder, histories: list[object]) -> FloatArray:
    (batch,) = encoder.ranker.iter_distances(encoder.encode(histories), beams="top1")  # type: ignore[arg-type]
    return np.asarray(batch.combine("top1")[0])


def test_squared_distances_add_up_with_their_factors(fitted: BIGRec) -> None:
    encoder = with_factors(encoder_of(fitted), Factors(texts=2.0, states=0.5))
    history = fitted.catalog.resolve(HISTORY)
    parts = []
    for part in (encoder.texts, encoder.states):
        (batch,) = part.ranker.iter_distances(part.encode([history]), beams="top1")
        parts.append(batch.combine("top1")[0])
    expected = np.sqrt(4.0 * parts[0] ** 2 + 0.25 * parts[1] ** 2)
    np.testing.assert_allclose(distances(encoder, [history]), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("factors", "alone"),
    [
        (Factors(texts=1.0, states=0.0), lambda encoder: encoder.texts),
        (Factors(texts=0.0, states=1.0), lambda encoder: encoder.states),
    ],
)
def test_a_factor_of_zero_ranks_by_the_other_alone(
    fitted: BIGRec, factors: Factors, alone: Callable[[JointQueryEncoder], JointQueryEncoder]
) -> None:
    encoder = with_factors(encoder_of(fitted), factors)
    histories = [fitted.catalog.resolve(HISTORY), fitted.catalog.resolve(["i7"])]
    other = alone(encoder)
    lists = encoder.ranker.rank(encoder.encode(histories), k=12, beams="top1")
    expected = other.ranker.rank(other.encode(histories), k=12, beams="top1")
    np.testing.assert_array_equal(lists.title_ids, expected.title_ids)


def test_texts_are_those_of_beams_and_every_beam_has_the_state(fitted: BIGRec) -> None:
    encoder = encoder_of(fitted)
    histories = [fitted.catalog.resolve(HISTORY), fitted.catalog.resolve(["i7", "i2"])]
    encoded = encoder.encode(histories)
    assert encoded.texts == encoder.texts.encode(histories).texts
    states = encoder.states.encode(histories).vectors * np.float32(encoder.factors.states)
    width = states.shape[1]
    for query, state in enumerate(states):
        for vector in encoded.vectors[encoded.offsets[query] : encoded.offsets[query + 1]]:
            np.testing.assert_array_equal(vector[-width:], state.astype(np.float32))


def test_a_bundle_recommends_the_same_also_after_an_update_and_with_new_titles(
    fitted: BIGRec, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "bundle")
    loaded = BIGRec.load(tmp_path / "bundle", device="cpu")
    assert loaded.recommend(HISTORY, k=8) == fitted.recommend(HISTORY, k=8)
    assert encoder_of(loaded).factors == encoder_of(fitted).factors
    items = pl.DataFrame(
        {
            "item_id": [*fitted.catalog.item_ids, "new"],
            "title": [*fitted.catalog.titles, "Fargo Two (1997)"],
        }
    )
    loaded.update_catalog(Catalog.from_frame(items))
    later = pl.DataFrame({"user_id": ["u1"], "item_id": ["i2"], "timestamp": [10_000]})
    before = distances(encoder_of(loaded), [loaded.catalog.resolve(HISTORY)])
    loaded.update(later)
    after = distances(encoder_of(loaded), [loaded.catalog.resolve(HISTORY)])
    assert before.shape == after.shape == (1, 13)
    loaded.save(tmp_path / "again")
    again = BIGRec.load(tmp_path / "again", device="cpu")
    assert again.recommend(HISTORY, k=9) == loaded.recommend(HISTORY, k=9)
    assert again.catalog.n_items == 13


def test_an_explanation_shows_the_part_of_the_texts_and_that_of_the_state(
    fitted: BIGRec,
) -> None:
    first = fitted.recommend(HISTORY, k=1)[0]
    explained = fitted.explain(HISTORY, first.item_id)
    assert explained.rank == 1
    names = [part.name for part in explained.parts]
    assert names == ["BIGRec, both: texts", "BIGRec, both: state"]
    assert sum(part.share for part in explained.parts) == pytest.approx(1)
    assert explained.texts
    assert explained.generated_text == first.generated_text


def test_an_evaluation_ranks_by_both_and_a_complete_one_is_read(
    tiny_model: Path, tiny_files: Path, tmp_path: Path
) -> None:
    changes = (BOTH, f"data.source={tiny_files}", "evaluation.refit=train+valid")
    settings = tiny_settings(tiny_model, *changes, signals="[popularity]")
    result = Pipeline(tmp_path, settings).evaluate()
    models = {row.method.model for row in result.rows}
    assert models >= {"BIGRec, both", "BIGRec, both, all beams"}
    again = Pipeline(tmp_path, settings).evaluate()
    assert [row.value for row in again.rows] == [row.value for row in result.rows]
