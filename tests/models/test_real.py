"""Signals on MovieLens-100K, as methods of their own."""

import numpy as np
import pytest

from bigrec.data.sources import load_dataset
from bigrec.data.splits import split_dataset
from bigrec.evaluation.metrics import hr_at
from bigrec.evaluation.protocol import score_ranks
from bigrec.models.base import Signal
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease
from bigrec.models.popularity import Popularity
from bigrec.models.title_groups import group_scores
from tests.conftest import needs

pytestmark = [pytest.mark.real, needs("recbole")]


@pytest.fixture(scope="module")
def hit_rates() -> dict[str, tuple[float, float]]:
    """HR@10 of every signal on 1,000 test queries, what was seen kept and excluded."""
    dataset = load_dataset("ml-100k")
    catalog, interactions = dataset.catalog, dataset.interactions
    split = split_dataset(interactions, method="global_time", min_history=10)
    train, n_items = split.row_splits == 0, catalog.n_items
    test = split.test.sample(1000, seed=0)
    histories = list(test.histories())
    targets = catalog.group[test.targets]
    gone = [np.unique(catalog.group[history]) for history in histories]
    signals: list[Signal] = [
        Popularity.fit(split.train_counts(n_items)),
        Cooccurrence.fit(interactions, train=train, n_items=n_items),
        Ease.fit(interactions, train=train, n_items=n_items),
    ]
    rates = {}
    for signal in signals:
        scores = group_scores(signal.scores(histories), catalog.group, n_groups=catalog.n_groups)
        kept, excluded = (score_ranks(scores, targets, exclude=seen) for seen in (None, gone))
        rates[signal.name] = (hr_at(kept, k=10), hr_at(excluded, k=10))
    return rates


@pytest.mark.parametrize("method", ["co-occurrence", "EASE"])
@pytest.mark.parametrize("protocol", [0, 1], ids=["seen kept", "seen excluded"])
def test_signals_that_look_at_the_history_beat_popularity(
    hit_rates: dict[str, tuple[float, float]], method: str, protocol: int
) -> None:
    assert hit_rates[method][protocol] > hit_rates["popularity"][protocol]
