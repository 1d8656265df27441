"""The scores that training examples are chosen by, computed and stored."""

import time
from collections.abc import Sequence
from dataclasses import astuple
from functools import partial

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.data.examples import TitleExample
from bigrec.lm.batches import tokenize_examples
from bigrec.lm.distributed import main_process_first
from bigrec.lm.effort import gradient_norms
from bigrec.models.influence import DECAY, influence_on_risk
from bigrec.recommender.factory import load_truncated_model, make_renderer
from bigrec.recommender.fit_store import FitStore
from bigrec.recommender.query_parts import EFFORTS, INFLUENCES, compute_in_parts
from bigrec.recommender.throughput import Throughput
from bigrec.recommender.training_data import PreparedData, prepare_examples
from bigrec.settings import Settings
from bigrec.storage import fingerprint
from bigrec.types import FloatArray, IntArray, ProgressFactory


def prepare_scored_examples(
    dataset: Dataset,
    settings: Settings,
    *,
    store: FitStore,
    progress_factory: ProgressFactory,
    refit: bool = False,
) -> PreparedData:
    """`prepare_examples` with the scores of `ExampleScorer`; see both.

    Raises:
        BigrecError: If the data, the settings or the base model cannot be used.
    """
    scores = ExampleScorer(settings, store=store, progress_factory=progress_factory)
    return prepare_examples(dataset, settings, refit=refit, scores=scores)


class ExampleScorer:
    """Computes scores of examples; `bigrec.recommender.example_selection.ExampleScores`.

    Args:
        settings: The base model, the prompt and the loss of generative mode, which effort reads.
        store: Keeps what is computed, so that an interrupted call resumes.
        progress_factory: Called with the name of each long step; gives its progress callback.
    """

    def __init__(
        self, settings: Settings, *, store: FitStore, progress_factory: ProgressFactory
    ) -> None:
        self._settings = settings
        self._store = store
        self._progress_factory = progress_factory

    def influence(self, sequences: Sequence[IntArray], *, all_positions: bool) -> FloatArray:
        """Influence of each sequence on a linear model's risk, ``[m]`` float32.

        Raises:
            DataError: If they have too many different items.
        """
        with main_process_first():
            stage = self._store.stage("influence")
            contents = [[items.tolist() for items in sequences], all_positions, DECAY]
            file = stage.folder / f"{fingerprint(contents)[:8]}.safetensors"
            if file.is_file():
                return INFLUENCES.read(file)
            started = time.monotonic()
            influence = influence_on_risk(
                sequences,
                all_positions=all_positions,
                progress=self._progress_factory("Influence of examples"),
            ).astype(np.float32)
            INFLUENCES.write(file, influence)
            stage.finish(started)
            return influence

    def effort(self, examples: Sequence[TitleExample]) -> FloatArray:
        """Norm of the gradient of the untrained model's loss on each example, ``[m]`` float32.

        Raises:
            BigrecError: If the base model cannot be loaded or computes no finite number.
        """
        with main_process_first():
            return self._effort(examples)

    def _effort(self, examples: Sequence[TitleExample]) -> FloatArray:
        stage = self._store.stage("effort")
        folder = stage.folder / fingerprint([astuple(example) for example in examples])[:8]
        file = folder / "all.safetensors"
        if file.is_file():
            return EFFORTS.read(file)
        started = time.monotonic()
        lm = load_truncated_model(self._settings, "generative")
        tokenized = tokenize_examples(
            make_renderer(lm.tokenizer, self._settings),
            examples,
            loss=self._settings.generative.finetune.loss,
        )
        throughput = Throughput("examples", self._progress_factory("Effort of examples"))
        efforts = compute_in_parts(
            partial(gradient_norms, lm), tokenized, EFFORTS, folder=folder, progress=throughput
        )
        EFFORTS.write(file, np.asarray(efforts))
        stage.finish(started, throughput=throughput)
        return efforts
