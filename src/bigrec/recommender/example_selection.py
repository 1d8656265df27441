"""Choice of the few training examples by their influence, and the effort of learning them.

Source: arXiv 2401.17197 (DEALRec), section 3.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bigrec.data.coverage import coverage_sample
from bigrec.data.dataset import Dataset
from bigrec.data.examples import TitleExample, window_examples
from bigrec.grounding.fusion.formulas import min_max
from bigrec.models.influence import influence_on_risk
from bigrec.settings import Settings
from bigrec.types import FloatArray, IntArray


class ExampleScores(Protocol):
    """Computes the scores that examples are chosen by."""

    def influence(self, sequences: Sequence[IntArray], *, all_positions: bool) -> FloatArray:
        """Influence of each sequence, ``[m]``; see `influence_on_risk`."""
        ...

    def effort(self, examples: Sequence[TitleExample]) -> FloatArray:
        """Effort of each example, ``[m]``, higher for harder ones."""
        ...


class InfluenceAlone:
    """`ExampleScores` without a language model."""

    def influence(self, sequences: Sequence[IntArray], *, all_positions: bool) -> FloatArray:
        """See `ExampleScores`."""
        return influence_on_risk(sequences, all_positions=all_positions)

    def effort(self, examples: Sequence[TitleExample]) -> FloatArray:
        """Refuse.

        Raises:
            ValueError: In any case.
        """
        raise ValueError(
            f"the effort of {len(examples)} examples was asked for without a language model; "
            "expected ExampleScorer as scores."
        )


def select_examples(
    candidates: Sequence[IntArray],
    size: int,
    *,
    dataset: Dataset,
    settings: Settings,
    scores: ExampleScores,
) -> list[IntArray]:
    """Choose examples by their scores, as many as possible from each range.

    Args:
        candidates: Rows of the interactions of each example, the target last.
        size: Examples to choose; all if there are no more.
        dataset: The interactions.
        settings: How they are chosen, and the seed.
        scores: Computes what they are chosen by.

    Returns:
        The chosen ones, in the order of the candidates.

    Raises:
        DataError: If there are too many different titles.
        ValueError: If examples are chosen by effort and ``scores`` has none.
    """
    if size >= len(candidates):
        return list(candidates)
    selection = settings.data.example_selection
    title_ids = dataset.catalog.title_ids[dataset.interactions.items]
    influence = scores.influence(
        [title_ids[rows] for rows in candidates], all_positions=settings.targets_all_positions
    )

    def choose(of: FloatArray, count: int) -> IntArray:
        return coverage_sample(of, count, n_strata=selection.n_strata, seed=settings.seed)

    if selection.method == "influence":
        return [candidates[place] for place in choose(influence, size)]
    pool_size = len(candidates) if selection.effort_pool is None else selection.effort_pool
    pool = choose(influence, max(size, pool_size))
    efforts = scores.effort(window_examples([candidates[place] for place in pool], dataset))
    scaled = min_max(np.stack([influence[pool], efforts]).astype(np.float64))
    combined = scaled[0] + selection.effort_weight * scaled[1]
    return [candidates[place] for place in pool[choose(combined, size)]]
