"""The steps of BIGRec, each configured from settings: what fitting and a run have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigrec.data.dataset import Dataset
from bigrec.data.examples import Examples, TitleExample, mix, title_examples
from bigrec.data.sources import load_bigrec_json, load_dataset
from bigrec.data.splits import TRAIN, Split, split_dataset
from bigrec.lm.embed import LanguageModelEmbedder, SentenceEmbedder
from bigrec.lm.finetune import FinetuneResult, finetune
from bigrec.lm.generate import TransformersGenerator
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.prompts import PromptRenderer, PromptTemplate
from bigrec.settings import DataSettings, Settings, SourceSettings
from bigrec.types import BoolArray, IntArray, Progress, TextEmbedder

# Not the run's seed: runs that differ in their seed are compared on the same examples.
_EVALUATION_SEED = 0
_LONGEST_TEXT = 64


@dataclass(frozen=True, eq=False)
class Queries:
    """What is asked of a recommender whose answers are known.

    Attributes:
        user_ids: Each query's user.
        histories: Item numbers of each history, oldest first.
        targets: Item number of each target, ``[q]``.
    """

    user_ids: list[str]
    histories: list[IntArray]
    targets: IntArray

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Drawn:
    """The examples of a run.

    Attributes:
        train: Training examples of all datasets, mixed.
        valid: Validation examples of all datasets.
        valid_queries: Validation examples of the dataset that is recommended from.
        test: Test examples of the dataset that is recommended from, or of a file.
        train_rows: Which interactions of that dataset are in the training split, ``[m]``.
        counts: How often each item occurs in the training split, ``[n]``.
        sizes: Examples there are in all of each part, before sampling.
    """

    train: list[TitleExample]
    valid: list[TitleExample]
    valid_queries: Queries
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
    train, valid = [], []
    for one, parts in zip((dataset, *others), splits, strict=True):
        chosen = parts.train.sample(data.train_examples, seed=settings.seed)
        train.append(title_examples(chosen, one))
        valid.append(title_examples(_valid(parts, data), one))
    split = splits[0]
    return Drawn(
        train=mix(train, seed=settings.seed),
        valid=mix(valid, seed=_EVALUATION_SEED),
        valid_queries=_queries(dataset, _valid(split, data)),
        test=_test_queries(dataset, split, data),
        train_rows=split.row_splits == TRAIN,
        counts=split.train_counts(dataset.catalog.n_items),
        sizes={
            "train": len(split.train),
            "valid": len(split.valid),
            "test": len(split.test),
        },
    )


def _test_queries(dataset: Dataset, split: Split, data: DataSettings) -> Queries:
    if data.test_file is not None:
        examples = load_bigrec_json(data.test_file)[: data.test_examples]
        catalog = dataset.catalog
        return Queries(
            user_ids=[str(number) for number in range(len(examples))],
            histories=[catalog.resolve(example.history) for example in examples],
            targets=catalog.resolve([example.target for example in examples]),
        )
    return _queries(dataset, split.test.sample(data.test_examples, seed=_EVALUATION_SEED))


def _valid(split: Split, data: DataSettings) -> Examples:
    return split.valid.sample(data.valid_examples, seed=_EVALUATION_SEED)


def _queries(dataset: Dataset, examples: Examples) -> Queries:
    return Queries(
        user_ids=[dataset.interactions.user_ids[user] for user in examples.users],
        histories=[history[history >= 0] for history in examples.histories()],
        targets=examples.targets,
    )


def load_model(settings: Settings) -> LanguageModel:
    """Load the base model as the settings say."""
    options = settings.model.model_dump()
    return load_language_model(options.pop("base"), **options)


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
) -> TransformersGenerator:
    """The generator as the settings say, with room for the longest of the titles."""
    options = settings.generate.model_dump()
    if options["max_new_tokens"] is None:
        longest = max(len(renderer.response_ids(title)) for title in titles)
        options["max_new_tokens"] = min(longest, _LONGEST_TEXT)
    return TransformersGenerator(lm, renderer, **options)


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
        **settings.train.model_dump(),
    )


def _split(dataset: Dataset, data: DataSettings) -> Split:
    return split_dataset(
        dataset.interactions,
        method=data.split_method,
        history_length=data.history_length,
        min_history=data.min_history,
    )
