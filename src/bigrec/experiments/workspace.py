"""Where the stages of a run are, by everything that their results depend on."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bigrec.experiments.stage import Stage, source_key, stamps
from bigrec.settings import Settings
from bigrec.settings.sections import SourceSettings
from bigrec.storage import fingerprint

Part = Literal["valid", "test"]

# How a stage's result is stored; raised when that changes, so that old folders are not read.
_FORMAT = 1


class RunFolder:
    """The folders of one run's stages.

    Args:
        folder: Where everything goes. May hold the stages of earlier runs.
        settings: What to run.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    @cached_property
    def data_stage(self) -> Stage:
        """The dataset."""
        return self._stage("data", source_key(self.settings.data))

    @cached_property
    def train_stage(self) -> Stage:
        """The adapter."""
        settings = self.settings
        train = settings.train.model_dump(
            mode="json", exclude={"save_every_s", "report_to", "micro_batch_size"}
        )
        prompt = settings.prompt.fingerprint()
        return self._stage("train", [*self._examples_key(), train, self._model_key(), prompt])

    @property
    def training_stage(self) -> Stage:
        """What the language model learned, to write or to point."""
        return self.direct_stage if self.settings.grounding == "direct" else self.train_stage

    @cached_property
    def signals_stage(self) -> Stage:
        """What networks learned; each checks by itself whether it can go on from there."""
        return self._stage("signals", [*self._examples_key(), self.settings.train.window])

    @cached_property
    def direct_stage(self) -> Stage:
        """What direct grounding learned; it checks by itself whether it can go on from there."""
        key = [*self._examples_key(), self.settings.train.window, self._model_key()]
        return self._stage("direct", [*key, self.settings.direct.fingerprint()])

    @cached_property
    def index_stage(self) -> Stage:
        """The catalog's embeddings."""
        key = [
            source_key(self.settings.data),
            self._model_key(),
            self.settings.embed.fingerprint(),
        ]
        return self._stage("index", key)

    @property
    def index_folder(self) -> Path:
        """Where what the model makes of the catalog's titles is kept."""
        direct = self.settings.grounding == "direct"
        return (self.direct_stage if direct else self.index_stage).folder / "index"

    def texts_stage(self, part: Part) -> Stage:
        """What the model wrote for the validation or the test examples."""
        generate = self.settings.generate.model_dump(mode="json", exclude={"batch_size"})
        data = self.settings.data
        # The training stage's key covers the validation examples.
        examples = [data.test_examples, stamps(data.test_file)] if part == "test" else part
        return self._stage("texts", [self.train_stage.folder.name, generate, examples])

    @cached_property
    def evaluation_stage(self) -> Stage:
        """Metrics, per-query results and the report."""
        recommend = [self.settings.recommend.fingerprint(), self.settings.signals.fingerprint()]
        data = self.settings.data
        if self.settings.grounding == "direct":
            asked = [data.test_examples, stamps(data.test_file)]
            return self._stage("evaluation", [self.direct_stage.folder.name, asked, recommend])
        key = [self.texts_stage("test").folder.name, self.index_stage.folder.name, recommend]
        return self._stage("evaluation", key)

    @property
    def bundle(self) -> Path:
        """Where the recommender is saved."""
        return self.folder / "bundle"

    def _stage(self, name: str, key: Any) -> Stage:
        return Stage(self.folder / f"{name}-{fingerprint([_FORMAT, key])[:8]}")

    def _examples_key(self) -> list[Any]:
        """What the training and validation examples depend on."""
        data = self.settings.data.model_dump(
            mode="json",
            exclude={*SourceSettings.model_fields, "test_examples", "test_file", "also_train_on"},
        )
        sources = [
            source_key(one) for one in (self.settings.data, *self.settings.data.also_train_on)
        ]
        return [sources, data, self.settings.seed]

    def _model_key(self) -> Any:
        return self.settings.model.model_dump(mode="json", exclude={"device", "trust_remote_code"})
