"""Plots as matplotlib figures and PNG bytes, drawn without matplotlib's global state."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from bigrec.evaluation.protocol import PROTOCOL_LABELS, SummaryRow
from bigrec.evaluation.reports.data import GammaPath, SeedRow
from bigrec.evaluation.segments import SegmentRow
from bigrec.printable import printable
from bigrec.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW_QUERIES = 30
"""Segments with fewer queries do not set the scale of a plot."""

# Okabe and Ito's palette for color-blind readers; its yellow is too pale for lines.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vPX"
_LINES = ("-", "--", ":")
_INK = "#333333"
_GRAY = "#888888"
_HATCHES = ("", "////", "....")
_PANELS = 3
"""Gamma paths in one row."""
_GAMMA_TICKS = (0, 0.5, 1, 3, 10, 30, 99)

# 7 inches are 700 px in a report; drawn at twice that for sharp screens.
_SIZE = (7.0, 4.0)
_WIDE = (10.0, 5.5)
_CROWD = 5
"""With more methods a plot is wide and its legend is outside."""


def to_png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG; equal figures give equal bytes."""
    buffer = BytesIO()
    # The version of matplotlib in the metadata would make the bytes differ between versions.
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def draw_metric_by_k(rows: Sequence[SummaryRow], *, metric: str, exclude_seen: bool) -> "Figure":
    """A metric over the list length, one line per method, intervals as error bars.

    Args:
        rows: From ``summarize``.
        metric: ``hr`` or ``ndcg``.
        exclude_seen: The protocol.

    Raises:
        ValueError: If no row matches.
    """
    prefix = f"{metric}@"
    matching = [
        row for row in rows if row.exclude_seen == exclude_seen and row.metric.startswith(prefix)
    ]
    _check_matching(matching, metric=metric, exclude_seen=exclude_seen)
    ks = sorted({int(row.metric.removeprefix(prefix)) for row in matching})
    methods = list(dict.fromkeys(row.method for row in matching))
    figure, axes = _figure(_WIDE if len(methods) > _CROWD else _SIZE)
    for number, method in enumerate(methods):
        of_method = [row for row in matching if row.method == method]
        places = np.array([ks.index(int(row.metric.removeprefix(prefix))) for row in of_method])
        places = places + _shift(number, of=len(methods))
        label = of_method[0].method.label
        _error_bars(axes, places, rows=of_method, number=number, label=label)
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("K")
    axes.set_ylabel(f"{metric.upper()}@K ({PROTOCOL_LABELS[exclude_seen]})")
    axes.set_ylim(bottom=0)
    _legend(figure, axes, methods=len(methods))
    return figure


def draw_curves(curves: Mapping[str, Mapping[str, SummaryRow]], *, x_label: str) -> "Figure":
    """A metric over named places, a line for each curve, intervals as error bars.

    Args:
        curves: By name the curve's rows by place, the same places for all.
        x_label: What the places are.

    Raises:
        ValueError: If there is no curve.
    """
    if not curves:
        raise ValueError("curves is empty; expected at least one.")
    figure, axes = _figure(_WIDE if len(curves) > _CROWD else _SIZE)
    places = list(next(iter(curves.values())))
    for number, (name, points) in enumerate(curves.items()):
        rows = [points[place] for place in places]
        shifted = np.arange(len(rows)) + _shift(number, of=len(curves))
        _error_bars(axes, shifted, rows=rows, number=number, label=name)
    axes.set_xticks(range(len(places)), places)
    axes.set_xlabel(x_label)
    axes.set_ylabel(rows[0].metric.upper())
    axes.set_ylim(bottom=0)
    _legend(figure, axes, methods=len(curves))
    return figure


