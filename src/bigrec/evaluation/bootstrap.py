"""Bootstrap intervals of means over queries."""

import numpy as np

from bigrec.types import FloatArray

_NUMBERS_PER_BLOCK = 1 << 21


def bootstrap_intervals(
    values: FloatArray, *, seed: int, level: float = 0.95, resamples: int = 2000
) -> tuple[FloatArray, FloatArray]:
    """Percentile intervals of the means of several values per query, from the same resamples.

    Args:
        values: ``[q, metrics]``.
        seed: Fixes the resamples.
        level: Share of the resampled means inside the interval, in (0, 1).
        resamples: At least 1.

    Returns:
        Lower and upper ends, ``[metrics]`` each.

    Raises:
        ValueError: If an argument is out of range.
    """
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(f"values has shape {values.shape}; expected at least one query.")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1, such as 0.95.")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; expected at least 1.")
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _NUMBERS_PER_BLOCK // len(values))
    for start in range(0, resamples, step):
        rows = slice(start, min(start + step, resamples))
        means[rows] = _draw_counts(rng, rows.stop - start, len(values)) @ values / len(values)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def _draw_counts(rng: np.random.Generator, resamples: int, q: int) -> FloatArray:
    """Number of times each query is in each resample, ``[resamples, q]``."""
    # One matrix product with the counts gives the means of every metric.
    cells = rng.integers(q, size=(resamples, q)) + q * np.arange(resamples)[:, None]
    counts = np.bincount(cells.ravel(), minlength=resamples * q)
    return counts.reshape(resamples, q).astype(np.float64)
