"""Coverage-enhanced sampling: as many examples from every range of scores.

Source: arXiv 2401.17197 (DEALRec), section 3.3.
"""

import numpy as np

from bigrec.types import FloatArray, IntArray


def coverage_sample(scores: FloatArray, size: int, *, n_strata: int, seed: int) -> IntArray:
    """Draw examples without replacement, as many as possible from each stratum of similar scores.

    Strata are equally wide ranges between the lowest and the highest score. The smallest is drawn
    from first, and gives all that it has or its share of what is still to be drawn.
    Rare scores, mostly the high ones, are thereby preferred, and the frequent ones are covered.
    Which examples are drawn does not depend on their order, apart from those of equal scores.

    Args:
        scores: ``[m]``, finite.
        size: Examples to draw, at least 1; all if there are no more.
        n_strata: Number of ranges, at least 1.
        seed: Seed of the sample within a stratum.

    Returns:
        Ascending positions, ``[min(size, m)]``, each once.

    Raises:
        ValueError: If an argument is out of range.
    """
    if size < 1 or n_strata < 1:
        raise ValueError(f"size is {size} and n_strata {n_strata}; expected at least 1.")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; expected finite numbers.")
    if size >= len(scores):
        return np.arange(len(scores))
    rng = np.random.default_rng(seed)
    drawn: list[IntArray] = []
    remaining = size
    strata = _strata(scores, n_strata)
    for place, stratum in enumerate(strata):
        share = min(len(stratum), remaining // (len(strata) - place))
        drawn.append(rng.choice(stratum, share, replace=False))
        remaining -= share
    return np.sort(np.concatenate(drawn))


def _strata(scores: FloatArray, n_strata: int) -> list[IntArray]:
    """Positions of each stratum that has some, by ascending score; the smallest first."""
    order = np.argsort(scores, kind="stable")
    ascending = scores[order].astype(np.float64)
    span = ascending[-1] - ascending[0]
    if span == 0:
        return [order]
    ranges = ((ascending - ascending[0]) / span * n_strata).astype(np.int64)
    # The highest score belongs to the last range.
    starts = np.flatnonzero(np.diff(np.minimum(ranges, n_strata - 1))) + 1
    return sorted(np.split(order, starts), key=len)
