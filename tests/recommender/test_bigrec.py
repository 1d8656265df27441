"""The recommender: recommends real items only, in memory and after it was saved."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError, DataError, NotFittedError
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.recommender.bigrec import BIGRec
from tests.conftest import (
    TITLES,
    Mode,
    save_tiny_model,
    tiny_dataset,
    tiny_settings,
)

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]


@pytest.fixture(scope="module")
def fitted(tiny_model: Path, mode: Mode) -> BIGRec:
    return BIGRec(tiny_settings(tiny_model, mode=mode)).fit(tiny_dataset())


@pytest.fixture(scope="module")
def fused(tiny_model: Path, mode: Mode) -> BIGRec:
    return BIGRec(tiny_settings(tiny_model, mode=mode, signals="[popularity, EASE]")).fit(
        tiny_dataset()
    )


@pytest.fixture(scope="module")
def bundle(fitted: BIGRec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    fitted.save(folder, metrics={"hr@10": 0.5})
    return folder


def test_every_recommendation_is_an_item_of_the_catalog_in_order(fitted: BIGRec) -> None:
    found = fitted.recommend(HISTORY, k=5)
    assert [one.rank for one in found] == [1, 2, 3, 4, 5]
    assert len({one.item_id for one in found}) == 5
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    for one in found:
        assert fitted.catalog.titles[int(one.item_id[1:])] == one.title
        assert one.distance is not None
        assert one.distance >= 0


@pytest.mark.parametrize("gammas", [(0.0, 0.0), (0.7, 1.5), (50.0, 3.0)])
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("product", {"floor": 0.0}),
        ("product", {"floor": 0.3}),
        ("weighted_sum", {"normalization": "min_max"}),
        ("weighted_sum", {"normalization": "z_score"}),
        ("rrf", {}),
    ],
)
def test_scores_fall_with_the_rank_under_every_fusion(
    fused: BIGRec, method: Any, changes: dict[str, Any], gammas: tuple[float, float]
) -> None:
    fusion = fused.fitted.fusion
    assert fusion is not None
    rules = {
        protocol: FusionRule(method, rule.beams, gammas, **changes)
        for protocol, rule in fusion.rules.items()
    }
    recommender = BIGRec.of(fused.fitted.with_fusion(replace(fusion, rules=rules)))
    limits: tuple[dict[str, Any], ...] = ({}, {"items": ["i1", "i2", "i9"]}, {"exclude": ["i7"]})
    for limit in limits:
        for exclude_seen in (True, False):
            found = recommender.recommend(HISTORY, k=12, exclude_seen=exclude_seen, **limit)
            assert [item.rank for item in found] == list(range(1, len(found) + 1))
            scores = [item.score for item in found]
            assert scores == sorted(scores, reverse=True)
            assert np.isfinite(scores).all()


def test_what_was_seen_is_left_out_unless_asked_for(fitted: BIGRec) -> None:
    every = fitted.catalog.n_titles
    unseen = fitted.recommend(HISTORY, k=every)
    assert {one.item_id for one in unseen} == {f"i{n}" for n in range(12)} - set(HISTORY)
    kept = fitted.recommend(HISTORY, k=every, exclude_seen=False)
    assert len(kept) == every


def test_titles_and_ids_mean_the_same_history(fitted: BIGRec) -> None:
    by_title = fitted.recommend([TITLES[0], "babe  (1995)", "i5"], k=3)
    assert by_title == fitted.recommend(HISTORY, k=3)


def test_a_batch_gives_what_each_history_gives_alone(fitted: BIGRec) -> None:
    histories = [HISTORY, ["i7"], ["i1", "i2", "i9", "i11"]]
    for beams in fitted.fitted.encoder.methods:
        together = fitted.recommend_batch(histories, k=4, beams=beams)
        for history, of_batch in zip(histories, together, strict=True):
            alone = fitted.recommend(history, k=4, beams=beams)
            assert [item.item_id for item in alone] == [item.item_id for item in of_batch]


def test_beams_without_an_effect_are_refused(fused: BIGRec) -> None:
    with pytest.raises(ValueError, match="beams is 'all', which has no effect here"):
        fused.recommend(HISTORY, beams="all")


def test_generated_texts_are_told_in_generative_mode_alone(fitted: BIGRec, mode: Mode) -> None:
    texts = [item.generated_text for item in fitted.recommend(HISTORY, k=3)]
    assert all((text is None) == (mode != "generative") for text in texts)


def test_only_candidates_are_recommended(fused: BIGRec) -> None:
    candidates = ["i0", "i7", "i2", "i9"]
    found = fused.recommend(HISTORY, k=12, items=candidates)
    assert {item.item_id for item in found} == {"i7", "i2", "i9"}
    whole = [item.item_id for item in fused.recommend(HISTORY, k=12)]
    assert [item.item_id for item in found] == [item for item in whole if item in candidates]
    assert [item.rank for item in found] == [1, 2, 3]


def test_excluded_items_are_never_recommended_and_the_list_is_refilled(fused: BIGRec) -> None:
    first = fused.recommend(HISTORY, k=3)
    found = fused.recommend(HISTORY, k=3, exclude=[first[0].item_id, first[2].title])
    assert found[0].item_id == first[1].item_id
    assert len(found) == 3
    assert not {first[0].item_id, first[2].item_id} & {item.item_id for item in found}
    with pytest.raises(DataError, match="not in the catalog"):
        fused.recommend(HISTORY, exclude=["no such item"])


def test_of_items_that_share_a_title_a_candidate_stands_for_it(bundle: Path) -> None:
    model = BIGRec.load(bundle, device="cpu")
    items = model.catalog.to_frame()
    twin = pl.DataFrame({"item_id": ["twin"], "title": [TITLES[7]]})
    model.update_catalog(Catalog.from_frame(pl.concat([items, twin])))
    assert {item.item_id for item in model.recommend(["i0"], k=12, exclude=["i7"])} == {
        "twin",
        *(f"i{number}" for number in range(1, 12) if number != 7),
    }
    assert [item.item_id for item in model.recommend(["i0"], k=3, items=["twin"])] == ["twin"]
    assert "twin" not in {item.item_id for item in model.recommend(["i0"], k=12)}


def test_a_list_is_a_sequence_and_a_frame(fitted: BIGRec) -> None:
    found = fitted.recommend(HISTORY, k=4)
    frame = found.to_frame()
    assert frame["item_id"].to_list() == [item.item_id for item in found]
    assert frame["rank"].to_list() == [1, 2, 3, 4]
    assert found.to_frame("pandas")["title"].tolist() == frame["title"].to_list()
    assert list(found[1:]) == list(found)[1:]
    with pytest.raises(ValueError, match="kind is 'arrow': expected 'polars' or 'pandas'"):
        found.to_frame("arrow")  # type: ignore[call-overload]


def test_a_history_longer_than_the_window_is_read_from_its_end(fitted: BIGRec) -> None:
    long = [f"i{n % 12}" for n in range(50)]
    kept = fitted.recommend(long, k=3, exclude_seen=False)
    assert kept == fitted.recommend(long[-10:], k=3, exclude_seen=False)


def test_no_histories_give_no_lists(fitted: BIGRec) -> None:
    assert fitted.recommend_batch([]) == []


@pytest.mark.parametrize("history", [[], "i0"])
def test_an_empty_history_or_a_bare_text_is_refused(fitted: BIGRec, history: list[str]) -> None:
    with pytest.raises(DataError, match=r"the history is .*: expected a list of"):
        fitted.recommend(history)


def test_unknown_items_are_named_with_what_comes_close(fitted: BIGRec) -> None:
    with pytest.raises(DataError, match=r"Farg \(1996\).*Fargo \(1996\)"):
        fitted.recommend(["i0", "Farg (1996)"])


def test_an_unfitted_recommender_says_what_to_do() -> None:
    with pytest.raises(NotFittedError, match=r"call fit\(\) or BIGRec.load\(\) first"):
        BIGRec().recommend(HISTORY)


def test_a_loaded_bundle_gives_the_same_lists(fitted: BIGRec, bundle: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copied"
    shutil.copytree(bundle, elsewhere)
    loaded = BIGRec.load(elsewhere, device="cpu")
    assert loaded.recommend(HISTORY, k=8) == fitted.recommend(HISTORY, k=8)


def test_a_bundle_holds_no_pickle_and_no_path_of_the_machine(bundle: Path, mode: Mode) -> None:
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"manifest.json", "settings.yaml", "catalog.parquet", "metrics.json"} <= names
    trained = {
        "text": {"text/model.json"},
        "retrieval": {"retriever/model.json", "index/index.json"},
        "generative": {"adapter/adapter_config.json", "index/index.json"},
        "latent": {"adapter/adapter_config.json", "latent/model.json"},
        "likelihood": {"adapter/adapter_config.json", "index/index.json"},
    }
    assert trained[mode] <= names
    suffixes = {Path(name).suffix for name in names}
    assert suffixes <= {".json", ".yaml", ".parquet", ".safetensors", ".md"}


@pytest.mark.parametrize("file", ["catalog.parquet", "vectors", "settings.yaml"])
def test_a_damaged_bundle_is_refused_with_the_name_of_the_file(
    bundle: Path, tmp_path: Path, file: str, mode: Mode
) -> None:
    if file == "vectors":
        folders = {"text": "text/arrays", "latent": "latent/arrays"}
        file = f"{folders.get(mode, 'index/embeddings')}.safetensors"
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(BundleError, match=f"{file} is damaged"):
        BIGRec.load(copy)


def test_another_base_model_is_refused(bundle: Path, tmp_path: Path, mode: Mode) -> None:
    if mode == "text":
        pytest.skip("text mode has no base model")
    other = save_tiny_model(tmp_path / "other", chat=True, seed=9)
    with pytest.raises(BundleError, match="was made with base model"):
        BIGRec.load(bundle, base_model=str(other))


def test_a_base_model_that_moved_can_be_pointed_to(
    bundle: Path, tiny_model: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tiny_model, moved)
    assert BIGRec.load(bundle, base_model=str(moved)).recommend(HISTORY, k=1)


@pytest.mark.parametrize("manifest", [None, '{"name": "A page", "icons": []}', "[", "[1]"])
def test_saving_never_replaces_a_folder_that_is_no_bundle(
    fitted: BIGRec, tmp_path: Path, manifest: str | None
) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    if manifest is not None:
        # Pages and extensions of browsers have a file of this name, too.
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match="exists and is no bundle"):
        fitted.save(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_new_items_are_recommended_without_training(bundle: Path) -> None:
    model = BIGRec.load(bundle, device="cpu")
    items = pl.concat(
        [model.catalog.to_frame(), pl.DataFrame({"item_id": ["new"], "title": ["N"]})]
    )
    embedded: list[tuple[int, int]] = []
    model.update_catalog(Catalog.from_frame(items[1:]), progress=lambda *a: embedded.append(a))
    # One item was added and one removed: only the new title had to be embedded.
    assert embedded[-1] == (1, 1)
    found = {one.item_id for one in model.recommend(["i3"], k=12, exclude_seen=False)}
    assert "new" in found
    assert "i0" not in found


def test_a_catalog_of_one_item_can_be_recommended_from(bundle: Path) -> None:
    model = BIGRec.load(bundle, device="cpu")
    model.update_catalog(Catalog.from_frame(model.catalog.to_frame()[:1]))
    assert [one.item_id for one in model.recommend(["i0"], k=1, exclude_seen=False)] == ["i0"]
    assert model.recommend(["i0"], k=1, exclude_seen=True) == []
