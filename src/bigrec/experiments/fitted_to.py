"""What the methods of an experiment were fitted to."""

from collections.abc import Iterable, Sequence

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.evaluation.cold_targets import ColdRow, cold_rows
from bigrec.evaluation.method import MethodId
from bigrec.models.llm import LLM_RETRIEVAL
from bigrec.models.registry import NAMES, TEXT_MODELS
from bigrec.recommender.training_data import PreparedData
from bigrec.settings import Settings
from bigrec.types import IntArray


def title_counts(catalog: Catalog, prepared: PreparedData) -> IntArray:
    """Training interactions of each title, ``[t]``: as many as of all of its items together."""
    return _by_title(catalog, prepared.counts)


def fitted_to(
    methods: Sequence[MethodId],
    *,
    signals: Iterable[MethodId],
    recommenders: Iterable[MethodId],
    catalog: Catalog,
    prepared: PreparedData,
    settings: Settings,
) -> list[ColdRow]:
    """The interactions behind each method, and its share of cold test targets.

    Args:
        methods: All methods. Those with precomputed scores have no row: nothing is known of them.
        signals: The models that are fused or compared.
        recommenders: The language model by itself.
        catalog: The titles.
        prepared: What the models were fitted to.
        settings: What the language model is trained on.
    """
    on_all = title_counts(catalog, prepared)
    few_shots = np.bincount(np.concatenate(prepared.train_items), minlength=catalog.n_items)
    on_few_shots = _by_title(catalog, few_shots)
    counts: dict[str, IntArray] = {}
    for method in signals:
        if method.model in TEXT_MODELS:
            counts[method.label] = np.zeros_like(on_all)
        elif method.model in (*NAMES, LLM_RETRIEVAL):
            is_few_shot = method.training_data == "few-shot"
            counts[method.label] = on_few_shots if is_few_shot else on_all
    on_examples = settings.mode == "generative" or settings.retrieval.train_on == "examples"
    for method in recommenders:
        counts[method.label] = on_few_shots if on_examples else on_all
    targets = catalog.title_ids[prepared.test_queries.targets]
    return cold_rows(methods, targets=targets, counts=counts)


def _by_title(catalog: Catalog, counts: IntArray) -> IntArray:
    weights = np.bincount(catalog.title_ids, weights=counts, minlength=catalog.n_titles)
    return weights.astype(np.int64)
