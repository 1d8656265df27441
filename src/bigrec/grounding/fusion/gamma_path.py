"""The target's rank at every gamma from one pass over the titles, and gammas selected by it.

Title ``i`` is ahead of target ``t`` where ``X_i (1+W_i)^-gamma <= X_t (1+W_t)^-gamma`` with
``X = floor + D^``. In logarithms both sides are lines in gamma, so a title changes sides at most
once, at ``gamma* = (log X_i - log X_t) / (log(1+W_i) - log(1+W_t))``: counting how many change
before each grid value gives every rank. Where rounding could move ``gamma*`` across a grid value,
the two products themselves are compared there, so that the ranks are those of
``formulas.fuse_product`` followed by ``ranks.target_ranks``, ties included.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bigrec.grounding.fusion.formulas import check_not_negative, check_weights, discount, min_max
from bigrec.grounding.ranks import check_queries, check_range
from bigrec.types import UNRANKED, BoolArray, FloatArray, IntArray

Metric = Callable[[IntArray], float]
"""From 0-based ranks ``[q]`` to a figure, higher is better."""

# Bound on the rounding errors of logarithms and products together, for each unit of an exponent:
# some hundred times the 1e-16 of float64. Too large only means more products compared.
_ROUNDING = 1e-13
# Divisor in place of 0 for a title of the target's weight, which then changes at no finite gamma.
_NO_SLOPE = 1e-290
_MAX_CELLS = 2**16
# Narrower cells than this have no finite number of cells a unit.
_MIN_WIDTH = 1e-290


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Ascending gammas with a table that finds the first one not below a value.

    The range is cut into cells no wider than the smallest gap, so one look in the table and one
    comparison do what a binary search needs eight unpredictable branches for.
    """

    gammas: FloatArray
    tolerance: float
    _upper: FloatArray = field(repr=False)  # the gammas, then infinity, [m + 1]
    _table: IntArray = field(repr=False)
    _cells_per_unit: float

    @classmethod
    def of(cls, gammas: FloatArray) -> Self:
        _check_gammas(gammas)
        gammas = gammas.astype(np.float64)
        span = gammas[-1] - gammas[0]
        gap = np.diff(gammas).min(initial=max(span, 1.0))
        width = max(gap, span / _MAX_CELLS, _MIN_WIDTH)
        # A little below the cell's edge, because a value's cell is itself found with rounding.
        edges = gammas[0] + (np.arange(int(span / width) + 3) - 1e-6) * width
        return cls(
            gammas=gammas,
            tolerance=_ROUNDING * (10 + gammas[-1]),
            _upper=np.append(gammas, np.inf),
            _table=np.searchsorted(gammas, edges),
            _cells_per_unit=float(1 / width),
        )

    def first_from(self, values: FloatArray) -> IntArray:
        """Number of the first gamma that is at least each value; ``m`` where there is none."""
        # With gammas a hair apart the product may overflow, and is clipped to the last cell.
        with np.errstate(over="ignore"):
            cells = (values - self.gammas[0]) * self._cells_per_unit
        np.clip(cells, 0, len(self._table) - 1, out=cells)
        first: IntArray = self._table[cells.astype(np.intp)]
        below = np.flatnonzero(self._upper[first] < values)
        while below.size:
            first[below] += 1
            below = below[self._upper[first[below]] < values[below]]
        return first

    def reached(self, numbers: IntArray, values: FloatArray) -> BoolArray:
        """Whether the gamma of each number, infinite for ``m``, is at most the value."""
        return np.asarray(self._upper[numbers] <= values)


def gamma_path_ranks(
    distances: FloatArray,
    weights: FloatArray,
    targets: IntArray,
    *,
    gammas: FloatArray,
    floor: float = 0.0,
    exclude: Sequence[IntArray] | None = None,
) -> IntArray:
    """Rank of each query's target at every gamma, 0 for the best.

    The ranks are those of ``fuse_product`` and ``target_ranks`` for every gamma, at the cost of a
    few of them, unless a product underflows to 0. Memory beyond the arguments and the result
    does not grow with ``q``.

    Args:
        distances: ``[q, t]``, lower is better; normalized here.
        weights: ``[q, t]``, or ``[1, t]`` for all queries alike, in [0, 1].
        targets: Title id of each query's target, ``[q]``.
        gammas: Strictly ascending, at least 0, ``[m]``.
        floor: Added to every normalized distance, at least 0.
        exclude: For each query title ids that are never ahead; none by default.

    Returns:
        0-based ranks, ``[q, m]``. A title tied with the target counts as ahead of it. A target
        that is itself excluded gets `UNRANKED`, a miss at every K.

    Raises:
        ValueError: If lengths or shapes differ or a value is out of range.
    """
    check_weights([weights], distances.shape)
    check_not_negative(floor, name="floor")
    q, n_titles = distances.shape
    check_queries(distances, targets, exclude)
    grid = _Grid.of(gammas)
    rows = np.broadcast_to(weights, distances.shape)
    ranks = np.empty((q, len(gammas)), dtype=np.int64)
    # Row by row: a query's arrays then stay in the processor's cache from one step to the next.
    for query in range(q):
        target = int(targets[query])
        x = floor + min_max(distances[query : query + 1].astype(np.float64))[0]
        # What is smaller than float64's rounding is a tie, so weights are counted in it too.
        w = rows[query].astype(np.float64, copy=False)
        if exclude is None:
            ranks[query] = _target_path(x, w, target, grid=grid)
            continue
        check_range(exclude[query], n_titles, name="exclude")
        kept = np.ones(n_titles, dtype=np.bool_)
        kept[exclude[query]] = False
        if kept[target]:
            place = int(np.count_nonzero(kept[:target]))
            ranks[query] = _target_path(x[kept], w[kept], place, grid=grid)
        else:
            ranks[query] = UNRANKED
    return ranks


