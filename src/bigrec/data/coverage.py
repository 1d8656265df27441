"""Coverage-enhanced sampling: as many examples from every range of scores.

Source: arXiv 2401.17197 (DEALRec), section 3.3.
"""

import numpy as np

from bigrec.types import FloatArray, IntArray


def coverage_sample(scores: FloatArray, size: int, *, n_groups: int, seed: int) -> IntArray:
    """Draw examples without replacement, as many as possible from each group of similar scores.

    Groups are equally wide ranges between the lowest and the highest score. The smallest group
    is drawn from first, and gives all that it has or its share of what is still to be drawn.
    Rare scores, mostly the high ones, are thereby preferred, and the frequent ones are covered.
    Which examples are drawn does not depend on their order, apart from those of equal scores.

    Args:
        scores: ``[m]``, finite.
        size: Examples to draw, at least 1; all if there are no more.
        n_groups: Number of ranges, at least 1.
        seed: Seed of the sample within a group.

    Returns:
        Ascending positions, ``[min(size, m)]``, each once.

    Raises:
        ValueError: If an argument is out of range.
    """
    if size < 1 or n_groups < 1:
        raise ValueError(f"size is {size} and n_groups {n_groups}; expected at least 1.")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; expected finite numbers.")
    if size >= len(scores):
        return np.arange(len(scores))
    rng = np.random.default_rng(seed)
    drawn: list[IntArray] = []
    remaining = size
    groups = _groups(scores, n_groups)
    for place, group in enumerate(groups):
        share = min(len(group), remaining // (len(groups) - place))
        drawn.append(rng.choice(group, share, replace=False))
        remaining -= share
    return np.sort(np.concatenate(drawn))


def _groups(scores: FloatArray, n_groups: int) -> list[IntArray]:
    """Positions of each group that has some, by ascending score; the smallest group first."""
    order = np.argsort(scores, kind="stable")
    ascending = scores[order].astype(np.float64)
    span = ascending[-1] - ascending[0]
    if span == 0:
        return [order]
    ranges = ((ascending - ascending[0]) / span * n_groups).astype(np.int64)
    # The highest score belongs to the last range.
    starts = np.flatnonzero(np.diff(np.minimum(ranges, n_groups - 1))) + 1
    return sorted(np.split(order, starts), key=len)
