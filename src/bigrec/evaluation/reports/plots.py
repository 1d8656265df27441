"""Plots as PNG bytes, drawn without matplotlib's global state."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.data import GammaPath, SeedRow
from bigrec.evaluation.segments import SegmentRow
from bigrec.types import FloatArray

FEW_QUERIES = 30
"""Segments with fewer queries than these do not set the scale of a plot."""

# Okabe and Ito's palette, told apart by colour-blind readers; its yellow is too pale for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vPX"
_LINES = ("-", "--", ":")
_INK = "#333333"
_GREY = "#888888"
_HATCHES = ("", "////", "....")
_PANELS = 3
"""Gamma paths beside one another."""
_GAMMA_TICKS = (0, 0.5, 1, 3, 10, 30, 99)

# 7 inches are 700 px in a report; drawn at twice that for sharp screens.
_SIZE = (7.0, 4.0)
_WIDE = (10.0, 5.5)
_CROWD = 5
"""With more methods than these a plot is wide, its legend beside it."""


def plot_metric_by_k(rows: Sequence[SummaryRow], *, metric: str, exclude_seen: bool) -> bytes:
    """A metric over the list length, one line per method, intervals as error bars.

    Args:
        rows: From ``summarise``.
        metric: ``hr`` or ``ndcg``.
        exclude_seen: Which of the two protocols.

    Raises:
        ValueError: If no row matches.
    """
    prefix = f"{metric}@"
    chosen = [
        row for row in rows if row.exclude_seen == exclude_seen and row.metric.startswith(prefix)
    ]
    _check_found(chosen, metric=metric, exclude_seen=exclude_seen)
    ks = sorted({int(row.metric.removeprefix(prefix)) for row in chosen})
    methods = list(dict.fromkeys(row.method for row in chosen))
    figure, axes = _figure(_WIDE if len(methods) > _CROWD else _SIZE)
    for number, method in enumerate(methods):
        own = [row for row in chosen if row.method == method]
        places = np.array([ks.index(int(row.metric.removeprefix(prefix))) for row in own])
        # Beside one another within a step, so that the error bars can be told apart.
        shift = min(0.08, 0.6 / len(methods)) * (number - (len(methods) - 1) / 2)
        _error_bars(axes, places + shift, rows=own, number=number)
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("K")
    axes.set_ylabel(f"{metric.upper()}@K ({_seen(exclude_seen)})")
    axes.set_ylim(bottom=0)
    _legend(figure, axes, methods=len(methods))
    return _png(figure)


def plot_gamma_paths(paths: Sequence[GammaPath]) -> bytes:
    """NDCG@10 over gamma, one panel for each method, validation beside test.

    Gamma is linear up to 1 and logarithmic from there: the grid has as many values below 1 as
    above. The chosen gamma is marked on the test curve. Every panel has its own scale, because the
    methods are far apart and it is the course of each that is to be seen.

    Args:
        paths: Of one protocol.

    Raises:
        ValueError: If there is no path.
    """
    if not paths:
        raise ValueError("paths is empty; expected at least one gamma path.")
    across = min(_PANELS, len(paths))
    down = -(-len(paths) // across)
    figure = _canvas((max(_SIZE[0], across * _WIDE[0] / _PANELS), 0.6 + 2.4 * down))
    for number, path in enumerate(paths):
        axes = figure.add_subplot(down, across, number + 1)
        _plain(axes)
        _gamma_panel(axes, path)
        if number % across == 0:
            axes.set_ylabel("NDCG@10")
        if number + across >= len(paths):
            axes.set_xlabel("gamma")
    labels = axes.get_legend_handles_labels()
    figure.legend(*labels, loc="outside upper center", ncols=3, frameon=False)
    return _png(figure)


def plot_segments(rows: Sequence[SegmentRow], *, metric: str, exclude_seen: bool) -> bytes:
    """A metric by segment, a bar for each method, intervals as error bars.

    The scale fits the segments of at least `FEW_QUERIES`: the interval of a handful of queries
    reaches so far that nothing else could be read.

    Args:
        rows: From ``segment_rows``, of one family.
        metric: ``ndcg@10``, ...
        exclude_seen: Which of the two protocols.

    Raises:
        ValueError: If no row matches.
    """
    chosen = [
        row
        for row in rows
        if row.summary.exclude_seen == exclude_seen and row.summary.metric == metric
    ]
    _check_found(chosen, metric=metric, exclude_seen=exclude_seen)
    queries = {row.segment: row.queries for row in chosen}
    segments = list(queries)
    methods = list(dict.fromkeys(row.summary.method for row in chosen))
    figure, axes = _figure(_WIDE if len(methods) > _CROWD else _SIZE)
    width = 0.84 / len(methods)
    for number, method in enumerate(methods):
        own = [row for row in chosen if row.summary.method == method]
        shift = width * (number - (len(methods) - 1) / 2)
        places = np.array([segments.index(row.segment) for row in own]) + shift
        _bars(axes, places, rows=[row.summary for row in own], number=number, width=width)
    names = [f"{fill(name, 16)}\n{count:,} queries" for name, count in queries.items()]
    axes.set_xticks(range(len(segments)), names)
    axes.set_ylabel(f"{metric.upper()} ({_seen(exclude_seen)})")
    tops = [row.summary.high for row in chosen if row.queries >= FEW_QUERIES]
    # Without a bar above 0 matplotlib's own scale does.
    axes.set_ylim(0, 1.05 * max(tops, default=0) or None)
    _legend(figure, axes, methods=len(methods))
    return _png(figure)


def plot_seeds(rows: Sequence[SeedRow], *, metric: str, exclude_seen: bool) -> bytes:
    """A metric of every training run, with mean and standard deviation over the runs.

    Args:
        rows: One for each method, metric and protocol.
        metric: ``hr@10``, ``ndcg@10``, ...
        exclude_seen: Which of the two protocols.

    Raises:
        ValueError: If no row matches.
    """
    chosen = [row for row in rows if row.exclude_seen == exclude_seen and row.metric == metric]
    _check_found(chosen, metric=metric, exclude_seen=exclude_seen)
    figure, axes = _figure((_WIDE[0], 1 + 0.28 * len(chosen)))
    places = np.arange(len(chosen))
    axes.errorbar(
        [row.mean for row in chosen],
        places,
        xerr=[row.deviation for row in chosen],
        fmt="|",
        markersize=12,
        capsize=4,
        color=_COLOURS[0],
        label="mean and standard deviation",
    )
    points = [(value, place) for place, row in enumerate(chosen) for value in row.values.values()]
    values, of_method = zip(*points, strict=True)
    axes.scatter(values, of_method, s=18, color=_COLOURS[1], alpha=0.8, label="one seed")
    axes.set_yticks(places, [row.method for row in chosen])
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.set_xlabel(f"{metric.upper()} ({_seen(exclude_seen)})")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return _png(figure)


def plot_losses(log: Sequence[Mapping[str, float]]) -> bytes:
    """Training and validation loss over the training step, or the epoch where there is no step.

    Args:
        log: The log of a training run: entries with ``step`` or ``epoch``, and ``loss`` (training)
            or ``eval_loss`` (validation); others are ignored.

    Raises:
        ValueError: If no entry holds a loss.
    """
    figure, axes = _figure(_SIZE)
    labels = {"loss": "training", "eval_loss": "validation"}
    unit = "step" if any("step" in entry for entry in log) else "epoch"
    for number, (name, label) in enumerate(labels.items()):
        points = [(entry[unit], entry[name]) for entry in log if name in entry]
        if points:
            steps, losses = zip(*points, strict=True)
            marker = _MARKERS[number] if len(points) < 40 else None
            axes.plot(
                steps, losses, color=_COLOURS[number], label=label, marker=marker, linewidth=1.6
            )
    if not axes.lines:
        raise ValueError(
            f"None of {len(log)} log entries holds loss or eval_loss; expected at least one."
        )
    axes.set_xlabel(unit)
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    return _png(figure)


def plot_nearest_distances(distances: FloatArray) -> bytes:
    """Histogram of the distance from each generated text to its nearest title.

    Args:
        distances: ``[q]``, at least 0. A bar at 0 counts the texts that are exact titles.

    Raises:
        ValueError: If there is no distance.
    """
    if distances.size == 0:
        raise ValueError("distances is empty; expected one for each query.")
    figure, axes = _figure(_SIZE)
    axes.hist(distances, bins=40, color=_COLOURS[0], edgecolor="white", linewidth=0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("distance to the nearest title")
    axes.set_ylabel("generated texts")
    axes.set_ylim(bottom=0)
    return _png(figure)


def _error_bars(axes: Any, places: FloatArray, *, rows: Sequence[SummaryRow], number: int) -> None:
    value, beside = _intervals(rows)
    rounds, colour = divmod(number, len(_COLOURS))
    axes.errorbar(
        places,
        value,
        yerr=beside,
        color=_COLOURS[colour],
        # Where the colours begin anew, marker and dashes tell the methods apart.
        marker=_MARKERS[(number + rounds) % len(_MARKERS)],
        linestyle=_LINES[rounds % len(_LINES)],
        markersize=5,
        capsize=3,
        linewidth=1.6,
        elinewidth=1.0,
        label=rows[0].method,
    )


def _bars(
    axes: Any, places: FloatArray, *, rows: Sequence[SummaryRow], number: int, width: float
) -> None:
    value, beside = _intervals(rows)
    rounds, colour = divmod(number, len(_COLOURS))
    axes.bar(
        places,
        value,
        width=width,
        yerr=beside,
        color=_COLOURS[colour],
        hatch=_HATCHES[rounds % len(_HATCHES)],
        edgecolor="white",
        linewidth=0.3,
        error_kw={"elinewidth": 0.8, "ecolor": _INK},
        label=rows[0].method,
    )


def _gamma_panel(axes: Any, path: GammaPath) -> None:
    axes.plot(path.gammas, path.valid, color=_GREY, linestyle="--", label="validation")
    axes.plot(path.gammas, path.test, color=_COLOURS[0], label="test")
    axes.axvline(path.chosen, color=_COLOURS[1], linestyle=":", linewidth=1)
    height = path.test[path.gammas.index(path.chosen)]
    axes.plot(
        [path.chosen],
        [height],
        color=_COLOURS[1],
        marker="o",
        linestyle="none",
        label="chosen on validation",
    )
    axes.set_xscale("symlog", linthresh=1)
    largest = max(path.gammas)
    ticks = [tick for tick in _GAMMA_TICKS if tick <= largest]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_title(fill(f"{path.method}: gamma {path.chosen:g}", 40), fontsize=9)
    axes.set_ylim(bottom=0)


def _intervals(rows: Sequence[SummaryRow]) -> tuple[FloatArray, FloatArray]:
    """Values ``[m]``, and how far their intervals reach below and above, ``[2, m]``."""
    value, low, high = np.array([(row.value, row.low, row.high) for row in rows]).T
    # The mean of all queries may lie outside a percentile interval by a rounding.
    return value, np.maximum(0, [value - low, high - value])


def _check_found(rows: Sequence[object], *, metric: str, exclude_seen: bool) -> None:
    if not rows:
        raise ValueError(
            f"No row has the metric {metric!r} with exclude_seen={exclude_seen}; expected one of "
            "the metrics and protocols that the rows hold."
        )


def _seen(exclude_seen: bool) -> str:
    return "seen items excluded" if exclude_seen else "seen items kept"


def _legend(figure: Figure, axes: Any, *, methods: int) -> None:
    if methods > _CROWD:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    else:
        axes.legend(frameon=False)


def _figure(size: tuple[float, float]) -> tuple[Figure, Any]:
    figure = _canvas(size)
    axes = figure.add_subplot()
    _plain(axes)
    return figure, axes


def _canvas(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: Any, *, grid: str = "y") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    # Without the version of matplotlib in it, the same plot is the same file.
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()
