"""What the version of a fitted recommender depends on."""

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.grounding.index import ItemIndex
from bigrec.recommender.version import version_of_fit
from bigrec.settings import Settings


def version(*overrides: str) -> str:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["Alien", "Brazil"]})
    catalog = Catalog.from_frame(items)
    index = ItemIndex(("Alien", "Brazil"), np.eye(2, dtype=np.float32), "an embedder")
    settings = Settings.read(overrides=list(overrides))
    return version_of_fit(settings, catalog, np.array([1, 2]), index=index, fusion=None)


@pytest.mark.parametrize(
    ("mode", "override"),
    [
        ("retrieval", "model.device=cuda:1"),
        ("retrieval", "retrieval.report_to=[wandb]"),
        ("generative", "generative.finetune.report_to=[tensorboard]"),
        ("generative", "generative.decoding.server.base_url=http://elsewhere/v1"),
    ],
)
def test_where_it_ran_and_who_watched_do_not_change_it(mode: str, override: str) -> None:
    mode = f"mode={mode}"
    backend = "generative.decoding.backend=openai" if "server" in override else "seed=0"
    assert version(mode, backend, override) == version(mode, backend)


def test_what_it_was_trained_with_changes_it() -> None:
    assert version("retrieval.epochs=3") != version()
