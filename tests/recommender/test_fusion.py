"""Signals beside the language model: which they are, and how they change the distances."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError, ModelError, SettingsError
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.models.ease import Ease
from bigrec.models.popularity import Popularity
from bigrec.models.precomputed import PrecomputedScores
from bigrec.models.text import TextKNN, TfIdf
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.fusion import SignalFusion, signal_names
from bigrec.settings import Settings
from bigrec.settings.sections import FusionSettings
from bigrec.storage import read_json, write_json
from bigrec.types import FloatArray
from tests.conftest import MODES, Mode, tiny_dataset, tiny_frames, tiny_settings

DISTANCES = np.array([[0.0, 1.0, 2.0, 4.0]])
HISTORY = [np.array([0])]
RULES = {
    True: FusionRule("weighted_sum", "all", (1.0,)),
    False: FusionRule("weighted_sum", "all", (0.5,)),
}


def catalog(*ids: str) -> Catalog:
    return Catalog.from_frame(pl.DataFrame({"item_id": ids, "title": [f"T {i}" for i in ids]}))


def fusion(counts: list[int], *ids: str) -> SignalFusion:
    return SignalFusion(
        {"popularity": Popularity.fit(np.array(counts))},
        RULES,
        item_ids={"popularity": ids},
    )


def test_signals_are_fused_by_a_rule() -> None:
    fused = fusion([0, 2, 4, 4], *"abcd").for_catalog(catalog(*"abcd"))
    # normalized 0, 1/4, 1/2, 1 less gamma times the weights 0, 1/2, 1, 1
    np.testing.assert_allclose(
        fused.fuse(DISTANCES, HISTORY, rule=RULES[True]), [[0, -0.25, -0.5, 0]]
    )
    np.testing.assert_allclose(fused.fuse(DISTANCES, HISTORY, rule=RULES[False]), [[0, 0, 0, 0.5]])


def test_an_item_that_a_signal_does_not_know_weighs_nothing() -> None:
    # Of the catalog's b, x, d and a, the signal knows all but x; counts 2, none, 4 and 0.
    fused = fusion([0, 2, 4, 4], *"abcd").for_catalog(catalog(*"bxda"))
    np.testing.assert_allclose(
        fused.fuse(DISTANCES, HISTORY, rule=RULES[True]), [[-0.5, 0.25, -0.5, 1]]
    )


def test_a_cold_title_weighs_as_much_as_its_nearest_neighbor() -> None:
    # The last item came later; its nearest neighbor is the third, the most popular one.
    imputer = ColdItemImputer(np.array([4]), np.array([[2]]), np.array([[1.0]]))
    distances = np.array([[0.0, 1.0, 1.0, 1.0, 1.0]])
    signals = fusion([0, 2, 4, 3], *"abcd")
    lowest = signals.for_catalog(catalog(*"abcde")).fuse(distances, HISTORY, rule=RULES[True])
    imputed = signals.for_catalog(catalog(*"abcde"), imputer=imputer).fuse(
        distances, HISTORY, rule=RULES[True]
    )
    assert lowest[0, 4] == 1
    assert imputed[0, 4] == imputed[0, 2] < 1
    np.testing.assert_array_equal(imputed[0, :4], lowest[0, :4])


def test_signals_are_read_back_as_they_were_saved(tmp_path: Path) -> None:
    saved = fusion([0, 2, 4, 4], *"abcd")
    saved.save(tmp_path / "signals")
    loaded = SignalFusion.load(tmp_path / "signals")
    assert list(loaded.signals) == ["popularity"]
    assert loaded.rules == saved.rules
    for exclude_seen in (False, True):
        first, second = (
            signals.for_catalog(catalog(*"abcd")).fuse(
                DISTANCES, HISTORY, rule=signals.rules[exclude_seen]
            )
            for signals in (loaded, saved)
        )
        np.testing.assert_array_equal(first, second)


def test_signals_of_another_format_are_refused(tmp_path: Path) -> None:
    fusion([1, 1], *"ab").save(tmp_path / "signals")
    about = tmp_path / "signals" / "fusion.json"
    write_json(about, {**read_json(about), "format": 99})
    with pytest.raises(BundleError, match=r"fusion\.json has format 99.*Make the bundle again"):
        SignalFusion.load(tmp_path / "signals")


def edited(folder: Path, **changes: Any) -> None:
    content = read_json(folder / "fusion.json")
    write_json(folder / "fusion.json", content | changes)


RULE: dict[str, Any] = FusionRule("weighted_sum", "all", (1.0,)).to_json()

RULE_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"gammas": []}, "has 0 gammas; expected 1 for 1 signals"),
    ({"gammas": [1.0, 1.0]}, "has 2 gammas; expected 1 for 1 signals"),
    ({"method": "rrf"}, "the rule rrf has 1 gammas; expected 0"),
    ({"gammas": [-1.0]}, "gammas.0: Input should be greater than or equal to 0"),
    ({"gammas": [1e300]}, "gammas.0: Input should be less than or equal to"),
    ({"gammas": ["1"]}, "gammas.0: Input should be a valid number"),
    ({"floor": None}, "floor: Input should be a valid number"),
    ({"method": "sum"}, "method: Input should be "),
    ({"beams": "none"}, "beams: Input should be "),
]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signals": []}, "signals: List should have at least 1 item"),
        ({"signals": ["popularity", "popularity"]}, "a signal occurs twice"),
        ({"signals": ["../../x"]}, "there is no model '../../x'"),
        ({"signals": {"popularity": 0}}, "signals: Input should be a valid list"),
        ({"rules": {"seen_included": RULE}}, "it lacks rules.seen_excluded"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        *(
            ({"rules": {"seen_included": {**RULE, **change}, "seen_excluded": RULE}}, reason)
            for change, reason in RULE_CHANGES
        ),
    ],
    ids=str,
)
def test_rules_that_do_not_fit_the_signals_are_told(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    fusion([1, 1], *"ab").save(tmp_path / "signals")
    edited(tmp_path / "signals", **changes)
    with pytest.raises(BundleError, match=rf"fusion\.json cannot be used: .*{re.escape(reason)}"):
        SignalFusion.load(tmp_path / "signals")


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"], ["a", "a"]])
def test_the_items_of_a_signal_are_those_it_scores(tmp_path: Path, ids: list[str]) -> None:
    fusion([1, 1], *"ab").save(tmp_path / "signals")
    pl.DataFrame({"item_id": ids}).write_parquet(tmp_path / "signals" / "0" / "items.parquet")
    with pytest.raises(BundleError, match=r"items\.parquet could not be read as the items of a "):
        SignalFusion.load(tmp_path / "signals")


def test_scores_of_fixed_queries_are_no_signal_of_a_bundle(tmp_path: Path) -> None:
    fusion([1, 1], *"ab").save(tmp_path / "signals")
    np.save(tmp_path / "scores.npy", np.ones((1, 2)))
    path = tmp_path / "scores.npy"
    PrecomputedScores.from_npy(path, name="popularity", n_queries=1, n_items=2).save(
        tmp_path / "signals" / "0"
    )
    with pytest.raises(BundleError, match="its scores are of fixed queries, not of histories"):
        SignalFusion.load(tmp_path / "signals")


def test_a_signal_whose_scores_overflow_is_named() -> None:
    weights = np.full((4, 4), 3e38, dtype=np.float32)
    signals = SignalFusion(
        {"EASE": Ease(1.0, 1.0, weights)},
        dict.fromkeys((True, False), FusionRule("weighted_sum", "all", (1.0,))),
        {"EASE": list("abcd")},
    )
    fused = signals.for_catalog(catalog(*"abcd"))
    with (
        np.errstate(over="ignore"),
        pytest.raises(ModelError, match="the signal EASE gives scores that are NaN or infinite"),
    ):
        fused.fuse(DISTANCES, [np.array([0, 1, 2])], rule=RULES[True])


@pytest.mark.parametrize(
    ("mode", "n_items", "expected"),
    [
        ("retrieval", 5_000, ("co-occurrence", "EASE", "Gaussian", "GRU4Rec")),
        # EASE's matrix grows with the square of the catalog.
        ("generative", 5_001, ("co-occurrence", "Gaussian", "GRU4Rec")),
        ("text", 5_000, ("co-occurrence", "EASE", "text kNN")),
        ("text", 5_001, ("co-occurrence", "text kNN")),
    ],
)
def test_the_default_signals_follow_the_mode_and_the_size_of_the_catalog(
    mode: Mode, n_items: int, expected: tuple[str, ...]
) -> None:
    assert signal_names(Settings.checked({"mode": mode}), n_items=n_items) == expected


def test_signals_that_are_named_are_used_in_any_catalog() -> None:
    settings = Settings(fusion=FusionSettings(signals=("EASE",)))
    assert signal_names(settings, n_items=1_000_000) == ("EASE",)


@pytest.fixture(scope="module", params=MODES)
def fused(request: pytest.FixtureRequest, tiny_model: Path) -> BIGRec:
    mode: Mode = request.param
    settings = tiny_settings(tiny_model, mode=mode, signals="[popularity, EASE]")
    return BIGRec(settings).fit(tiny_dataset())


@pytest.mark.model
def test_a_recommender_with_signals_lists_by_the_fused_distances(fused: BIGRec) -> None:
    fitted = fused.fitted
    assert fitted.fusion is not None
    history = fitted.catalog.resolve(["i0", "i3"])
    (chunk,) = fitted.encoder.ranker.iter_distances(fitted.encoder.encode([history]), beams="all")
    for exclude_seen in (False, True):
        catalog_fusion = fitted.fusion.for_catalog(fitted.catalog)
        distances = catalog_fusion.fuse(
            chunk.combine(fitted.fusion.rules[exclude_seen].beams)[0],
            [history],
            rule=fitted.fusion.rules[exclude_seen],
        )[0]
        if exclude_seen:
            distances[history] = np.inf
        order = np.argsort(distances, kind="stable")[:5]
        expected = [fitted.catalog.item_ids[item] for item in order]
        found = fused.recommend(["i0", "i3"], k=5, exclude_seen=exclude_seen)
        assert [item.item_id for item in found] == expected


@pytest.mark.model
def test_the_bundle_holds_the_signals_and_gives_the_same_list(
    fused: BIGRec, tmp_path: Path
) -> None:
    fused.save(tmp_path / "bundle")
    loaded = BIGRec.load(tmp_path / "bundle")
    for exclude_seen in (False, True):
        lists = [
            model.recommend(["i0", "i3"], k=6, exclude_seen=exclude_seen)
            for model in (loaded, fused)
        ]
        assert lists[0] == lists[1]


@pytest.mark.model
def test_a_new_catalog_keeps_the_signals_for_the_items_that_they_know(
    fused: BIGRec, tmp_path: Path
) -> None:
    fused.save(tmp_path / "bundle")
    model = BIGRec.load(tmp_path / "bundle")
    _, items = tiny_frames()
    new = pl.concat([pl.DataFrame({"item_id": ["new"], "title": ["Heat (1995)"]}), items])
    model.update_catalog(Catalog.from_frame(new))
    found = {item.item_id for item in model.recommend(["i0", "new"], k=11)}
    assert found == {f"i{number}" for number in range(1, 12)}


@pytest.mark.model
@pytest.mark.parametrize("mode", MODES)
def test_gammas_can_be_fixed_by_hand(tiny_model: Path, mode: Mode) -> None:
    changes = ["fusion.method=product", "fusion.gammas={EASE: 0.5, popularity: 3}"]
    settings = tiny_settings(tiny_model, *changes, mode=mode, signals="[popularity, EASE]")
    fitted = BIGRec(settings).fit(tiny_dataset()).fitted
    assert fitted.fusion is not None
    assert {rule.method for rule in fitted.fusion.rules.values()} == {"product"}
    assert {rule.gammas for rule in fitted.fusion.rules.values()} == {(3.0, 0.5)}


@pytest.mark.model
def test_a_gamma_of_a_signal_that_is_not_fused_is_refused(tiny_model: Path) -> None:
    changes = ["fusion.method=product", "fusion.gammas={SASRec: 1}"]
    settings = tiny_settings(tiny_model, *changes, mode="retrieval", signals="auto")
    with pytest.raises(SettingsError, match=r"fusion\.gammas names 'SASRec', which is not fused"):
        BIGRec(settings).fit(tiny_dataset())


def test_signals_of_titles_score_new_items_and_embed_new_titles_alone() -> None:
    old = catalog(*"ab")
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]])
    signals = SignalFusion(
        {
            "text kNN": TextKNN.fit(vectors, decay=0.5),
            "tf-idf": TfIdf.fit(old.titles, decay=0.5),
            "popularity": Popularity.fit(np.array([1, 2])),
        },
        {key: FusionRule("weighted_sum", "all", (1.0, 1.0, 1.0)) for key in (True, False)},
        item_ids=dict.fromkeys(("text kNN", "tf-idf", "popularity"), old.item_ids),
    )
    embedded: list[str] = []

    def embed(titles: Sequence[str]) -> FloatArray:
        embedded.extend(titles)
        return np.array([[1.0, 0.0]] * len(titles))

    new = catalog(*"cba")
    grown = signals.with_catalog(old, new, embed=embed)
    assert embedded == ["T c"]
    knn, tf_idf, popularity = grown.for_catalog(new).scorers
    # The vector of c is that of a, the last item now.
    np.testing.assert_allclose(knn.scores([np.array([2])]), [[1, 0, 1]], atol=1e-6)
    assert tf_idf.scores([np.array([2])]).shape == (1, 3)
    # Popularity does not know c.
    np.testing.assert_array_equal(popularity.scores([np.array([2])]), [[1, 2, 1]])


def test_a_new_title_is_embedded_once_for_all_signals() -> None:
    old, new = catalog(*"ab"), catalog(*"abc")
    names = ("text kNN", "text kNN again")
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]])
    signals = SignalFusion(
        {name: TextKNN.fit(vectors, decay=0.5) for name in names},
        {key: FusionRule("weighted_sum", "all", (1.0, 1.0)) for key in (True, False)},
        item_ids=dict.fromkeys(names, old.item_ids),
    )
    embedded: list[str] = []

    def embed(titles: Sequence[str]) -> FloatArray:
        embedded.extend(titles)
        return np.array([[1.0, 0.0]] * len(titles))

    grown = signals.with_catalog(old, new, embed=embed)
    assert embedded == ["T c"]
    for scorer in grown.for_catalog(new).scorers:
        np.testing.assert_allclose(scorer.scores([np.array([2])]), [[1, 0, 1]], atol=1e-6)
