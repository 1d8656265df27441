"""Bootstrap intervals of means over queries whose users are resampled."""

import numpy as np

from bigrec.evaluation.clusters import cluster_totals
from bigrec.types import FloatArray, IntArray

_NUMBERS_PER_BLOCK = 1 << 21


def bootstrap_intervals(
    values: FloatArray,
    *,
    seed: int,
    clusters: IntArray,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[FloatArray, FloatArray]:
    """Percentile intervals of the means of several values per query, from the same resamples.

    A resample draws as many clusters as there are, with replacement, each with all of its queries.
    Its mean is the sum over the drawn clusters divided by the number of their queries (Davison and
    Hinkley, 1997, section 3.8).

    Args:
        values: ``[q, metrics]``.
        seed: Fixes the resamples.
        clusters: Number of each query's user, ``[q]``. Queries of one user depend on each other.
            With a user for each query the resamples are of queries.
        level: Share of the resampled means inside the interval, in (0, 1).
        resamples: At least 1.

    Returns:
        Lower and upper ends, ``[metrics]`` each.

    Raises:
        ValueError: If an argument is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1, such as 0.95.")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; expected at least 1.")
    sums, counts = cluster_totals(values, clusters)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _NUMBERS_PER_BLOCK // len(counts))
    for start in range(0, resamples, step):
        rows = slice(start, min(start + step, resamples))
        drawn = _draw_counts(rng, rows.stop - start, len(counts))
        means[rows] = drawn @ sums / (drawn @ counts)[:, None]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def _draw_counts(rng: np.random.Generator, resamples: int, n_clusters: int) -> FloatArray:
    """Number of times each cluster is in each resample, ``[resamples, n_clusters]``."""
    # One matrix product with the counts gives the means of every metric.
    cells = rng.integers(n_clusters, size=(resamples, n_clusters))
    cells += n_clusters * np.arange(resamples)[:, None]
    counts = np.bincount(cells.ravel(), minlength=resamples * n_clusters)
    return counts.reshape(resamples, n_clusters).astype(np.float64)
