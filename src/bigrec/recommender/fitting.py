"""The one way to fit a recommender: stage by stage, each stored, reused and resumed.

`BIGRec.fit` runs it on a plain folder, the pipeline of an experiment on a workspace whose folders
are keyed by what their contents depend on.
"""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

from bigrec.data.dataset import Dataset
from bigrec.evaluation.method import MethodId
from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.gaussian import GaussianParameters
from bigrec.lm.distributed import main_process_first
from bigrec.lm.finetune import selected_epoch
from bigrec.lm.model import LanguageModel
from bigrec.lm.trained import load_trained
from bigrec.models.base import ScoringModel
from bigrec.models.llm import LLM_RETRIEVAL, LLMRetriever
from bigrec.models.registry import GAUSSIAN, TrainingData
from bigrec.models.text import GaussianText
from bigrec.recommender.baselines import BaselineFitter
from bigrec.recommender.example_scores import prepare_scored_examples
from bigrec.recommender.factory import check_trained_on, load_truncated_model, train_model
from bigrec.recommender.fit_store import TEXT_STAGES, FitStore
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.fusion import SignalFusion, select_rule, signal_names
from bigrec.recommender.generative_fitting import fit_joint, fit_texts
from bigrec.recommender.joint_query_encoder import JointQueryEncoder
from bigrec.recommender.latent_fitting import fit_grounded, parameters_of
from bigrec.recommender.latent_query_encoder import LatentQueryEncoder, make_state_model
from bigrec.recommender.query_encoder import QueryEncoder
from bigrec.recommender.query_encoders import GenerativeQueryEncoder, RetrievalQueryEncoder
from bigrec.recommender.retrieval_head import fit_retrieval_head
from bigrec.recommender.retriever_fitting import fit_retriever
from bigrec.recommender.state_query_encoder import StateContext
from bigrec.recommender.text_query_encoder import TextQueryEncoder
from bigrec.recommender.throughput import Throughput
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.training_data import (
    EvalSplit,
    PreparedData,
    all_training_data,
    few_shot_training_data,
)
from bigrec.recommender.user_histories import UserHistories
from bigrec.settings import Settings
from bigrec.storage import read_json, write_json
from bigrec.types import IntArray, ProgressFactory

LOSS_FILE = "loss.json"
"""The training log in the folder of ``finetune`` and ``retrieval``."""

GRID_FILE = "grid.json"
"""Hyperparameters with their validation figures in the folder of ``text``."""


