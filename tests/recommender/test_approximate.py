"""Approximate search: the exact lists where all is a candidate, and a graph in the bundle."""

import shutil
from pathlib import Path

import pytest

from bigrec.errors import BundleError, SettingsError
from bigrec.experiments.pipeline import Pipeline
from bigrec.grounding.neighbors.usearch import UsearchGraph
from bigrec.recommender.approximate import GRAPH_FILE
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.bundle import read_manifest
from bigrec.storage import read_json
from tests.conftest import MODES, Mode, tiny_dataset, tiny_settings
from torture.damage import resign

pytest.importorskip("usearch")
pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]
USEARCH = "index.backend=usearch"


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("approximate") / "bundle"
    BIGRec(tiny_settings(tiny_model, USEARCH, mode="retrieval")).fit(tiny_dataset()).save(folder)
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the graphs that are built."""
    sizes: list[int] = []
    build = UsearchGraph.build

    def counted(points, **options):  # type: ignore[no-untyped-def]
        sizes.append(len(points))
        return build(points, **options)

    monkeypatch.setattr(UsearchGraph, "build", counted)
    return sizes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("signals", ["[]", "[popularity, EASE]"])
def test_a_graph_of_a_small_catalog_gives_the_exact_lists(
    tiny_model: Path, mode: Mode, signals: str
) -> None:
    models = [
        BIGRec(tiny_settings(tiny_model, *changes, mode=mode, signals=signals)).fit(tiny_dataset())
        for changes in ([], [USEARCH])
    ]
    for options in ({}, {"exclude_seen": False}, {"items": ["i1", "i7"]}):
        exact, approximate = (model.recommend(HISTORY, k=6, **options) for model in models)
        assert [item.item_id for item in approximate] == [item.item_id for item in exact]
        scores = [item.score for item in exact]
        assert [item.score for item in approximate] == pytest.approx(scores, rel=1e-5)


@pytest.mark.filterwarnings("ignore:Local mode performs exact")
@pytest.mark.parametrize("signals", ["[]", "[popularity, EASE]"])
def test_candidates_of_qdrant_give_the_exact_lists(
    tiny_model: Path,
    tiny_files: Path,
    tmp_path: Path,
    signals: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("qdrant_client")
    monkeypatch.setenv("QDRANT_URL", ":memory:")
    changes = [f"data.source={tiny_files}", "index.backend=qdrant"]
    settings = tiny_settings(tiny_model, *changes, mode="text", signals=signals)
    Pipeline(tmp_path, settings).evaluate()
    bundle = tmp_path / "bundle"
    measured = read_json(bundle / "metrics.json")["index"]
    assert (measured["backend"], measured["recall@10"]) == ("qdrant", 1)
    assert GRAPH_FILE not in read_manifest(bundle).files
    assert "QDRANT" not in (bundle / "settings.yaml").read_text()
    assert len(BIGRec.load(bundle).recommend(HISTORY)) == 9
    monkeypatch.delenv("QDRANT_URL")
    with pytest.raises(SettingsError, match="a bundle never names one"):
        BIGRec.load(bundle).recommend(HISTORY)


def test_a_bundle_has_the_graph_and_only_its_owner_maps_it(bundle: Path, built: list[int]) -> None:
    assert GRAPH_FILE in read_manifest(bundle).files
    expected = BIGRec.load(bundle).recommend(HISTORY)
    assert built == [12]
    assert BIGRec.load(bundle, trust_index=True).recommend(HISTORY) == expected
    assert built == [12]


def test_a_graph_that_does_not_fit_the_titles_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    (other / GRAPH_FILE).write_bytes(b"no graph")
    resign(other)
    assert BIGRec.load(other).recommend(HISTORY)
    with pytest.raises(BundleError, match=GRAPH_FILE):
        BIGRec.load(other, trust_index=True).recommend(HISTORY)


def test_the_share_of_the_exact_lists_is_among_the_metrics(
    tiny_model: Path, tiny_files: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(tiny_model, f"data.source={tiny_files}", USEARCH, mode="text")
    Pipeline(tmp_path, settings).evaluate()
    measured = read_json(tmp_path / "bundle" / "metrics.json")["index"]
    assert measured["backend"] == "usearch"
    assert measured["recall@10"] == 1
    assert measured["queries"] > 0