def select_gamma(path_ranks: IntArray, gammas: FloatArray, *, metric: Metric) -> float:
    """The gamma with the best figure; the smallest of those that tie.

    Args:
        path_ranks: From ``gamma_path_ranks``, ``[q, m]``.
        gammas: The gammas of its columns, ascending, ``[m]``.
        metric: From ranks ``[q]`` to a figure, higher is better.

    Raises:
        ValueError: If there is not one column for each gamma or a figure is NaN.
    """
    _check_gammas(gammas)
    if path_ranks.ndim != 2 or path_ranks.shape[1] != len(gammas):
        raise ValueError(
            f"path_ranks has shape {path_ranks.shape} for {len(gammas)} gammas; expected [q, m], "
            "one column for each gamma."
        )
    figures = np.array([metric(column) for column in path_ranks.T])
    if np.isnan(figures).any():
        raise ValueError(
            f"The metric is NaN at gamma {gammas[np.isnan(figures)][0]}; expected a number. "
            "Correct the metric."
        )
    return float(gammas[figures.argmax()])


def paper_selection(
    path_ranks: IntArray, gammas: FloatArray, *, metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """Select a gamma for every metric and every K separately, as in the paper.

    One row of figures then mixes as many rankers as there are metrics, which no single
    recommender reaches. Report it as the paper's protocol, beside one gamma for all metrics.

    Args:
        path_ranks: From ``gamma_path_ranks`` on validation queries, ``[q, m]``.
        gammas: The gammas of its columns, ascending, ``[m]``.
        metrics: Every metric at every K by name, such as ``ndcg@10``.

    Returns:
        The gamma of each name, as ``select_gamma`` selects it.

    Raises:
        ValueError: As ``select_gamma``.
    """
    return {
        name: select_gamma(path_ranks, gammas, metric=metric) for name, metric in metrics.items()
    }


def _check_gammas(gammas: FloatArray) -> None:
    if gammas.ndim != 1 or gammas.size == 0:
        raise ValueError(f"gammas has shape {gammas.shape}; expected [m] with at least one gamma.")
    # Written so that NaN fails too.
    if not (gammas[0] >= 0 and gammas[-1] < np.inf and (np.diff(gammas) > 0).all()):
        raise ValueError(
            f"gammas goes from {gammas[0]} to {gammas[-1]}; expected finite numbers of at least 0, "
            "each larger than the one before."
        )


def _target_path(x: FloatArray, w: FloatArray, target: int, *, grid: _Grid) -> IntArray:
    """Ranks of one query's target, ``[m]``, from ``X`` and ``W`` of the ranked titles, ``[t]``."""
    x_target, w_target = x[target : target + 1], w[target : target + 1]
    heavier = w >= w_target
    # A title at 0 stays at 0, ahead of every target that is not.
    always = ((x <= x_target) & heavier) | (x == 0)
    # The target itself is among them.
    ranks = np.full(len(grid.gammas), np.count_nonzero(always) - 1)
    # Farther by no more than rounding can be a tie for any weight.
    never = ~((x <= x_target * (1 + grid.tolerance)) | heavier)
    moving = np.flatnonzero(~(always | never))
    # A target at 0 stays at 0 too: all that is not at 0 is behind it.
    if x_target[0] > 0 and moving.size:
        ranks += _moving_ahead(x[moving], w[moving], x_target, w_target, grid=grid)
    return ranks


def _moving_ahead(
    x: FloatArray, w: FloatArray, x_target: FloatArray, w_target: FloatArray, *, grid: _Grid
) -> IntArray:
    """How many of some titles are ahead of the target at each gamma, ``[m]``."""
    m = len(grid.gammas)
    rise = np.log(x) - np.log(x_target)
    slope = np.log(1.0 + w) - np.log(1.0 + w_target)
    falling = slope <= 0  # ahead up to gamma*; the others are ahead from gamma* on
    rise *= 1.0 - 2.0 * falling  # faster than a masked negation
    np.maximum(np.abs(slope), _NO_SLOPE, out=slope)
    # gamma* lies in [earliest, latest] for any rounding.
    earliest, latest = (rise - grid.tolerance) / slope, (rise + grid.tolerance) / slope
    change = grid.first_from(earliest)
    doubtful = np.flatnonzero(grid.reached(change, latest))
    ahead = np.zeros(m, dtype=np.int64)
    if doubtful.size:
        start = change[doubtful]
        stop = np.searchsorted(grid.gammas, latest[doubtful], side="right")
        change[doubtful] = np.where(falling[doubtful], start, stop)
        for j in range(start.min(), stop.max()):
            compared = doubtful[(start <= j) & (j < stop)]
            gamma = grid.gammas[j]
            products = x[compared] * discount(w[compared], gamma=gamma)
            ahead[j] = np.count_nonzero(products <= x_target * discount(w_target, gamma=gamma))
    changes = np.bincount(change + (m + 1) * falling, minlength=2 * (m + 1)).reshape(2, m + 1)
    ahead += np.count_nonzero(falling) + np.cumsum(changes[0] - changes[1])[:m]
    return ahead
