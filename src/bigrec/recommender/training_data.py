"""The examples of a run: drawn from a dataset's split, for training and for evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.data.examples import (
    Examples,
    TitleExample,
    all_position_windows,
    mix,
    sample_windows,
    title_examples,
    window_examples,
)
from bigrec.data.interactions import Interactions
from bigrec.data.sources import load_bigrec_json, load_dataset
from bigrec.data.splits import TRAIN, Split, split_dataset
from bigrec.data.windows import earlier_windows
from bigrec.errors import DataError
from bigrec.models.registry import TrainingData
from bigrec.recommender.example_selection import ExampleScores, InfluenceAlone, select_examples
from bigrec.settings import Settings
from bigrec.settings.sections import DataSettings, SourceSettings
from bigrec.types import BoolArray, FloatArray, IntArray

EvalSplit = Literal["valid", "test", "shuffled"]
"""What is ranked: the validation and the test examples, and the latter with shuffled histories."""

# Not the run's seed: runs that differ in their seed are compared on the same examples.
_EVALUATION_SEED = 0
# By fewer, a network that has learned nothing yet can look better for an epoch by luck.
_MIN_EARLY_STOPPING_EXAMPLES = 2000
_INFLUENCE_ALONE = InfluenceAlone()


@dataclass(frozen=True, eq=False)
class EvalQueries:
    """Histories whose targets are known.

    Attributes:
        user_ids: User of each query.
        histories: Item numbers of each history, oldest first, at most ``max_history_length``.
        full_histories: Item numbers of all that the user had before the target.
        targets: Item number of each target, ``[q]``.
        gaps: Time from the item before to each target, ``[q]``, in the data's unit, at least 0.
            None without timestamps and for queries of a file.
    """

    user_ids: list[str]
    histories: list[IntArray]
    full_histories: list[IntArray]
    targets: IntArray
    gaps: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def shuffled(self, *, seed: int) -> "EvalQueries":
        """The same queries with the items of every history in random order."""
        rng = np.random.default_rng(seed)
        return replace(
            self,
            histories=[rng.permutation(history) for history in self.histories],
            full_histories=[rng.permutation(history) for history in self.full_histories],
        )

    def seen_titles(self, catalog: Catalog) -> list[IntArray]:
        """Title ids of all that each user had before the target, each id once."""
        return [np.unique(catalog.title_ids[items]) for items in self.full_histories]


@dataclass(frozen=True, eq=False)
class ExtraSource:
    """A dataset of ``data.extra_train_sources``.

    Attributes:
        dataset: The dataset.
        train_items: Item numbers of each training example, oldest first, the target last.
        train_rows: The interactions in the training split, ``[m]``.
    """

    dataset: Dataset
    train_items: list[IntArray]
    train_rows: BoolArray


@dataclass(frozen=True, eq=False)
class PreparedData:
    """The examples of a run.

    Attributes:
        train: Training examples of the datasets of ``data.train_sources``, mixed.
        train_items: Item numbers of each training example of the main dataset, oldest first, the
            target last.
        valid: Validation examples of the same datasets, by which fine-tuning stops.
        valid_queries: Validation examples of the main dataset.
        early_stopping_queries: Validation examples by which networks stop: the same, or more if
            these are few because the language model has to write for each.
        test_queries: Test examples of the main dataset, or of a file.
        train_rows: The main dataset's interactions in the training split, ``[m]``.
        extra_sources: The further datasets, in the order of ``data.extra_train_sources``.
        counts: Occurrences of each item in the training split, ``[n]``.
        sizes: Number of examples in each split before sampling.
        exclude_seen: The protocol that networks are trained and stopped for.
    """

    train: list[TitleExample]
    train_items: list[IntArray]
    valid: list[TitleExample]
    valid_queries: EvalQueries
    early_stopping_queries: EvalQueries
    test_queries: EvalQueries
    train_rows: BoolArray
    extra_sources: list[ExtraSource]
    counts: IntArray
    sizes: dict[str, int]
    exclude_seen: bool

    def queries(self, split: EvalSplit) -> EvalQueries:
        """The queries of a split."""
        if split == "shuffled":
            return self.test_queries.shuffled(seed=_EVALUATION_SEED)
        return self.test_queries if split == "test" else self.valid_queries


def load_source(settings: SourceSettings) -> Dataset:
    """Load a dataset as its settings say.

    Raises:
        DataError: If the files cannot be used.
    """
    options = settings.model_dump(include=set(SourceSettings.model_fields), exclude_none=True)
    return load_dataset(options.pop("source"), text_columns=settings.text_columns, **options)


def prepare_examples(
    dataset: Dataset,
    settings: Settings,
    *,
    refit: bool = False,
    scores: ExampleScores = _INFLUENCE_ALONE,
) -> PreparedData:
    """Split a dataset and draw the examples.

    Args:
        dataset: The main dataset, whose catalog is recommended from.
        settings: Sizes, windows, the seed and further training sources, which are loaded.
        refit: Whether the training part is training and validation, once all is selected.
        scores: Computes what examples are chosen by; read if they are not random.

    Raises:
        DataError: If the catalog has a single title, a split has no examples or a further source
            cannot be used, or there are too many titles to choose examples by influence.
        ValueError: If examples are chosen by effort and nothing computes it.
    """
    if dataset.catalog.n_titles < 2:
        raise DataError(
            f"the catalog has a single title, "
            f"{dataset.catalog.titles[0]!r}: there is nothing to rank. Give at least two different "
            "titles."
        )
    datasets = [dataset, *map(load_source, settings.data.extra_train_sources)]
    splits = [_split(source, settings.data) for source in datasets]
    if refit:
        splits = [split.with_valid_in_train() for split in splits]
    return _prepare(datasets, splits, settings, scores=scores)


def prepare_test_queries(dataset: Dataset, settings: Settings) -> EvalQueries:
    """The test examples alone.

    Raises:
        DataError: If a split has no examples, or a file of examples cannot be used.
    """
    return _test_queries(dataset, _split(dataset, settings.data), settings.data)


def prepare_windows(dataset: Dataset, settings: Settings) -> list[PreparedData]:
    """The examples of the earlier validation windows, each with training data up to its start.

    Args:
        dataset: The main dataset. Further training sources are not read.
        settings: As of `prepare_examples`, and ``baselines.windows``.

    Returns:
        Oldest first; none for a single window, the validation part.

    Raises:
        DataError: If there are more windows than the training part has examples for.
    """
    data, count = settings.data, settings.baselines.windows - 1
    if not count:
        return []
    in_order = data.split_method == "leave_one_out" or dataset.interactions.times is None
    windows = earlier_windows(_split(dataset, data), count, by_time=not in_order)
    return [_prepare([dataset], [window], settings) for window in windows]


def _prepare(
    datasets: Sequence[Dataset],
    splits: Sequence[Split],
    settings: Settings,
    *,
    scores: ExampleScores = _INFLUENCE_ALONE,
) -> PreparedData:
    """Draw the examples of datasets, the first of which is the main one, by their splits."""
    data = settings.data
    dataset, split = datasets[0], splits[0]
    rows = [
        _train_rows(*source, settings, scores=scores)
        for source in zip(datasets, splits, strict=True)
    ]
    sources = list(zip(datasets, splits, rows, strict=True))
    trained_on = sources[1:] if data.train_sources == "extra" else list(sources)
    # Several datasets make the same model, whichever of them is recommended from.
    trained_on.sort(key=lambda source: source[0].catalog.fingerprint)
    train = [window_examples(of_source, source) for source, _, of_source in trained_on]
    valid = [title_examples(_sample_valid(of, data), source) for source, of, _ in trained_on]
    return PreparedData(
        train=mix(train, seed=settings.seed),
        train_items=_items_of(dataset, rows[0]),
        valid=mix(valid, seed=_EVALUATION_SEED),
        valid_queries=_eval_queries(dataset, _sample_valid(split, data)),
        early_stopping_queries=_eval_queries(
            dataset, _sample_valid(split, data, at_least=_MIN_EARLY_STOPPING_EXAMPLES)
        ),
        test_queries=_test_queries(dataset, split, data),
        train_rows=split.row_splits == TRAIN,
        extra_sources=[
            ExtraSource(source, _items_of(source, examples), of.row_splits == TRAIN)
            for source, of, examples in sources[1:]
        ],
        counts=split.train_counts(dataset.catalog.n_items),
        sizes={"train": len(split.train), "valid": len(split.valid), "test": len(split.test)},
        exclude_seen=settings.recommend.exclude_seen,
    )


def all_training_data(dataset: Dataset, prepared: PreparedData) -> TrainingData:
    """All training interactions."""
    return _training_data(dataset, prepared, dataset.interactions, train=prepared.train_rows)


def few_shot_training_data(dataset: Dataset, prepared: PreparedData) -> TrainingData:
    """The examples of generative fine-tuning, each as the sequence of a user."""
    interactions, train = few_shot_interactions(prepared.train_items)
    return _training_data(dataset, prepared, interactions, train=train)


def few_shot_interactions(train_items: Sequence[IntArray]) -> tuple[Interactions, BoolArray]:
    """Training examples, each as the sequence of a user, and the mask of all their rows."""
    interactions = Interactions(
        user_ids=[str(number) for number in range(len(train_items))],
        user_start=np.cumsum([0, *map(len, train_items)]),
        items=np.concatenate(train_items).astype(np.int32),
        times=None,
        ratings=None,
        splits=None,
    )
    return interactions, np.ones(len(interactions), dtype=np.bool_)


def _training_data(
    dataset: Dataset, prepared: PreparedData, interactions: Interactions, *, train: BoolArray
) -> TrainingData:
    return TrainingData(
        interactions=interactions,
        train=train,
        titles=dataset.catalog.titles,
        texts=dataset.catalog.item_texts,
        valid_histories=prepared.early_stopping_queries.histories,
        valid_targets=prepared.early_stopping_queries.targets,
        exclude_seen=prepared.exclude_seen,
    )


def _items_of(dataset: Dataset, examples: Sequence[IntArray]) -> list[IntArray]:
    """Item numbers of examples that are rows of interactions."""
    return [dataset.interactions.items[example] for example in examples]


def _split(dataset: Dataset, data: DataSettings) -> Split:
    return split_dataset(
        dataset.interactions,
        method=data.split_method,
        max_history_length=data.max_history_length,
        min_history=data.min_history,
    )


def _train_rows(
    dataset: Dataset, split: Split, settings: Settings, *, scores: ExampleScores
) -> list[IntArray]:
    """Rows of the interactions of each training example, the target last."""
    size = settings.data.max_train_examples
    if size is None or settings.data.example_selection.method == "random":
        return _random_rows(dataset, split, settings, size=size)
    candidates = _random_rows(dataset, split, settings, size=None)
    return select_examples(candidates, size, dataset=dataset, settings=settings, scores=scores)


def _random_rows(
    dataset: Dataset, split: Split, settings: Settings, *, size: int | None
) -> list[IntArray]:
    """Rows of so many random examples, or of all."""
    window = settings.generative.finetune.window
    if window is not None:
        windows = all_position_windows(
            dataset.interactions, split.row_splits == TRAIN, window=window
        )
        return sample_windows(windows, size, seed=settings.seed)
    sampled = split.train.sample(size, seed=settings.seed)
    starts = dataset.interactions.user_start[sampled.users]
    firsts = np.maximum(starts, sampled.rows - sampled.max_history_length)
    return [np.arange(first, row + 1) for first, row in zip(firsts, sampled.rows, strict=True)]


def _test_queries(dataset: Dataset, split: Split, data: DataSettings) -> EvalQueries:
    if data.test_file is None:
        return _eval_queries(
            dataset, split.test.sample(data.max_test_examples, seed=_EVALUATION_SEED)
        )
    examples = load_bigrec_json(data.test_file)[: data.max_test_examples]
    histories = [dataset.catalog.resolve(example.history) for example in examples]
    return EvalQueries(
        user_ids=[str(number) for number in range(len(examples))],
        histories=histories,
        full_histories=histories,
        targets=dataset.catalog.resolve([example.target for example in examples]),
    )


def _sample_valid(split: Split, data: DataSettings, *, at_least: int = 0) -> Examples:
    size = None if data.max_valid_examples is None else max(data.max_valid_examples, at_least)
    return split.valid.sample(size, seed=_EVALUATION_SEED)


def _eval_queries(dataset: Dataset, examples: Examples) -> EvalQueries:
    interactions, rows = dataset.interactions, examples.rows
    times = interactions.times
    starts = interactions.user_start[examples.users]
    return EvalQueries(
        user_ids=[interactions.user_ids[user] for user in examples.users],
        histories=[history[history >= 0] for history in examples.histories()],
        full_histories=[
            interactions.items[start:row] for start, row in zip(starts, rows, strict=True)
        ],
        targets=examples.targets,
        gaps=None if times is None else (times[rows] - times[rows - 1]).astype(np.float64),
    )