class Fitting:
    """The stages of fitting a recommender, each run on first use.

    Args:
        dataset: The interactions and the catalog.
        prepared: Its examples; an attribute, too.
        settings: What to fit.
        store: Where stages are stored.
        progress_factory: Called with the name of each long step; gives its progress callback.
        selected: The fitting on the training part alone, whose choices (hyperparameters, epochs,
            fusion rules) are taken over; None makes them on validation.
        title_store: Where embeddings of titles are stored, if elsewhere.
    """

    def __init__(
        self,
        dataset: Dataset,
        prepared: PreparedData,
        settings: Settings,
        *,
        store: FitStore,
        progress_factory: ProgressFactory,
        selected: "Fitting | None" = None,
        title_store: FitStore | None = None,
    ) -> None:
        self.prepared = prepared
        self._dataset = dataset
        self._settings = settings
        self._store = store
        # Embeddings of titles do not depend on the training data.
        first_store = store if selected is None else selected._title_store
        self._title_store: FitStore = title_store or first_store
        self._progress_factory = progress_factory
        self._selected = selected
        self._encoded: dict[EvalSplit, EncodedQueries] = {}
        self._retriever_epochs: dict[bool, int | None] = {}

    @cached_property
    def tested(self) -> "Fitting":
        """What is tested and saved: this, or by ``evaluation.refit`` the same on more data."""
        if self._settings.evaluation.refit == "none" or self._selected is not None:
            return self
        store = self._store.refit()
        return Fitting(
            self._dataset,
            prepare_scored_examples(
                self._dataset,
                self._settings,
                store=store,
                progress_factory=self._progress_factory,
                refit=True,
            ),
            self._settings,
            store=store,
            progress_factory=self._progress_factory,
            selected=self,
        )

    @cached_property
    def language_model(self) -> LanguageModel:
        """Generative mode: the fine-tuned model, trained if it is not yet."""
        stage = self._store.stage("finetune")
        finetune = self._settings.generative.finetune
        with main_process_first():
            lm = load_truncated_model(self._settings, "generative")
        if stage.is_complete:
            check_trained_on(stage.folder, lm, trained_on=stage.info["base_fingerprint"])
            load_trained(lm, stage.folder, method=finetune.method)
            return lm
        started = time.monotonic()
        progress, batch_size = self._progress_factory("Training"), finetune.batch_size
        throughput = Throughput("examples", progress, units_per_step=batch_size)
        train_model(
            lm,
            self.prepared,
            self._settings,
            titles=self._dataset.catalog.titles,
            folder=stage.folder,
            stop_after=None if self._selected is None else self._selected.finetuning_epochs,
            progress=throughput,
        )
        with main_process_first():
            if not stage.is_complete:
                stage.finish(started, throughput=throughput, base_fingerprint=lm.base_fingerprint)
        return lm

    @property
    def finetuning_epochs(self) -> int:
        """Generative mode: epochs of fine-tuning, as selected on validation."""
        _ = self.language_model
        epochs = selected_epoch(read_json(self._store.stage("finetune").folder / LOSS_FILE))
        return self._settings.generative.finetune.epochs if epochs is None else epochs

    @cached_property
    def encoder(self) -> QueryEncoder:
        """The query encoder, trained and with its catalog embedded."""
        settings = self._settings
        if settings.mode == "text":
            return self._text_encoder()
        if settings.mode == "retrieval":
            return self._retrieval_encoder()
        if not settings.decodes_states:
            return self._generative_encoder()
        return self._joint_encoder() if settings.writes_texts else self._latent_encoder()

    @cached_property
    def title_encoder(self) -> TitleEncoder:
        """The encoder of titles for text mode and the models of titles."""
        selected = self._selected
        return TitleEncoder(self._settings) if selected is None else selected.title_encoder

    @cached_property
    def baselines(self) -> BaselineFitter:
        """What fits signals and baselines."""
        return BaselineFitter(
            self._dataset,
            self.prepared,
            self._settings,
            title_encoder=self.title_encoder,
            folder=self._store.stage("models").folder,
            progress_factory=self._progress_factory,
            selected=None if self._selected is None else self._selected.baselines,
        )

    @cached_property
    def unfused(self) -> FittedRecommender:
        """The recommender by the mode's model alone."""
        return FittedRecommender(
            self._settings,
            self.encoder,
            catalog=self._dataset.catalog,
            counts=self.prepared.counts,
            item_type=self._dataset.item_type,
            title_encoder=self.title_encoder,
        )

    @cached_property
    def fitted(self) -> FittedRecommender:
        """The recommender with the signals of the settings, if there are any."""
        settings, catalog = self._settings, self._dataset.catalog
        names = signal_names(settings, n_items=catalog.n_items)
        if not names:
            return self.unfused
        signals = {name: self.baselines.fit(name) for name in names}
        item_ids = dict.fromkeys(names, catalog.item_ids)
        return self.unfused.with_fusion(SignalFusion(signals, self._rules(signals), item_ids))

    def _rules(self, signals: Mapping[str, ScoringModel]) -> Mapping[bool, FusionRule]:
        """The rule of each protocol."""
        selected = None if self._selected is None else self._selected.fitted.fusion
        if selected is not None:
            return selected.rules
        valid = self.unfused.score(
            self.encode("valid"), self.prepared.valid_queries, signals=signals
        )
        return {
            exclude_seen: select_rule(
                valid,
                list(signals),
                self._settings.fusion,
                exclude_seen=exclude_seen,
                simplify=self._settings.baselines.windows > 1,
            )
            for exclude_seen in (False, True)
        }

    def encode(self, split: EvalSplit) -> EncodedQueries:
        """The histories of a split, encoded."""
        if split not in self._encoded:
            histories = self.prepared.queries(split).histories
            throughput = Throughput("histories", self._progress_factory(f"Encoding ({split})"))
            if self._settings.mode == "generative":
                self._encoded[split] = self._encode_in_parts(split, histories, throughput)
            else:
                self._encoded[split] = self.encoder.encode(histories, progress=throughput)
        return self._encoded[split]

    def retriever(self, *, few_shot: bool = False) -> LLMRetriever:
        """Train the language model for retrieval; what is trained is not trained twice.

        Args:
            few_shot: Train it on the few shots, beside the one on the data of the settings.

        Raises:
            ModelError: If the base model cannot be loaded, or has fewer layers than asked for.
        """
        label = MethodId(LLM_RETRIEVAL, training_data="few-shot" if few_shot else "all").label
        stage = self._store.stage("retrieval")
        settings, selected = self._settings, self._selected
        throughput = Throughput("targets", self._progress_factory(f"Training {label}"))
        started = time.monotonic()
        retriever = fit_retriever(
            self.retriever_data(few_shot=few_shot),
            self._dataset.catalog,
            settings,
            features_store=self._title_store,
            stop_after=None if selected is None else selected.retriever_epochs(few_shot=few_shot),
            folder=stage.folder / ("few-shot" if few_shot else "all"),
            extra_sources=self.prepared.extra_sources if settings.mode == "retrieval" else (),
            on_examples=self._trains_on_examples(few_shot=few_shot),
            progress=throughput,
            progress_factory=self._progress_factory,
        )
        with main_process_first():
            if not few_shot and not stage.is_complete:
                write_json(stage.folder / LOSS_FILE, list(retriever.log))
                stage.finish(started, throughput=throughput)
        self._retriever_epochs[few_shot] = retriever.selected_epoch
        return retriever

    def untrained_retriever(self) -> LLMRetriever:
        """The language model for retrieval as it is before training."""
        return fit_retriever(
            self.retriever_data(),
            self._dataset.catalog,
            self._settings,
            features_store=self._title_store,
            stop_after=0,
            progress_factory=self._progress_factory,
        )

    def retriever_epochs(self, *, few_shot: bool) -> int | None:
        """Epochs of a retriever, as selected on validation; it is trained if it is not yet."""
        if few_shot not in self._retriever_epochs:
            self.retriever(few_shot=few_shot)
        return self._retriever_epochs[few_shot]

    def retriever_data(self, *, few_shot: bool = False) -> TrainingData:
        """What the language model is trained on for retrieval.

        Args:
            few_shot: Take the few shots, even if the settings say all interactions.
        """
        on_examples = self._trains_on_examples(few_shot=few_shot)
        make = few_shot_training_data if on_examples else all_training_data
        return make(self._dataset, self.prepared)

    def _trains_on_examples(self, *, few_shot: bool) -> bool:
        settings = self._settings
        return few_shot or (settings.mode == "retrieval" and settings.trains_on_examples)

    def _encode_in_parts(
        self, split: EvalSplit, histories: Sequence[IntArray], throughput: Throughput
    ) -> EncodedQueries:
        stage = self._store.stage(TEXT_STAGES[split])
        started = time.monotonic()
        encoded = self.encoder.encode(histories, parts_folder=stage.folder, progress=throughput)
        if not stage.is_complete:
            stage.finish(started, throughput=throughput)
        return encoded

    def _text_encoder(self) -> TextQueryEncoder:
        stage = self._store.stage("text")
        started = time.monotonic()
        with main_process_first():
            model = self.baselines.fit(GAUSSIAN)
            if not stage.is_complete:
                tuned = self.baselines.tuned.get(GAUSSIAN)
                write_json(stage.folder / GRID_FILE, [] if tuned is None else tuned.to_log())
                stage.finish(started)
        if not isinstance(model, GaussianText):
            raise TypeError(f"{GAUSSIAN} is fitted as {type(model).__name__}.")
        return TextQueryEncoder(model, self._state_context())

    def _state_context(self) -> StateContext:
        catalog = self._dataset.catalog
        users = UserHistories.of(
            self._dataset.interactions,
            self.prepared.train_rows,
            catalog=catalog,
            length=self._settings.data.max_history_length,
        )
        return StateContext(catalog, self.prepared.counts, self.title_encoder, users)

    def _retrieval_encoder(self) -> RetrievalQueryEncoder:
        retriever = self.retriever()
        with main_process_first():
            head = fit_retrieval_head(
                retriever,
                self._dataset,
                self.prepared,
                self._settings,
                store=self._store,
                parameters=self._selected_head,
                progress_factory=self._progress_factory,
            )
        return RetrievalQueryEncoder(
            retriever,
            catalog=self._dataset.catalog,
            counts=self.prepared.counts,
            max_history_length=self._settings.data.max_history_length,
            head=head,
        )

    def _generative_encoder(self) -> GenerativeQueryEncoder:
        return fit_texts(
            self.language_model,
            self._dataset,
            self.prepared,
            self._settings,
            store=self._title_store,
            progress_factory=self._progress_factory,
        )

    def _joint_encoder(self) -> JointQueryEncoder:
        texts, states = self._generative_encoder(), self._latent_encoder()
        if self._selected is not None and isinstance(self._selected.encoder, JointQueryEncoder):
            return JointQueryEncoder(texts, states, self._selected.encoder.factors)
        return fit_joint(
            texts,
            states,
            self.prepared,
            self._settings,
            store=self._store,
            progress_factory=self._progress_factory,
        )

    def _latent_encoder(self) -> LatentQueryEncoder:
        model = make_state_model(self.language_model, self._settings, self._dataset.item_type)
        with main_process_first():
            grounded = fit_grounded(
                model,
                self._dataset,
                self.prepared,
                self._settings,
                store=self._store,
                embed=self.baselines.embed,
                parameters=self._selected_head,
                progress_factory=self._progress_factory,
            )
        return LatentQueryEncoder(grounded, model, self._state_context())

    @property
    def _selected_head(self) -> GaussianParameters | None:
        """Hyperparameters of a Gaussian head that are taken over."""
        return None if self._selected is None else parameters_of(self._selected.encoder)
