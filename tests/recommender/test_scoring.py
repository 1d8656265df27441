"""Serving and validation score by the same path."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.fusion.cold_mixture import ColdMixture
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.models.popularity import Popularity
from bigrec.models.precomputed import PrecomputedScores
from bigrec.recommender.answering import Request, answer
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.explaining import explain
from bigrec.recommender.scoring import TitleScorer
from bigrec.recommender.training_data import EvalQueries
from tests.conftest import MODES, Mode, tiny_frames, tiny_settings


def catalog(**titles: str) -> Catalog:
    return Catalog.from_frame(
        pl.DataFrame({"item_id": list(titles), "title": list(titles.values())})
    )


def test_a_title_scores_as_its_best_item() -> None:
    scorer = TitleScorer(Popularity.fit(np.array([1, 5, 3])), catalog(a="A", b="B", c="A"))
    np.testing.assert_array_equal(scorer.scores([np.array([0])]), [[3, 5]])
    np.testing.assert_array_equal(scorer.weights([np.array([0])]), [[0, 1]])


def test_cold_titles_are_imputed_unless_the_scorer_knows_them() -> None:
    imputer = ColdItemImputer(np.array([1]), np.array([[0]]), np.array([[1.0]]))
    titles = catalog(a="A", b="B", c="C")
    scores = np.array([[3.0, 7.0, 1.0]])
    knowing = TitleScorer(PrecomputedScores("mine", scores), titles, imputer=imputer)
    np.testing.assert_allclose(knowing.weights_of(scores), [[1 / 3, 1, 0]])
    counting = TitleScorer(Popularity.fit(np.array([3, 7, 1])), titles, imputer=imputer)
    np.testing.assert_allclose(counting.weights_of(scores), [[1, 1, 0]])
    np.testing.assert_allclose(counting.weights_of(scores, imputed=False), [[1 / 3, 1, 0]])


def dataset_with_twins_and_cold_items() -> Dataset:
    """Two items share a title, and one has no interactions."""
    interactions, items = tiny_frames()
    twin = pl.DataFrame({"item_id": ["i12", "cold"], "title": ["Fargo (1996)", "Heat (1995)"]})
    return Dataset.from_frames(interactions, pl.concat([items, twin]), item_type="movie")


@pytest.mark.model
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_served_list_is_the_validated_one(
    tiny_model: Path, mode: Mode, exclude_seen: bool
) -> None:
    dataset = dataset_with_twins_and_cold_items()
    settings = tiny_settings(tiny_model, mode=mode, signals="[popularity, EASE]")
    model = BIGRec(settings).fit(dataset)
    fitted, catalog = model.fitted, dataset.catalog
    assert fitted.fusion is not None
    histories = [["i0", "i3"], ["i11", "i5", "i12"], ["cold", "i2"]]
    items = [catalog.resolve(history) for history in histories]
    queries = EvalQueries(
        user_ids=["a", "b", "c"], histories=items, full_histories=items, targets=np.array([1, 4, 5])
    )
    validated = fitted.score(fitted.encoder.encode(items), queries, signals=fitted.fusion.signals)
    rule = fitted.fusion.rules[exclude_seen]
    served = model.recommend_batch(histories, k=catalog.n_titles, exclude_seen=exclude_seen)
    for batch in validated.batches():
        fused = batch.fused(rule, list(fitted.fusion.signals))
        for row, query in enumerate(range(batch.rows.start, batch.rows.stop)):
            distances = fused[row].copy()
            if exclude_seen:
                distances[batch.seen[row]] = np.inf
            order = np.argsort(distances, kind="stable")[: len(served[query])]
            assert [item.title for item in served[query]] == [
                catalog.unique_titles[title] for title in order
            ]
            # float32 products of other numbers of beams differ by a rounding.
            scores = [item.score for item in served[query]]
            np.testing.assert_allclose(scores, -distances[order], rtol=1e-5, atol=1e-6)


@pytest.mark.model
@pytest.mark.parametrize("mode", MODES)
def test_a_served_list_mixes_cold_titles_as_the_validated_one(tiny_model: Path, mode: Mode) -> None:
    dataset = dataset_with_twins_and_cold_items()
    settings = tiny_settings(tiny_model, mode=mode, signals="[popularity, text kNN]")
    plain = BIGRec(settings).fit(dataset).fitted
    assert plain.fusion is not None
    rule = FusionRule("weighted_sum", "top1", (0.5, 0.0), cold=ColdMixture(1, 0.9, 1.0, 5.0))
    fitted = plain.with_fusion(replace(plain.fusion, rules={True: rule, False: rule}))
    history = ["i0", "i3"]
    items = [dataset.catalog.resolve(history)]
    queries = EvalQueries(
        user_ids=["a"], histories=items, full_histories=items, targets=np.array([1])
    )
    signals = plain.fusion.signals
    (batch,) = fitted.score(fitted.encoder.encode(items), queries, signals=signals).batches()
    fused = batch.fused(rule, list(signals))[0]
    (served,) = answer(fitted, {"h": history}, Request(k=14, exclude_seen=False))
    titles = dataset.catalog.unique_titles
    assert [item.title for item in served] == [titles[t] for t in np.argsort(fused, kind="stable")]
    np.testing.assert_allclose(
        [item.score for item in served], -np.sort(fused), rtol=1e-5, atol=1e-6
    )
    # The one cold title has nine tenths of the probability.
    assert served[0].title == "Heat (1995)"
    assert np.exp(served[0].score) == pytest.approx(0.9)
    explained = explain(fitted, history, "cold", Request(exclude_seen=False))
    assert [part.name for part in explained.parts if part.share > 0.99] == ["text kNN"]
