"""The folders of an experiment's stages, keyed by everything that their results depend on.

A changed setting starts a new folder beside the old one; changing back finds the old one again::

    settings.yaml            the settings of the last command
    timings.json             seconds, units a second and peak memory of every stage
    data-<key>/              the dataset, read and repaired
    effort-<key>/            generative mode: how far training examples would move the model
    influence-<key>/         what training examples are worth to a linear model
    finetune-<key>/          generative mode: checkpoints, adapter, loss.json
    index-<key>/             generative mode: embeddings of the catalog
    texts-<key>/             generative mode: generated texts, in parts, and with both
                             decodings the states of histories
    latent-<key>/            latent decoding, or a Gaussian head: statistics of the training
                             data's states
    states-<key>/            latent decoding: states of histories, in parts
    retrieval-<key>/         retrieval mode: text features of the catalog, checkpoints, loss.json
    text-<key>/              text mode: hyperparameters with their figures, grid.json
    models-<key>/            tuned hyperparameters and networks of signals and baselines, and
                             vectors of the titles
    evaluation-<key>/        queries.parquet, metrics.json, report.html,
                             comparison.{json,html,parquet}
    tuning-<key>/            trials of `bigrec tune`
    tuned-<model>.yaml       settings of its best trial
    bundle/                  the recommender, ready to be copied elsewhere
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigrec.data.item_columns import CATEGORY
from bigrec.experiments.stage import DONE, Stage, file_stamps, source_key
from bigrec.recommender.baselines import TITLE_VECTORS
from bigrec.recommender.fit_store import TEXT_STAGES, StageName
from bigrec.recommender.title_index import INDEX_FOLDER
from bigrec.settings import Settings
from bigrec.settings.sections import BASE, SourceSettings
from bigrec.storage import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# How a stage's result is stored; raised when that changes, so that old folders are not read.
_FORMAT = 4
# Stages of what a language model makes of queries, by the method of decoding.
_DECODED = {"beams": "texts", "both": "texts", "latent": "states", "likelihood": "likelihoods"}


class Workspace:
    """Where the stages of one experiment are stored; a `bigrec.recommender.fit_store.FitStore`.

    Args:
        folder: Holds all stages, also those of earlier settings.
        settings: The settings of the experiment.
        bundle: Where the recommender is saved; the folder ``bundle`` in it by default.
        refitted: Whether its stages are those fitted once more, to training and validation.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        bundle: Path | None = None,
        refitted: bool = False,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.bundle = bundle or folder / "bundle"
        self._refitted = refitted

    def refit(self) -> "Workspace":
        """See `bigrec.recommender.fit_store.FitStore`."""
        return Workspace(self.folder, self.settings, bundle=self.bundle, refitted=True)

    @property
    def tested_store(self) -> "Workspace":
        """The stages of what is tested: these, or by ``evaluation.refit`` those fitted again."""
        return self if self.settings.evaluation.refit == "none" else self.refit()

    @property
    def data_stage(self) -> Stage:
        """The dataset."""
        data = self.settings.data
        read = [name for name in data.text_columns if name not in (CATEGORY, *data.item_columns)]
        return self._stage("data", [source_key(data), read] if read else source_key(data))

    @property
    def training_stage(self) -> Stage:
        """The mode's trained model."""
        mode = self.settings.mode
        return self.stage("finetune" if mode == "generative" else mode)

    @property
    def index_folder(self) -> Path:
        """The mode's index of titles: their embeddings, text features or vectors."""
        vectors = self.stage("models").folder / TITLE_VECTORS
        folders = {
            "text": vectors,
            "retrieval": self.stage("retrieval").folder,
            "generative": self.stage("index").folder if self.settings.indexes_titles else vectors,
        }
        return folders[self.settings.mode] / INDEX_FOLDER

    @property
    def evaluation_stage(self) -> Stage:
        """Metrics, ranks of every query, and reports."""
        settings = self.settings
        key = [
            self.training_stage.folder.name,
            settings.recommend.fingerprint(),
            settings.fusion.fingerprint(),
            settings.grounding.fingerprint(),
            settings.index.fingerprint(),
            settings.baselines.fingerprint(),
            settings.text.fingerprint(),
            self._test_key(),
            *self._text_columns_key(),
        ]
        if settings.evaluation.refit != "none":
            key.append(settings.evaluation.refit)
        if settings.mode == "generative":
            key += [
                self.tested_store.stage("texts-test").folder.name,
                *([self.stage("latent").folder.name] if settings.decodes_states else []),
                *([self.stage("index").folder.name] if settings.indexes_titles else []),
            ]
        return self._stage("evaluation", key)

    def stage(self, name: StageName) -> Stage:
        """The place of a stage of fitting."""
        if name in TEXT_STAGES.values():
            return self._queries_stage(name)
        keys: Mapping[StageName, Callable[[], list[Any]]] = {
            "effort": self._effort_key,
            # The sequences are named by their contents in it.
            "influence": list,
            "finetune": self._finetuning_key,
            "latent": self._latent_key,
            "index": self._index_key,
            "retrieval": self._retrieval_key,
            "text": self._text_key,
            "models": self._baselines_key,
        }
        return self._stage(name, keys[name]())

    def _effort_key(self) -> list[Any]:
        # The examples are named by their contents in it.
        loss = self.settings.generative.finetune.loss
        return [loss, self._generative_model_key(), self.settings.prompt.fingerprint()]

    def _finetuning_key(self) -> list[Any]:
        unkeyed = {"save_every_s", "report_to", "per_device_batch_size"}
        finetune = self.settings.generative.finetune.model_dump(mode="json", exclude=unkeyed)
        prompt = self.settings.prompt.fingerprint()
        data = self.settings.data
        tested = [] if data.train_sources == "extra" else [data]
        examples = self._examples_key([*tested, *data.extra_train_sources])
        key = [examples, finetune, self._generative_model_key(), prompt]
        of_catalog = data.extra_train_sources and self.settings.generative.finetune.reads_catalog
        return [*key, source_key(data)] if of_catalog else key

    def _latent_key(self) -> list[Any]:
        trained = self.training_stage.folder.name
        return [trained, self._training_key(), self.settings.generative.latent.fingerprint()]

    def _index_key(self) -> list[Any]:
        embedding = self.settings.generative.embedding.fingerprint()
        return [source_key(self.settings.data), self._generative_model_key(), embedding]

    def _retrieval_key(self) -> list[Any]:
        retrieval = self.settings.retrieval.model_dump(
            mode="json", exclude={"per_device_batch_size", "report_to"}
        )
        key = [self._training_key(), self._model_key(), fingerprint(retrieval)]
        if self.settings.mode == "retrieval":
            key += map(source_key, self.settings.data.extra_train_sources)
        return [*key, *self._text_columns_key()]

    def _text_key(self) -> list[Any]:
        settings = self.settings
        model = self._model_key() if settings.text.encoder == BASE else None
        text, baselines = settings.text.fingerprint(), settings.baselines.fingerprint()
        return [self._training_key(), text, baselines, model, *self._text_columns_key()]

    def _baselines_key(self) -> list[Any]:
        # Each network checks by itself whether it can resume from what is in the folder, and
        # few-shot models have a folder for their examples in it.
        of_all = self._examples_key([self.settings.data], are_drawn=False)
        return [*of_all, self.settings.recommend.exclude_seen]

    def previous_index(self) -> Path | None:
        """The last item index of this folder, whose embeddings are reused."""
        complete = [path.parent for path in self.folder.glob(f"index-*/{DONE}")]
        complete.sort(key=lambda folder: folder.stat().st_mtime_ns)
        return complete[-1] / INDEX_FOLDER if complete else None

    def _queries_stage(self, name: StageName) -> Stage:
        decoding = self.settings.generative.decoding
        unkeyed = {"batch_size", *(() if self.settings.ranks_by_likelihood else ("max_read",))}
        values = decoding.model_dump(mode="json", exclude=unkeyed)
        # The finetuning stage's key covers the validation examples of a single dataset.
        examples: Any = "valid" if name == TEXT_STAGES["valid"] else self._test_key()
        if self.settings.data.extra_train_sources:
            examples = [examples, self._examples_key([self.settings.data])]
        if name == TEXT_STAGES["shuffled"]:
            examples = [examples, "shuffled"]
        trained = self.stage("finetune").folder.name
        return self._stage(_DECODED[decoding.method], [trained, values, examples])

    def _stage(self, name: str, key: Any) -> Stage:
        return Stage(self.folder / f"{name}-{fingerprint([_FORMAT, key])[:8]}")

    def _examples_key(
        self, sources: Sequence[SourceSettings], *, are_drawn: bool = True
    ) -> list[Any]:
        """What the training and validation examples of datasets depend on, in any order.

        Args:
            sources: The datasets.
            are_drawn: Whether training examples are drawn. Otherwise it is all interactions.
        """
        data = self.settings.data
        values = data.model_dump(
            mode="json",
            exclude={
                *SourceSettings.model_fields,
                *("max_test_examples", "test_file", "extra_train_sources", "train_sources", "text"),
                "example_selection",
                *(() if are_drawn else ("max_train_examples",)),
            },
        )
        keys = sorted(map(source_key, sources), key=fingerprint)
        refitted = ["refit"] if self._refitted else []
        selection = self._selection_key() if are_drawn else []
        return [keys, values, self.settings.seed, *refitted, *selection]

    def _selection_key(self) -> list[Any]:
        """What the choice of the examples depends on beside the data."""
        selection = self.settings.data.example_selection
        if selection.method == "random":
            return []
        key = [selection.fingerprint(), self.settings.targets_all_positions]
        return [*key, *(self._effort_key() if selection.method == "influence_effort" else [])]

    def _text_columns_key(self) -> list[Any]:
        """What models of titles depend on beside the titles."""
        columns = self.settings.data.text_columns
        return [columns] if columns else []

    def _training_key(self) -> list[Any]:
        """What networks depend on beside the model: the examples, and the protocol."""
        tested = self._examples_key([self.settings.data])
        return [*tested, self.settings.recommend.exclude_seen]

    def _test_key(self) -> list[Any]:
        data = self.settings.data
        return [data.max_test_examples, file_stamps(data.test_file)]

    def _generative_model_key(self) -> list[Any]:
        """What generative mode depends on of the base model."""
        return [self._model_key(), self.settings.generative.truncate_layers]

    def _model_key(self) -> Any:
        return self.settings.model.model_dump(mode="json", exclude={"device", "trust_remote_code"})
