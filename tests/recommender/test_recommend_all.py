"""Lists for every user of a file: as one by one, in parts, resumed, and refused."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.histories import Histories
from bigrec.errors import DataError, StorageError
from bigrec.recommender.answering import Request
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.recommend_all import RecommendAll
from tests.conftest import Mode, tiny_dataset, tiny_settings

pytestmark = pytest.mark.model

USERS = {
    "a": ["i0", "i3"],
    "new": [],
    "b": ["i7", "gone", "gone"],
    "stranger": ["lost"],
    "c": ["i1", "i2", "i9"],
}
SKIP = Request(k=4, unknown="skip")


@pytest.fixture(scope="module")
def model(tiny_model: Path, mode: Mode) -> BIGRec:
    signals = "[]" if mode == "generative" else "[popularity, EASE]"
    return BIGRec(tiny_settings(tiny_model, mode=mode, signals=signals)).fit(tiny_dataset())


@pytest.fixture(scope="module")
def text(tiny_model: Path) -> BIGRec:
    settings = tiny_settings(tiny_model, mode="text", signals="[popularity, EASE]")
    return BIGRec(settings).fit(tiny_dataset())


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PER_PART", "_PER_WRITTEN_PART"):
        monkeypatch.setattr(f"bigrec.recommender.recommend_all.{name}", 2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("histories") / "histories.parquet"
    pl.DataFrame({"user_id": list(USERS), "item_id": list(USERS.values())}).write_parquet(path)
    return path


def job(model: BIGRec, file: Path, out: Path, request: Request = SKIP) -> RecommendAll:
    return RecommendAll(model.fitted, Histories.read(file), out, request)


@pytest.mark.usefixtures("small_parts")
def test_every_user_gets_the_list_of_a_single_call(
    model: BIGRec, file: Path, tmp_path: Path
) -> None:
    out, done = tmp_path / "lists.parquet", []
    summary = job(model, file, out).run(progress=lambda *step: done.append(step))
    rows = pl.read_parquet(out)
    assert rows.columns == ["user_id", "rank", "item_id", "title", "score", "source"]
    for user, history in USERS.items():
        expected = model.recommend(history, k=4, unknown="skip")
        found = rows.filter(pl.col("user_id") == user)
        assert found["item_id"].to_list() == [item.item_id for item in expected]
        assert found["title"].to_list() == [item.title for item in expected]
        assert found["rank"].to_list() == [item.rank for item in expected]
        assert set(found["source"]) == {expected.source}
        np.testing.assert_allclose(found["score"], [item.score for item in expected], rtol=1e-4)
    assert rows["user_id"].unique(maintain_order=True).to_list() == list(USERS)
    assert summary.users == 5
    assert summary.rows == len(rows)
    assert summary.by_popularity == 2
    assert summary.skipped == 3
    assert summary.unknown == 2
    assert done == [(0, 5), (2, 5), (4, 5), (5, 5)]
    assert [path.name for path in tmp_path.iterdir()] == ["lists.parquet"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_the_suffix_is_the_format(text: BIGRec, file: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"lists{suffix}"
    job(text, file, out).run()
    read: Any = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[suffix]
    assert read(out).height == 4 * len(USERS)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("stop_at", [0, 2, 4, 5])
def test_a_stopped_call_goes_on_and_ends_with_the_same_bits(
    text: BIGRec, file: Path, tmp_path: Path, stop_at: int
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "lists.parquet"
    job(text, file, whole).run()

    def stop(done: int, _: int) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(text, file, out).run(progress=stop)
    assert out.exists() == (stop_at == 5)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "lists.parquet.parts").iterdir()}
    job(text, file, out).run()
    assert out.read_bytes() == whole.read_bytes()
    assert len(made) == 1 + min(3, -(-stop_at // 2))
    assert not (tmp_path / "lists.parquet.parts").exists()


@pytest.mark.usefixtures("small_parts")
def test_parts_of_another_call_are_refused(text: BIGRec, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists.parquet"

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(text, file, out).run(progress=stop)
    for request in (
        Request(k=5, unknown="skip"),
        Request(k=4, unknown="skip", exclude=["i1"]),
        Request(k=4, unknown="skip", exclude_seen=not text.settings.recommend.exclude_seen),
        Request(k=4, unknown="skip", gammas={"EASE": 2.0}),
    ):
        with pytest.raises(
            StorageError, match=r"lists\.parquet\.parts holds parts of another call"
        ):
            job(text, file, out, request).run()
    assert len(list((tmp_path / "lists.parquet.parts").glob("part-*"))) == 1


def test_conditions_hold_for_every_user(text: BIGRec, file: Path, tmp_path: Path) -> None:
    where = {"id": ["i4", "i6", "i8"]}
    request = Request(k=4, unknown="skip", where=where, exclude=["i8", "nothing"])
    summary = job(text, file, tmp_path / "lists.parquet", request).run()
    assert set(pl.read_parquet(tmp_path / "lists.parquet")["item_id"]) == {"i4", "i6"}
    assert summary.ignored == 1


def test_strictly_unknown_items_and_empty_histories_are_errors(
    text: BIGRec, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="2 items are not in the catalog"):
        job(text, file, tmp_path / "lists.parquet", Request(k=4))
    path = tmp_path / "empty.parquet"
    pl.DataFrame({"user_id": ["a", "b"], "item_id": [["i1"], []]}).write_parquet(path)
    with pytest.raises(DataError, match="1 histories are empty, such as that of user 'b'"):
        job(text, path, tmp_path / "lists.parquet", Request(k=4))


def test_another_suffix_is_refused(text: BIGRec, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a name that ends in \.parquet, \.csv, \.jsonl"):
        job(text, file, tmp_path / "lists.xlsx")


def test_a_folder_is_no_output(text: BIGRec, file: Path, tmp_path: Path) -> None:
    (tmp_path / "lists.csv").mkdir()
    with pytest.raises(ValueError, match=r"lists\.csv, a folder; expected a file to write"):
        job(text, file, tmp_path / "lists.csv")


def test_the_working_memory_does_not_grow_with_the_number_of_users(
    text: BIGRec, tmp_path: Path
) -> None:
    sizes = []
    for n_users in (10_000, 100_000):
        path = tmp_path / f"{n_users}.parquet"
        users = [f"u{user}" for user in range(n_users)]
        pl.DataFrame({"user_id": users, "item_id": [["i1", "i2"]] * n_users}).write_parquet(path)
        sizes.append(job(text, path, tmp_path / "lists.parquet").working_bytes)
    assert sizes[0] == sizes[1]
    # 4,096 histories of 4 listed items and 33 dimensions at most, and 256 MiB of distances.
    assert 256 << 20 < sizes[0] < 300 << 20
