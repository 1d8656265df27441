"""What the benchmarks of the language model run on: by default SmolLM2 and MovieLens-100K."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bigrec.data.dataset import Dataset
from bigrec.data.examples import TitleExample
from bigrec.lm.finetune import finetune
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.recommender.factory import Drawn, draw, load_model, make_renderer, read_source
from bigrec.settings import Settings


@dataclass(frozen=True, eq=False)
class Inputs:
    """Data and model of a benchmark.

    Attributes:
        settings: What they were made with.
        dataset: The dataset.
        drawn: Its examples.
        lm: The base model.
        renderer: Its prompts.
    """

    settings: Settings
    dataset: Dataset
    drawn: Drawn
    lm: LanguageModel
    renderer: PromptRenderer

    def test_histories(self, count: int) -> list[list[str]]:
        """Titles of the first test histories, oldest first."""
        titles = self.dataset.catalog.titles
        return [[titles[item] for item in one] for one in self.drawn.test.histories[:count]]

    def prompts(self, histories: Sequence[Sequence[str]]) -> list[list[int]]:
        """Tokens of the prompts for histories."""
        return [self.renderer.prompt_ids(history, self.dataset.noun) for history in histories]


def few_shot(overrides: Sequence[str] = ()) -> Settings:
    """The few-shot settings, in float32 and writing freely, as what they are compared with.

    Args:
        overrides: ``section.field=value``.
    """
    pinned = ("model.dtype=float32", "generate.titles=free")
    return Settings.read("few-shot", [*pinned, *overrides])


def load_inputs(settings: Settings) -> Inputs:
    """Load what the settings name.

    Raises:
        BigrecError: If the model or the data are not installed.
    """
    dataset = read_source(settings.data)
    lm = load_model(settings)
    renderer = make_renderer(lm.tokenizer, settings)
    return Inputs(settings, dataset, draw(dataset, settings), lm, renderer)


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
    batch_size: int = 8,
) -> None:
    """Attach an adapter, or fine-tune one briefly: an untuned model does not end its titles.

    Args:
        lm: The base model; carries the adapter afterwards.
        renderer: Renders the examples.
        examples: What is learned where there is no adapter, once.
        adapter: A saved adapter.
        learning_rate: As in fine-tuning.
        batch_size: As in fine-tuning.
    """
    if adapter is not None:
        lm.load_adapter(adapter)
        return
    with tempfile.TemporaryDirectory() as folder:
        finetune(
            lm,
            renderer,
            train=examples,
            valid=[],
            folder=Path(folder),
            learning_rate=learning_rate,
            batch_size=batch_size,
            micro_batch_size=batch_size,
            epochs=1,
        )
