"""What the methods of an experiment were fitted to."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.evaluation.cold_targets import ColdRow, cold_rows
from bigrec.evaluation.method import MethodId
from bigrec.models.llm import LLM_RETRIEVAL
from bigrec.models.registry import NAMES, TEXT_MODELS
from bigrec.recommender.training_data import PreparedData
from bigrec.settings import Settings

if TYPE_CHECKING:
    from bigrec.types import IntArray


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
    on_all = catalog.counts_by_title(prepared.counts)
    few_shots = np.bincount(np.concatenate(prepared.train_items), minlength=catalog.n_items)
    on_few_shots = catalog.counts_by_title(few_shots)
    counts: dict[str, IntArray] = {}
    for method in signals:
        if method.model in TEXT_MODELS or method.training_data == "none":
            counts[method.label] = np.zeros_like(on_all)
        elif method.model in (*NAMES, LLM_RETRIEVAL):
            is_few_shot = method.training_data == "few-shot"
            counts[method.label] = on_few_shots if is_few_shot else on_all
    zero_shot = settings.data.train_sources == "extra" and not settings.decodes_states
    learned = on_few_shots if settings.trains_on_examples else on_all
    for method in recommenders:
        counts[method.label] = np.zeros_like(on_all) if zero_shot else learned
    targets = catalog.title_ids[prepared.test_queries.targets]
    return cold_rows(methods, targets=targets, counts=counts)
