import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks import sample as story
from bigrec.data.dataset import Dataset
from bigrec.data.readers.sample import FOLDER, INTERACTIONS, ITEMS, read
from bigrec.data.sources import load_dataset
from bigrec.data.splits import split_dataset
from bigrec.evaluation.metrics import ndcg_at
from bigrec.grounding.ranks import target_ranks
from bigrec.models.base import Scorer
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.popularity import Popularity
from bigrec.recommender.scoring import ItemsByTitle


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return Dataset.sample()


def test_the_sample_is_what_its_story_makes() -> None:
    interactions, items = story.sample_tables()
    packed = (FOLDER / INTERACTIONS).read_bytes()
    assert gzip.decompress(packed).decode() == interactions
    assert (FOLDER / ITEMS).read_text(encoding="utf-8") == items


def test_the_sample_stays_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 150_000


def test_the_short_name_reads_the_sample(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read_by_name = load_dataset("sample")
    assert read_by_name.catalog.content_fingerprint == sample.catalog.content_fingerprint
    assert (sample.name, sample.item_type) == ("sample", "film")
    assert (len(sample.interactions.user_ids), sample.catalog.n_items) == (320, 240)
    assert sample.catalog.n_titles == 240
    assert sample.catalog.columns.columns == ["category", "genre", "year", "in_stock"]


def test_a_folder_of_the_short_name_comes_before_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample/interactions.csv").write_text("user_id,item_id,timestamp\n7,a,1\n")
    (tmp_path / "sample/items.csv").write_text("item_id,title\na,A\n")
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("sample").interactions) == 1


def test_other_folders_are_not_the_sample(tmp_path: Path) -> None:
    assert read(tmp_path, None) is None


def test_the_sample_needs_no_repair(sample: Dataset) -> None:
    assert [repair.name for repair in sample.repairs.as_rows() if repair.count] == []


def test_the_sample_has_films_that_nobody_has_watched(sample: Dataset) -> None:
    split = split_dataset(sample.interactions, method="auto", max_history_length=10, min_history=1)
    counts = split.train_counts(sample.catalog.n_items)
    cold_targets = np.mean(counts[split.test.targets] == 0)
    assert 0.01 < cold_targets < 0.1
    watched = np.bincount(sample.interactions.items, minlength=sample.catalog.n_items)
    announced = np.flatnonzero(watched == 0)
    assert len(announced) > 0
    in_stock = sample.catalog.columns["in_stock"].to_numpy()
    assert not in_stock[announced].any()


def test_a_model_that_reads_the_history_beats_popularity_clearly_on_the_sample(
    sample: Dataset,
) -> None:
    catalog, interactions = sample.catalog, sample.interactions
    split = split_dataset(interactions, method="auto", max_history_length=10, min_history=1)
    train = split.row_splits == 0
    histories = list(split.test.histories())
    models: list[Scorer] = [
        Popularity.fit(split.train_counts(catalog.n_items)),
        Cooccurrence.fit(interactions, train=train, n_items=catalog.n_items),
    ]
    items = ItemsByTitle.of(catalog.title_ids, n_titles=catalog.n_titles)
    popularity, cooccurrence = (
        ndcg_at(
            target_ranks(
                -items.best(model.scores(histories)),
                catalog.title_ids[split.test.targets],
                exclude=[np.unique(catalog.title_ids[history]) for history in histories],
            ),
            k=10,
        )
        for model in models
    )
    assert cooccurrence > 3 * popularity > 0
