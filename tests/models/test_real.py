"""Models on MovieLens-100K, ranked by themselves."""

import numpy as np
import pytest

from bigrec.data.sources import load_dataset
from bigrec.data.splits import split_dataset
from bigrec.evaluation.metrics import hr_at
from bigrec.grounding.ranks import target_ranks
from bigrec.models.base import Scorer
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.popularity import Popularity
from bigrec.recommender.scoring import ItemsByTitle
from tests.conftest import needs

pytestmark = [pytest.mark.real, needs("recbole")]


@pytest.fixture(scope="module")
def hit_rates() -> dict[str, tuple[float, float]]:
    """HR@10 of every model on 1,000 test queries, with seen items included and excluded."""
    dataset = load_dataset("ml-100k")
    catalog, interactions = dataset.catalog, dataset.interactions
    split = split_dataset(interactions, method="global_time", min_history=10, max_history_length=10)
    train, n_items = split.row_splits == 0, catalog.n_items
    test = split.test.sample(1000, seed=0)
    histories = list(test.histories())
    targets = catalog.title_ids[test.targets]
    seen_titles = [np.unique(catalog.title_ids[history]) for history in histories]
    models: list[Scorer] = [
        Popularity.fit(split.train_counts(n_items)),
        Cooccurrence.fit(interactions, train=train, n_items=n_items),
        Ease.fit(interactions, train=train, n_items=n_items),
    ]
    items = ItemsByTitle.of(catalog.title_ids, n_titles=catalog.n_titles)
    rates = {}
    for model in models:
        scores = items.best(model.scores(histories))
        included, excluded = (
            target_ranks(-scores, targets, exclude=exclude) for exclude in (None, seen_titles)
        )
        rates[model.name] = (hr_at(included, k=10), hr_at(excluded, k=10))
    return rates


@pytest.mark.parametrize("method", ["co-occurrence", "EASE"])
@pytest.mark.parametrize("protocol", [0, 1], ids=["seen included", "seen excluded"])
def test_models_that_read_the_history_beat_popularity(
    hit_rates: dict[str, tuple[float, float]], method: str, protocol: int
) -> None:
    assert hit_rates[method][protocol] > hit_rates["popularity"][protocol]
