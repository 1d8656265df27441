"""Plots as PNG bytes, drawn without matplotlib's global state."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bigrec.evaluation.protocol import SummaryRow
from bigrec.types import FloatArray

# Okabe and Ito's palette, told apart by colour-blind readers; its yellow is too pale for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vPX"
_INK = "#333333"


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
    if not chosen:
        raise ValueError(
            f"No row has the metric {metric!r} with exclude_seen={exclude_seen}; expected rows "
            "of summarise and 'hr' or 'ndcg'."
        )
    ks = sorted({int(row.metric.removeprefix(prefix)) for row in chosen})
    figure, axes = _figure()
    methods = list(dict.fromkeys(row.method for row in chosen))
    for number, method in enumerate(methods):
        own = [row for row in chosen if row.method == method]
        places = np.array([ks.index(int(row.metric.removeprefix(prefix))) for row in own])
        # Beside one another within a step, so that the error bars can be told apart.
        shift = 0.08 * (number - (len(methods) - 1) / 2)
        _error_bars(axes, places + shift, rows=own, number=number)
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("K")
    seen = "seen items excluded" if exclude_seen else "seen items kept"
    axes.set_ylabel(f"{metric.upper()}@K ({seen})")
    axes.legend(frameon=False)
    return _png(figure, axes)


def plot_losses(log: Sequence[Mapping[str, float]]) -> bytes:
    """Training and validation loss over the training step.

    Args:
        log: The log of a fine-tuning run: entries with ``step`` and ``loss`` (training) or
            ``eval_loss`` (validation); others are ignored.

    Raises:
        ValueError: If no entry holds a loss.
    """
    figure, axes = _figure()
    labels = {"loss": "training", "eval_loss": "validation"}
    for number, (name, label) in enumerate(labels.items()):
        points = [(entry["step"], entry[name]) for entry in log if name in entry]
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
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return _png(figure, axes)


def plot_nearest_distances(distances: FloatArray) -> bytes:
    """Histogram of the distance from each generated text to its nearest title.

    Args:
        distances: ``[q]``, at least 0. A bar at 0 counts the texts that are exact titles.

    Raises:
        ValueError: If there is no distance.
    """
    if distances.size == 0:
        raise ValueError("distances is empty; expected one for each query.")
    figure, axes = _figure()
    axes.hist(distances, bins=40, color=_COLOURS[0], edgecolor="white", linewidth=0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("distance to the nearest title")
    axes.set_ylabel("generated texts")
    return _png(figure, axes)


def _error_bars(axes: Any, places: FloatArray, *, rows: Sequence[SummaryRow], number: int) -> None:
    value, low, high = np.array([(row.value, row.low, row.high) for row in rows]).T
    axes.errorbar(
        places,
        value,
        yerr=np.maximum(0, [value - low, high - value]),
        color=_COLOURS[number % len(_COLOURS)],
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=5,
        capsize=3,
        linewidth=1.6,
        label=rows[0].method,
    )


def _figure() -> tuple[Figure, Any]:
    # 7 inches are 700 px in a report; drawn at twice that for sharp screens.
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)
    return figure, axes


def _png(figure: Figure, axes: Any) -> bytes:
    axes.set_ylim(bottom=0)
    buffer = BytesIO()
    # Without the version of matplotlib in it, the same plot is the same file.
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()
