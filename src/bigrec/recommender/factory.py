"""The steps of BIGRec, each configured from settings: what fitting and a run have in common."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.data.examples import (
    Examples,
    TitleExample,
    dense_windows,
    mix,
    sample_windows,
    title_examples,
    window_examples,
)
from bigrec.data.sources import load_bigrec_json, load_dataset
from bigrec.data.splits import TRAIN, Split, split_dataset
from bigrec.errors import ModelError, SettingsError
from bigrec.lm.embed import LanguageModelEmbedder, SentenceEmbedder
from bigrec.lm.finetune import FinetuneResult, finetune
from bigrec.lm.generation.ctranslate2 import CTranslate2Generator, can_convert
from bigrec.lm.generation.openai import OpenAIGenerator
from bigrec.lm.generation.transformers import Generator, TransformersGenerator
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer, PromptTemplate
from bigrec.settings import Settings
from bigrec.settings.sections import DataSettings, SourceSettings
from bigrec.types import BoolArray, IntArray, Progress, TextEmbedder

logger = logging.getLogger(__name__)

# Not the run's seed: runs that differ in their seed are compared on the same examples.
_EVALUATION_SEED = 0
# By fewer, a network that has learned nothing yet can look better for an epoch by luck.
_STOP_EXAMPLES = 2000
_LONGEST_TEXT = 64


@dataclass(frozen=True, eq=False)
class Queries:
    """What is asked of a recommender whose answers are known.

    Attributes:
        user_ids: Each query's user.
        histories: Item numbers of each history, oldest first.
        full_histories: The same without a limit to their length.
        targets: Item number of each target, ``[q]``.
    """

    user_ids: list[str]
    histories: list[IntArray]
    full_histories: list[IntArray]
    targets: IntArray

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Drawn:
    """The examples of a run.

    Attributes:
        train: Training examples of all datasets, mixed.
        train_items: Item numbers of each training example of the dataset that is recommended
            from, oldest first, the target last.
        valid: Validation examples of all datasets.
        valid_queries: Validation examples of the dataset that is recommended from.
        stop_queries: What networks are stopped by: the same, or more where these are few because
            the language model would write for each.
        test: Test examples of the dataset that is recommended from, or of a file.
        train_rows: Which interactions of that dataset are in the training split, ``[m]``.
        counts: How often each item occurs in the training split, ``[n]``.
        sizes: Examples there are in all of each part, before sampling.
    """

    train: list[TitleExample]
    train_items: list[IntArray]
    valid: list[TitleExample]
    valid_queries: Queries
    stop_queries: Queries
    test: Queries
    train_rows: BoolArray
    counts: IntArray
    sizes: dict[str, int]


def read_source(settings: SourceSettings) -> Dataset:
    """Load a dataset as its settings say."""
    options = settings.model_dump(include=set(SourceSettings.model_fields), exclude_none=True)
    return load_dataset(options.pop("source"), **options)


def draw(dataset: Dataset, settings: Settings, *, others: Sequence[Dataset] = ()) -> Drawn:
    """Split a dataset and draw the examples.

    Args:
        dataset: What is recommended from.
        settings: Sizes, windows and the seed.
        others: Further datasets, whose training and validation examples are mixed in.

    Raises:
        DataError: If a part of the split has no examples.
    """
    data = settings.data
    splits = [_split(one, data) for one in (dataset, *others)]
    rows, train, valid = [], [], []
    for one, parts in zip((dataset, *others), splits, strict=True):
        rows.append(_train_rows(one, parts, settings))
        train.append(window_examples(rows[-1], one))
        valid.append(title_examples(_valid(parts, data), one))
    split = splits[0]
    return Drawn(
        train=mix(train, seed=settings.seed),
        train_items=[dataset.interactions.items[one] for one in rows[0]],
        valid=mix(valid, seed=_EVALUATION_SEED),
        valid_queries=_queries(dataset, _valid(split, data)),
        stop_queries=_queries(dataset, _valid(split, data, least=_STOP_EXAMPLES)),
        test=_test_queries(dataset, split, data),
        train_rows=split.row_splits == TRAIN,
        counts=split.train_counts(dataset.catalog.n_items),
        sizes={
            "train": len(split.train),
            "valid": len(split.valid),
            "test": len(split.test),
        },
    )


def _train_rows(dataset: Dataset, split: Split, settings: Settings) -> list[IntArray]:
    """Rows of the interactions of each training example, the target last."""
    size, window = settings.data.train_examples, settings.train.window
    if window is not None:
        windows = dense_windows(dataset.interactions, split.row_splits == TRAIN, window=window)
        return sample_windows(windows, size, seed=settings.seed)
    drawn = split.train.sample(size, seed=settings.seed)
    starts = dataset.interactions.user_start[drawn.users]
    firsts = np.maximum(starts, drawn.rows - drawn.history_length)
    return [np.arange(first, row + 1) for first, row in zip(firsts, drawn.rows, strict=True)]


def _test_queries(dataset: Dataset, split: Split, data: DataSettings) -> Queries:
    if data.test_file is not None:
        examples = load_bigrec_json(data.test_file)[: data.test_examples]
        catalog = dataset.catalog
        histories = [catalog.resolve(example.history) for example in examples]
        return Queries(
            user_ids=[str(number) for number in range(len(examples))],
            histories=histories,
            full_histories=histories,
            targets=catalog.resolve([example.target for example in examples]),
        )
    return _queries(dataset, split.test.sample(data.test_examples, seed=_EVALUATION_SEED))


def _valid(split: Split, data: DataSettings, *, least: int = 0) -> Examples:
    size = None if data.valid_examples is None else max(data.valid_examples, least)
    return split.valid.sample(size, seed=_EVALUATION_SEED)


def _queries(dataset: Dataset, examples: Examples) -> Queries:
    interactions = dataset.interactions
    starts = interactions.user_start[examples.users]
    return Queries(
        user_ids=[interactions.user_ids[user] for user in examples.users],
        histories=[history[history >= 0] for history in examples.histories()],
        full_histories=[
            interactions.items[start:row] for start, row in zip(starts, examples.rows, strict=True)
        ],
        targets=examples.targets,
    )


def load_model(settings: Settings) -> LanguageModel:
    """Load the base model as the settings say."""
    options = settings.model.model_dump()
    return load_language_model(options.pop("base"), **options)


def load_cut_model(settings: Settings) -> LanguageModel:
    """Load the layers of the base model that direct grounding uses.

    Raises:
        ModelError: If the model has fewer, or cannot be loaded.
    """
    lm = load_model(settings)
    if settings.direct.layers is not None:
        lm.cut(settings.direct.layers)
    return lm


def make_renderer(tokenizer: Any, settings: Settings) -> PromptRenderer:
    """The prompt as the settings say."""
    options = settings.prompt.model_dump()
    max_tokens = options.pop("max_tokens")
    return PromptRenderer(tokenizer, PromptTemplate(**options), max_tokens=max_tokens)


def make_embedder(lm: LanguageModel, settings: Settings) -> TextEmbedder:
    """The embedder as the settings say."""
    if settings.embed.embedder == "base":
        return LanguageModelEmbedder(lm, pooling=settings.embed.pooling)
    return SentenceEmbedder(settings.embed.embedder, device=str(lm.device))


def make_generator(
    lm: LanguageModel, renderer: PromptRenderer, titles: Sequence[str], *, settings: Settings
) -> Generator:
    """The generator as the settings say, with room for the longest of the titles.

    Raises:
        ModelError: If the backend asked for is not installed or cannot run the model.
        SettingsError: If the backend asked for cannot keep to the titles of the catalog.
    """
    chosen = settings.generate
    longest = max(len(renderer.response_ids(title)) for title in titles)
    options: dict[str, Any] = {
        "beams": chosen.beams,
        "length_penalty": chosen.length_penalty,
        "max_new_tokens": chosen.max_new_tokens or min(longest, _LONGEST_TEXT),
    }
    if chosen.titles != "free":
        if chosen.backend not in {"auto", "transformers"}:
            raise SettingsError(
                f"generate.titles is {chosen.titles!r} with backend {chosen.backend!r}, which "
                "writes freely: use backend transformers."
            )
        options["titles"] = titles
    elif chosen.backend == "openai":
        server = chosen.server.model_dump()
        return OpenAIGenerator(
            renderer, tokenizer=lm.tokenizer, seed=settings.seed, **server, **options
        )
    elif chosen.backend == "ctranslate2" or (chosen.backend == "auto" and _gains(lm, chosen.beams)):
        try:
            return CTranslate2Generator(
                lm,
                renderer,
                batch_size=chosen.batch_size,
                compute_type=chosen.compute_type,
                **options,
            )
        except ModelError as error:
            if chosen.backend != "auto":
                raise
            logger.warning("CTranslate2 is not used: %s", error)
    return TransformersGenerator(lm, renderer, batch_size=chosen.batch_size, **options)


def _gains(lm: LanguageModel, beams: int) -> bool:
    """Whether CTranslate2 is the faster one: on a CPU without beams; with them it is not."""
    return beams == 1 and lm.device.type == "cpu" and can_convert(lm)


def train_adapter(
    lm: LanguageModel,
    drawn: Drawn,
    settings: Settings,
    *,
    folder: Path,
    progress: Progress | None = None,
) -> FinetuneResult:
    """Fine-tune as the settings say; ``lm`` carries the adapter afterwards."""
    return finetune(
        lm,
        make_renderer(lm.tokenizer, settings),
        train=drawn.train,
        valid=drawn.valid,
        folder=folder,
        seed=settings.seed,
        progress=progress,
        **settings.train.model_dump(exclude={"window"}),
    )


def _split(dataset: Dataset, data: DataSettings) -> Split:
    return split_dataset(
        dataset.interactions,
        method=data.split_method,
        history_length=data.history_length,
        min_history=data.min_history,
    )
