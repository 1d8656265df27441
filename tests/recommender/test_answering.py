"""Answers for everybody: filters, unknown items, empty histories, other gammas, versions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import BundleError, DataError
from bigrec.recommender.bigrec import BIGRec
from bigrec.storage import write_json
from tests.conftest import MODES, Mode, tiny_frames, tiny_settings
from torture.damage import resign

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]
# Two of them share their title with another item.
IDS = [*(f"i{number}" for number in range(12)), "twin1", "twin2"]
PRICES = [None, *range(1, 14)]
CATEGORIES = ["film", "series"] * 7


def items() -> pl.DataFrame:
    rows = tiny_frames()[1]
    twins = pl.DataFrame({"item_id": ["twin1", "twin2"], "title": rows["title"][[7, 0]]})
    frame: pl.DataFrame = pl.concat([rows, twins])
    return frame.with_columns(price=pl.Series(PRICES), kind=pl.Series(CATEGORIES))


def catalog(*, without: set[str] = frozenset()) -> Catalog:  # type: ignore[assignment]
    rows = items().filter(~pl.col("item_id").is_in(list(without)))
    return Catalog.from_frame(rows, columns=["price", "kind"])


def fit(tiny_model: Path, mode: Mode, *, signals: str = "[]") -> BIGRec:
    dataset = Dataset.from_frames(
        tiny_frames()[0], items(), item_type="movie", item_columns=["price", "kind"]
    )
    return BIGRec(tiny_settings(tiny_model, mode=mode, signals=signals)).fit(dataset)


@pytest.fixture(scope="module")
def fused(tiny_model: Path, mode: Mode) -> BIGRec:
    return fit(tiny_model, mode, signals="[popularity, EASE]")


@pytest.fixture(scope="module", params=MODES)
def plain(request: pytest.FixtureRequest, tiny_model: Path) -> BIGRec:
    return fit(tiny_model, request.param)


@pytest.fixture(scope="module")
def text(tiny_model: Path) -> BIGRec:
    return fit(tiny_model, "text", signals="[popularity, EASE]")


REQUESTS = st.fixed_dictionaries(
    {
        "history": st.lists(st.sampled_from([*IDS, "unknown"]), max_size=4),
        "items": st.none() | st.lists(st.sampled_from([*IDS, "unknown"])),
        "exclude": st.lists(st.sampled_from([*IDS, "gone"])),
        "below": st.none() | st.integers(0, 14),
        "kind": st.none() | st.sampled_from(["film", "series"]),
        "exclude_seen": st.booleans(),
        "k": st.integers(1, 15),
        "absent": st.sets(st.sampled_from(IDS), max_size=3),
    }
)


def wanted_titles(made: Catalog, request: Mapping[str, Any]) -> dict[str, set[str]]:
    """Ids that may stand for each title, by the words of the documentation alone."""
    frame = made.to_frame()
    allowed: dict[str, set[str]] = {}
    ids, excluded = set(frame["item_id"]), set(request["exclude"])
    seen = set(request["history"]) & ids if request["exclude_seen"] else set()
    seen_titles = {row["title"] for row in frame.iter_rows(named=True) if row["item_id"] in seen}
    for row in frame.iter_rows(named=True):
        price, below = row["price"], request["below"]
        if (
            (request["items"] is None or row["item_id"] in request["items"])
            and row["item_id"] not in excluded
            and (below is None or (price is not None and price < below))
            and (request["kind"] is None or row["kind"] == request["kind"])
            and row["title"] not in seen_titles
        ):
            allowed.setdefault(row["title"], set()).add(row["item_id"])
    return allowed


@settings(
    max_examples=25,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=4))
def test_no_list_holds_an_excluded_item_and_none_is_short_while_candidates_remain(
    text: BIGRec, requests: list[dict[str, Any]]
) -> None:
    model = BIGRec.of(text.fitted)
    for request in requests:
        made = catalog(without=request["absent"])
        model.update_catalog(made)
        where: dict[str, Any] = {}
        if request["below"] is not None:
            where["price"] = {"lt": request["below"]}
        if request["kind"] is not None:
            where["kind"] = request["kind"]
        found = model.recommend(
            request["history"],
            k=request["k"],
            items=request["items"],
            exclude=request["exclude"],
            exclude_seen=request["exclude_seen"],
            where=where,
            unknown="skip",
        )
        allowed = wanted_titles(made, request)
        assert len(found) == min(request["k"], len(allowed))
        assert len({item.title for item in found}) == len(found)
        for item in found:
            assert item.item_id in allowed[item.title]
        known = [item for item in request["history"] if item in made.item_ids]
        assert (found.source == "popularity") == (not known)
        absent = [item for item in request["history"] if item not in made.item_ids]
        assert found.unknown == tuple(dict.fromkeys(absent))


def test_conditions_leave_the_order_of_the_list(fused: BIGRec) -> None:
    whole = fused.recommend(HISTORY, k=14)
    found = fused.recommend(HISTORY, k=14, where={"price": {"ge": 4}, "kind": "film"})
    kept = items().filter((pl.col("price") >= 4) & (pl.col("kind") == "film"))
    assert [item.title for item in found] == [
        item.title for item in whole if item.title in kept["title"].to_list()
    ]
    assert found == fused.recommend(
        HISTORY, k=14, where=(pl.col("price") >= 4) & (pl.col("kind") == "film")
    )
    with pytest.raises(ValueError, match="where names the column 'prize', which the catalog lacks"):
        fused.recommend(HISTORY, where={"prize": 1})


def test_columns_come_back_with_the_bundle_and_change_with_the_catalog(
    fused: BIGRec, tmp_path: Path
) -> None:
    fused.save(tmp_path / "bundle")
    model = BIGRec.load(tmp_path / "bundle", device="cpu")
    assert model.catalog.columns.equals(fused.catalog.columns)
    before = model.recommend(HISTORY, k=14)
    dearer = items().with_columns(pl.col("price") + 100)
    encoder = model.fitted.encoder
    model.update_catalog(Catalog.from_frame(dearer, columns=["price"]))
    # Nothing is computed again for columns alone.
    assert model.fitted.encoder is encoder
    assert model.recommend(HISTORY, k=14, where={"price": {"lt": 100}}) == []
    assert model.recommend(HISTORY, k=14) == before
    model.save(tmp_path / "dearer")
    loaded = BIGRec.load(tmp_path / "dearer", device="cpu")
    assert loaded.catalog.columns.equals(model.catalog.columns)
    assert loaded.version == model.version


def test_the_source_says_what_ranked_a_list(plain: BIGRec, text: BIGRec) -> None:
    of_mode = "text" if plain.settings.mode == "text" else "llm"
    assert plain.recommend(HISTORY).source == of_mode
    assert text.recommend(HISTORY).source == "fused"
    nobody = plain.recommend([], unknown="skip")
    assert nobody.source == "popularity"
    assert nobody.version == plain.version
    assert nobody[:2].source == "popularity"


def test_a_history_without_known_items_is_answered_by_popularity(text: BIGRec) -> None:
    counts = text.fitted.title_counts
    order = sorted(range(len(counts)), key=lambda title: (-counts[title], title))
    titles = text.catalog.unique_titles
    for history in ([], ["nothing"]):
        found = text.recommend(history, k=5, unknown="skip")
        assert [item.title for item in found] == [titles[title] for title in order[:5]]
        assert [item.score for item in found] == [counts[title] for title in order[:5]]
        assert all(item.distance is None for item in found)
    kept = text.recommend([], k=14, unknown="skip", where={"kind": "series"})
    assert {item.item_id for item in kept} <= set(IDS[1::2])


def test_known_and_empty_histories_are_answered_in_one_call(fused: BIGRec) -> None:
    histories = [[], HISTORY, ["nothing"], ["i7", "gone", "gone"]]
    found = fused.recommend_batch(histories, k=4, unknown="skip")
    assert [one.source for one in found] == ["popularity", "fused", "popularity", "fused"]
    assert [one.unknown for one in found] == [(), (), ("nothing",), ("gone",)]
    for history, of_batch in zip(histories, found, strict=True):
        alone = fused.recommend(history, k=4, unknown="skip")
        assert [item.item_id for item in alone] == [item.item_id for item in of_batch]


def test_unknown_items_are_errors_unless_they_are_skipped(text: BIGRec) -> None:
    for options in ({"exclude": ["gone"]}, {"items": ["gone"]}):
        with pytest.raises(DataError, match="not in the catalog"):
            text.recommend(HISTORY, **options)  # type: ignore[arg-type]
    found = text.recommend(HISTORY, items=["i1", "gone"], exclude=["lost", "i2"], unknown="skip")
    assert [item.item_id for item in found] == ["i1"]
    assert found.ignored == ("gone", "lost")
    assert found.unknown == ()
    with pytest.raises(ValueError, match="unknown is 'ignore'; expected 'error' or 'skip'"):
        text.recommend(HISTORY, unknown="ignore")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the history holds None at position 0"):
        text.recommend([None], unknown="skip")  # type: ignore[list-item]


def test_other_gammas_rank_anew(text: BIGRec) -> None:
    signals = text.signals
    assert set(signals) == {"popularity", "EASE"}
    assert text.recommend(HISTORY, k=9, gammas=dict(signals)) == text.recommend(HISTORY, k=9)
    # So large a gamma leaves nothing to the other parts of the score.
    counts = text.fitted.title_counts
    found = text.recommend(HISTORY, k=14, gammas={"popularity": 1e6, "EASE": 0}, exclude_seen=False)
    listed = [int(counts[text.catalog.unique_titles.index(item.title)]) for item in found]
    rule = text.fitted.rule(exclude_seen=False, gammas={"popularity": 1e6, "EASE": 0})
    assert rule is not None
    assert rule.gammas == (1e6, 0.0)
    if rule.method == "weighted_sum":
        assert listed == sorted(listed, reverse=True)
    assert text.signals == signals


@pytest.mark.parametrize(
    ("gammas", "error", "message"),
    [
        ({"SASRec": 1}, ValueError, "gammas names 'SASRec', which is not fused: expected some of"),
        ({"EASE": -1}, ValueError, "the gamma of EASE is -1; expected a number from 0 to 1e"),
        ({"EASE": float("nan")}, ValueError, "the gamma of EASE is nan; expected a number"),
        ({"EASE": True}, ValueError, "the gamma of EASE is True; expected a number"),
        ({"EASE": "1"}, ValueError, "the gamma of EASE is '1'; expected a number"),
        (5, TypeError, "gammas is 5; expected gammas by the names of signals"),
    ],
)
def test_gammas_that_cannot_be_used_are_told(
    text: BIGRec, gammas: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        text.recommend(HISTORY, gammas=gammas)


def test_without_signals_there_are_no_gammas(plain: BIGRec) -> None:
    assert plain.signals == {}
    with pytest.raises(ValueError, match="and no signals are fused here: expected None"):
        plain.recommend(HISTORY, gammas={"EASE": 1})


def test_the_version_changes_with_the_model_and_its_catalog_alone(
    fused: BIGRec, text: BIGRec, tmp_path: Path
) -> None:
    version = fused.version
    fused.save(tmp_path / "bundle")
    model = BIGRec.load(tmp_path / "bundle", device="cpu")
    assert model.version == version
    assert model.recommend(HISTORY).version == version
    model.update_catalog(catalog(without={"i2"}))
    other = model.version
    assert other != version
    model.save(tmp_path / "changed")
    assert BIGRec.load(tmp_path / "changed", device="cpu").version == other
    assert model.update_catalog(catalog()).version == version
    if fused.settings.mode != "text":
        assert version != text.version


def test_an_update_is_a_new_version(text: BIGRec, tmp_path: Path) -> None:
    model = BIGRec.of(text.fitted)
    rows = pl.DataFrame({"user_id": ["u1"], "item_id": ["i4"], "timestamp": [10_000]})
    assert model.update(rows).version != text.version
    again = BIGRec.of(text.fitted).update(rows)
    assert again.version == model.version
    model.save(tmp_path / "bundle")
    assert BIGRec.load(tmp_path / "bundle", device="cpu").version == model.version


@pytest.mark.parametrize("content", [{}, {"version": "x" * 16}, {"version": 5}, []])
def test_a_damaged_version_is_refused(text: BIGRec, tmp_path: Path, content: Any) -> None:
    text.save(tmp_path / "bundle")
    write_json(tmp_path / "bundle" / "version.json", content)
    resign(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"version\.json cannot be used"):
        BIGRec.load(tmp_path / "bundle", device="cpu")


def test_a_bundle_without_a_version_has_that_of_its_content(text: BIGRec, tmp_path: Path) -> None:
    text.save(tmp_path / "bundle")
    (tmp_path / "bundle" / "version.json").unlink()
    resign(tmp_path / "bundle")
    loaded = BIGRec.load(tmp_path / "bundle", device="cpu")
    assert len(loaded.version) == 16
    np.testing.assert_array_equal(loaded.fitted.counts, text.fitted.counts)
