"""Data and model of the language-model benchmarks: by default SmolLM2 and MovieLens-100K."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigrec.data.dataset import Dataset
from bigrec.data.examples import TitleExample
from bigrec.lm.finetune import finetune
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.recommender.factory import load_base_model, make_renderer
from bigrec.recommender.training_data import PreparedData, load_source, prepare_examples
from bigrec.settings import Settings
from bigrec.settings.generative import FinetuneSettings


@dataclass(frozen=True, eq=False)
class Inputs:
    """Data and model of a benchmark.

    Attributes:
        settings: Settings of the other attributes, in generative mode.
        dataset: The dataset.
        prepared: Examples of the dataset.
        lm: The base model.
        renderer: Renderer of the prompts.
    """

    settings: Settings
    dataset: Dataset
    prepared: PreparedData
    lm: LanguageModel
    renderer: PromptRenderer

    def test_histories(self, count: int) -> list[list[str]]:
        """Titles of the first test histories, oldest first."""
        titles = self.dataset.catalog.titles
        histories = self.prepared.test_queries.histories[:count]
        return [[titles[item] for item in history] for history in histories]

    def prompts(self, histories: Sequence[Sequence[str]]) -> list[list[int]]:
        """Token ids of the prompts of histories."""
        return [self.renderer.prompt_ids(history, self.dataset.item_type) for history in histories]


def paper_small(overrides: Sequence[str] = ()) -> Settings:
    """The preset ``paper-small`` as the references compute: float32, unconstrained decoding.

    Args:
        overrides: ``section.field=value``.
    """
    pinned = ("model.dtype=float32", "generative.decoding.constraint=none")
    return Settings.read("paper-small", [*pinned, *overrides])


def change_generative(settings: Settings, section: str, **values: Any) -> Settings:
    """Replace values in a section of ``generative``, such as ``finetune``.

    Raises:
        SettingsError: If a value is unknown or invalid.
    """
    content = settings.to_dict()
    content["generative"][section].update(values)
    return Settings.checked(content)


def load_inputs(settings: Settings) -> Inputs:
    """Load the data and the model of the settings.

    Raises:
        BigrecError: If the model or the data are not installed.
    """
    dataset = load_source(settings.data)
    lm = load_base_model(settings)
    renderer = make_renderer(lm.tokenizer, settings)
    return Inputs(settings, dataset, prepare_examples(dataset, settings), lm, renderer)


def dtype_name(lm: LanguageModel) -> str:
    """The precision of a model's weights."""
    return str(lm.model.dtype).removeprefix("torch.")


def attach_adapter(
    lm: LanguageModel,
    renderer: PromptRenderer,
    examples: Sequence[TitleExample],
    *,
    adapter: Path | None,
    learning_rate: float,
) -> None:
    """Load an adapter, or fine-tune one for an epoch: a base model does not end its titles.

    Args:
        lm: The base model, with the adapter afterwards.
        renderer: Renderer of the prompts.
        examples: Training examples, used without a saved adapter.
        adapter: Folder of a saved adapter, or None.
        learning_rate: Peak learning rate of the fine-tuning.
    """
    if adapter is not None:
        lm.load_adapter(adapter)
        return
    settings = FinetuneSettings(
        learning_rate=learning_rate, batch_size=8, per_device_batch_size=8, epochs=1
    )
    with tempfile.TemporaryDirectory() as folder:
        finetune(
            lm,
            renderer,
            settings=settings,
            train=examples,
            valid=[],
            folder=Path(folder),
            seed=0,
        )
