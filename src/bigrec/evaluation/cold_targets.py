"""How many targets are cold to a method: it depends on what the method was fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.segments import check_counts
from bigrec.grounding.ranks import check_range
from bigrec.types import IntArray


@dataclass(frozen=True, slots=True)
class ColdRow:
    """What a method was fitted to, and how many targets are cold to it.

    Attributes:
        method: The method.
        interactions: Interactions that it was fitted to; of a fusion, those of its parts together.
        cold: Share of the queries whose target's title is in none of them, in [0, 1].
    """

    method: MethodId
    interactions: int
    cold: float


def cold_rows(
    methods: Sequence[MethodId], *, targets: IntArray, counts: Mapping[str, IntArray]
) -> list[ColdRow]:
    """The interactions behind each method, and its share of cold targets.

    To a fusion a target is cold if it is cold to all of its parts. Parts share their interactions:
    the few shots are among those of all data.

    Args:
        methods: Methods by themselves and fusions.
        targets: Title id of each query's target, ``[q]``, at least one.
        counts: How often each title occurs in what a model was fitted to, ``[t]``, by the label of
            the model.

    Returns:
        A row for each method whose parts all have counts.

    Raises:
        ValueError: If there is no query, or a target or a count is out of range.
    """
    if not len(targets):
        raise ValueError("targets is empty; expected at least one query.")
    rows = []
    for method in methods:
        parts = [method.label] if method.fusion == "none" else [method.model, *method.signals]
        known = [counts.get(part) for part in parts if part]
        found = [of_part for of_part in known if of_part is not None]
        if len(found) < len(known):
            continue
        together = np.max(found, axis=0)
        check_counts(together)
        check_range(targets, len(together), name="targets")
        cold = float((together[targets] == 0).mean())
        rows.append(ColdRow(method, int(together.sum()), cold))
    return rows