def draw_gamma_paths(paths: Sequence[GammaPath]) -> "Figure":
    """NDCG@10 over gamma, one panel for each method, validation beside test.

    Gamma is linear up to 1 and logarithmic above: the grid has as many values below 1 as above.
    The selected gamma is marked on the test curve. Every panel has its own scale, because the
    methods are far apart.

    Args:
        paths: Paths of one protocol.

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
    return figure


def draw_segments(rows: Sequence[SegmentRow], *, metric: str, exclude_seen: bool) -> "Figure":
    """A metric by segment, a bar for each method, intervals as error bars.

    The scale fits the segments of at least `FEW_QUERIES`: the wide interval of a handful of
    queries would make the others unreadable.

    Args:
        rows: From ``segment_rows``, of one segmentation.
        metric: ``ndcg@10``, ...
        exclude_seen: The protocol.

    Raises:
        ValueError: If no row matches.
    """
    matching = [
        row
        for row in rows
        if row.summary.exclude_seen == exclude_seen and row.summary.metric == metric
    ]
    _check_matching(matching, metric=metric, exclude_seen=exclude_seen)
    queries = {row.segment: row.queries for row in matching}
    segments = list(queries)
    methods = list(dict.fromkeys(row.summary.method for row in matching))
    figure, axes = _figure(_WIDE if len(methods) > _CROWD else _SIZE)
    width = 0.84 / len(methods)
    for number, method in enumerate(methods):
        of_method = [row for row in matching if row.summary.method == method]
        shift = width * (number - (len(methods) - 1) / 2)
        places = np.array([segments.index(row.segment) for row in of_method]) + shift
        _bars(axes, places, rows=[row.summary for row in of_method], number=number, width=width)
    names = [f"{_plain_text(name, width=16)}\n{count:,} queries" for name, count in queries.items()]
    axes.set_xticks(range(len(segments)), names)
    axes.set_ylabel(f"{metric.upper()} ({PROTOCOL_LABELS[exclude_seen]})")
    tops = [row.summary.high for row in matching if row.queries >= FEW_QUERIES]
    # None leaves the top to matplotlib where no bar is above 0.
    axes.set_ylim(0, 1.05 * max(tops, default=0) or None)
    _legend(figure, axes, methods=len(methods))
    return figure


def draw_seeds(rows: Sequence[SeedRow], *, metric: str, exclude_seen: bool) -> "Figure":
    """A metric of every training run, with mean and standard deviation over the runs.

    Args:
        rows: One for each method, metric and protocol.
        metric: ``hr@10``, ``ndcg@10``, ...
        exclude_seen: The protocol.

    Raises:
        ValueError: If no row matches.
    """
    matching = [row for row in rows if row.exclude_seen == exclude_seen and row.metric == metric]
    _check_matching(matching, metric=metric, exclude_seen=exclude_seen)
    figure, axes = _figure((_WIDE[0], 1 + 0.28 * len(matching)))
    places = np.arange(len(matching))
    axes.errorbar(
        [row.mean for row in matching],
        places,
        xerr=[row.deviation for row in matching],
        fmt="|",
        markersize=12,
        capsize=4,
        color=_COLORS[0],
        label="mean and standard deviation",
    )
    points = [(value, place) for place, row in enumerate(matching) for value in row.values.values()]
    values, heights = zip(*points, strict=True)
    axes.scatter(values, heights, s=18, color=_COLORS[1], alpha=0.8, label="one seed")
    axes.set_yticks(places, [_plain_text(row.method.label) for row in matching])
    axes.set_ylim(len(matching) - 0.5, -0.5)
    axes.set_xlabel(f"{metric.upper()} ({PROTOCOL_LABELS[exclude_seen]})")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def draw_losses(log: Sequence[Mapping[str, float]]) -> "Figure":
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
                steps, losses, color=_COLORS[number], label=label, marker=marker, linewidth=1.6
            )
    if not axes.lines:
        raise ValueError(
            f"None of {len(log)} log entries holds loss or eval_loss; expected at least one."
        )
    axes.set_xlabel(unit)
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    return figure


def draw_nearest_distances(distances: FloatArray) -> "Figure":
    """Histogram of the distance from each generated text to its nearest title.

    Args:
        distances: ``[q]``, at least 0. A bar at 0 counts the texts that are exact titles.

    Raises:
        ValueError: If there is no distance.
    """
    if distances.size == 0:
        raise ValueError("distances is empty; expected one for each query.")
    figure, axes = _figure(_SIZE)
    axes.hist(distances, bins=40, color=_COLORS[0], edgecolor="white", linewidth=0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("distance to the nearest title")
    axes.set_ylabel("generated texts")
    axes.set_ylim(bottom=0)
    return figure


def _plain_text(text: str, *, width: int = 0) -> str:
    """Text from data, which matplotlib would read as a formula between dollar signs.

    Args:
        text: The text.
        width: Characters of a line; 0 for one line.
    """
    shown = printable(text)
    return (fill(shown, width) if width else shown).replace("$", r"\$")


def _shift(number: int, *, of: int) -> float:
    """Shift of a line within a step, so that the error bars of lines do not overlap."""
    return min(0.08, 0.6 / of) * (number - (of - 1) / 2)


def _error_bars(
    axes: Any, places: FloatArray, *, rows: Sequence[SummaryRow], number: int, label: str
) -> None:
    values, reach = _intervals(rows)
    rounds, color = divmod(number, len(_COLORS))
    axes.errorbar(
        places,
        values,
        yerr=reach,
        color=_COLORS[color],
        # The colors repeat; marker and dashes then distinguish the methods.
        marker=_MARKERS[(number + rounds) % len(_MARKERS)],
        linestyle=_LINES[rounds % len(_LINES)],
        markersize=5,
        capsize=3,
        linewidth=1.6,
        elinewidth=1.0,
        label=_plain_text(label),
    )


def _bars(
    axes: Any, places: FloatArray, *, rows: Sequence[SummaryRow], number: int, width: float
) -> None:
    values, reach = _intervals(rows)
    rounds, color = divmod(number, len(_COLORS))
    axes.bar(
        places,
        values,
        width=width,
        yerr=reach,
        color=_COLORS[color],
        hatch=_HATCHES[rounds % len(_HATCHES)],
        edgecolor="white",
        linewidth=0.3,
        error_kw={"elinewidth": 0.8, "ecolor": _INK},
        label=_plain_text(rows[0].method.label),
    )


def _gamma_panel(axes: Any, path: GammaPath) -> None:
    axes.plot(path.gammas, path.valid, color=_GRAY, linestyle="--", label="validation")
    axes.plot(path.gammas, path.test, color=_COLORS[0], label="test")
    axes.axvline(path.chosen, color=_COLORS[1], linestyle=":", linewidth=1)
    height = path.test[path.gammas.index(path.chosen)]
    axes.plot(
        [path.chosen],
        [height],
        color=_COLORS[1],
        marker="o",
        linestyle="none",
        label="selected on validation",
    )
    axes.set_xscale("symlog", linthresh=1)
    largest = max(path.gammas)
    ticks = [tick for tick in _GAMMA_TICKS if tick <= largest]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    title = _plain_text(f"{path.method.label}: gamma {path.chosen:g}", width=40)
    axes.set_title(title, fontsize=9)
    axes.set_ylim(bottom=0)


def _intervals(rows: Sequence[SummaryRow]) -> tuple[FloatArray, FloatArray]:
    """Values ``[m]``, and the reach of their intervals below and above, ``[2, m]``."""
    value, low, high = np.array([(row.value, row.low, row.high) for row in rows]).T
    # Rounding may put the mean just outside its percentile interval.
    return value, np.maximum(0, [value - low, high - value])


def _check_matching(rows: Sequence[object], *, metric: str, exclude_seen: bool) -> None:
    if not rows:
        raise ValueError(
            f"No row has the metric {metric!r} with exclude_seen={exclude_seen}; expected one of "
            "the metrics and protocols that the rows hold."
        )


def _legend(figure: "Figure", axes: Any, *, methods: int) -> None:
    if methods > _CROWD:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    else:
        axes.legend(frameon=False)


def _figure(size: tuple[float, float]) -> "tuple[Figure, Any]":
    figure = _canvas(size)
    axes = figure.add_subplot()
    _plain(axes)
    return figure, axes


def _canvas(size: tuple[float, float]) -> "Figure":
    # Most commands draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - a second
    from matplotlib.figure import Figure  # noqa: PLC0415 - a second

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: Any, *, grid: str = "y") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)
