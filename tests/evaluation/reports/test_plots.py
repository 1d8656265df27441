from collections.abc import Sequence
from dataclasses import replace
from struct import unpack
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult, SummaryRow, summarize
from bigrec.evaluation.reports.data import GammaPath, SeedRow
from bigrec.evaluation.reports.plots import (
    draw_curves,
    draw_gamma_paths,
    draw_losses,
    draw_metric_by_k,
    draw_nearest_distances,
    draw_seeds,
    draw_segments,
    to_png,
)
from bigrec.evaluation.segments import SegmentRow

LOG = [{"step": 1.0, "loss": 3.0}, {"step": 2.0, "loss": 2.0}, {"step": 2.0, "eval_loss": 2.5}]
PATH = GammaPath(
    MethodId("ours", "paper", ("popularity",)),
    False,
    gammas=(0.0, 0.5, 1.0, 10.0, 99.0),
    valid=(0.1, 0.2, 0.4, 0.3, 0.2),
    test=(0.1, 0.15, 0.3, 0.35, 0.2),
    chosen=1.0,
)
SEEDS = [
    SeedRow(MethodId("ours"), False, "ndcg@10", 0.2, 0.05, {0: 0.15, 1: 0.25}),
    SeedRow(MethodId("other"), False, "ndcg@10", 0.1, 0.0, {0: 0.1, 1: 0.1}),
]


@pytest.fixture(scope="module")
def rows() -> list[SummaryRow]:
    rng = np.random.default_rng(0)
    results = [
        MethodResult(MethodId(name), exclude_seen=False, ranks=rng.integers(0, width, size=300))
        for name, width in (("ours", 80), ("popularity", 200), ("random", 1000))
    ]
    return summarize(results, users=np.arange(300), seed=0)


def only_axes(figure: Figure) -> Any:
    (axes,) = figure.axes
    return axes


def tick_labels(axis: Any) -> list[str]:
    return [tick.get_text() for tick in axis.get_ticklabels()]


def legend_labels(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def inches(figure: Figure) -> tuple[float, float]:
    width, height = figure.get_size_inches()
    return float(width), float(height)


def segment(name: str, queries: int, *values: float) -> list[SegmentRow]:
    """One method m0, m1, ... for each value, with an interval from 0 to twice the value."""
    return [
        SegmentRow(
            name,
            queries,
            SummaryRow(MethodId(f"m{number}"), True, "ndcg@10", value, 0, 2 * value),
        )
        for number, value in enumerate(values)
    ]


def bar_heights(container: Any) -> list[float]:
    return [bar.get_height() for bar in container]


def reach(segments: Sequence[Any]) -> list[tuple[float, float]]:
    """Lower and upper ends of vertical error bars."""
    return [(low, high) for (_, low), (_, high) in segments]


@pytest.mark.parametrize("metric", ["hr", "ndcg"])
def test_a_metric_is_drawn_over_k_with_a_line_for_each_method(
    rows: list[SummaryRow], metric: str
) -> None:
    axes = only_axes(draw_metric_by_k(rows, metric=metric, exclude_seen=False))
    assert tick_labels(axes.xaxis) == ["1", "3", "5", "10", "20", "50"]
    assert axes.get_xlabel() == "K"
    label = f"{metric.upper()}@K (seen items included, as in the paper)"
    assert axes.get_ylabel() == label
    assert axes.get_ylim()[0] == 0
    assert legend_labels(axes.get_legend()) == ["ours", "popularity", "random"]
    for container, name in zip(axes.containers, ["ours", "popularity", "random"], strict=True):
        values = [
            row.value
            for row in rows
            if row.method.label == name and row.metric.startswith(f"{metric}@")
        ]
        np.testing.assert_array_equal(container.lines[0].get_ydata(), values)


def test_error_bars_span_the_intervals(rows: list[SummaryRow]) -> None:
    axes = only_axes(draw_metric_by_k(rows, metric="hr", exclude_seen=False))
    _, _, (bars,) = axes.containers[0].lines
    intervals = [
        (row.low, row.high)
        for row in rows
        if row.method.label == "ours" and row.metric.startswith("hr@")
    ]
    np.testing.assert_allclose(reach(bars.get_segments()), intervals)


def test_the_lines_of_methods_are_beside_one_another(rows: list[SummaryRow]) -> None:
    axes = only_axes(draw_metric_by_k(rows, metric="hr", exclude_seen=False))
    at_first_k = [container.lines[0].get_xdata()[0] for container in axes.containers]
    np.testing.assert_allclose(at_first_k, [-0.08, 0, 0.08])


def test_a_plot_of_many_methods_is_wide_with_distinct_lines_and_its_legend_outside() -> None:
    rows = [
        SummaryRow(MethodId(f"m{number}"), False, "hr@10", 0.5, 0.4, 0.6) for number in range(11)
    ]
    figure = draw_metric_by_k(rows, metric="hr", exclude_seen=False)
    assert inches(figure) == (10.0, 5.5)
    axes = only_axes(figure)
    assert axes.get_legend() is None
    (legend,) = figure.legends
    assert legend_labels(legend) == [f"m{number}" for number in range(11)]
    lines = [container.lines[0] for container in axes.containers]
    styles = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(styles) == 11


def test_a_png_has_200_dots_an_inch_and_equal_figures_give_equal_bytes(
    rows: list[SummaryRow],
) -> None:
    first, second = (
        to_png(draw_metric_by_k(rows, metric="hr", exclude_seen=False)) for _ in range(2)
    )
    assert first == second
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    # 7 by 4 inches
    assert unpack(">II", first[16:24]) == (1400, 800)


def test_losses_are_drawn_over_steps() -> None:
    axes = only_axes(draw_losses(LOG))
    training, validation = axes.lines
    assert training.get_xydata().tolist() == [[1.0, 3.0], [2.0, 2.0]]
    assert validation.get_xydata().tolist() == [[2.0, 2.5]]
    assert legend_labels(axes.get_legend()) == ["training", "validation"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss")


def test_losses_without_steps_are_drawn_over_epochs() -> None:
    axes = only_axes(draw_losses([{"epoch": 1.0, "loss": 3.0}, {"epoch": 2.0, "loss": 2.0}]))
    assert axes.lines[0].get_xydata().tolist() == [[1.0, 3.0], [2.0, 2.0]]
    assert axes.get_xlabel() == "epoch"


def test_losses_may_lack_validation() -> None:
    axes = only_axes(draw_losses(LOG[:2]))
    assert legend_labels(axes.get_legend()) == ["training"]


def test_other_entries_of_the_log_are_ignored() -> None:
    axes = only_axes(draw_losses([*LOG, {"step": 9.0, "train_runtime": 9.0}]))
    assert [line.get_xydata().tolist() for line in axes.lines] == [
        [[1.0, 3.0], [2.0, 2.0]],
        [[2.0, 2.5]],
    ]


def test_nearest_distances_are_drawn_as_a_histogram() -> None:
    axes = only_axes(draw_nearest_distances(np.array([0.0, 0.0, 1.5, 4.0])))
    (bars,) = axes.containers
    heights = bar_heights(bars)
    # 40 bars from 0 to 4, each 0.1 wide
    assert len(heights) == 40
    assert (heights[0], heights[15], heights[39]) == (2, 1, 1)
    assert sum(heights) == 4
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlabel() == "distance to the nearest title"


def test_nearest_distances_that_are_all_0_are_drawn() -> None:
    (bars,) = only_axes(draw_nearest_distances(np.zeros(5))).containers
    assert sum(bar_heights(bars)) == 5


def test_a_metric_without_rows_is_refused(rows: list[SummaryRow]) -> None:
    with pytest.raises(ValueError, match="No row has the metric 'hr' with exclude_seen=True"):
        draw_metric_by_k(rows, metric="hr", exclude_seen=True)


def test_a_log_without_losses_is_refused() -> None:
    with pytest.raises(ValueError, match="None of 1 log entries holds loss or eval_loss"):
        draw_losses([{"step": 1.0}])


def test_no_distances_are_refused() -> None:
    with pytest.raises(ValueError, match="distances is empty"):
        draw_nearest_distances(np.zeros(0))


@pytest.mark.parametrize(
    ("n_paths", "size"),
    # Panels are 2.4 inches high under 0.6 inches of legend, three beside one another.
    [(1, (7, 3)), (2, (7, 3)), (3, (10, 3)), (4, (10, 5.4))],
)
def test_every_gamma_path_has_a_panel(n_paths: int, size: tuple[float, float]) -> None:
    paths = [
        replace(PATH, method=MethodId("ours", "paper", (f"s{number}",)))
        for number in range(n_paths)
    ]
    figure = draw_gamma_paths(paths)
    assert inches(figure) == pytest.approx(size)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"ours x s{number}: gamma 1" for number in range(n_paths)]


def test_a_gamma_panel_shows_both_courses_and_the_selected_gamma() -> None:
    figure = draw_gamma_paths([PATH])
    axes = only_axes(figure)
    validation, test, rule, mark = axes.lines
    np.testing.assert_array_equal(validation.get_xydata().T, [PATH.gammas, PATH.valid])
    np.testing.assert_array_equal(test.get_xydata().T, [PATH.gammas, PATH.test])
    assert list(rule.get_xdata()) == [1.0, 1.0]
    # on the test curve
    assert mark.get_xydata().tolist() == [[1.0, 0.3]]
    (legend,) = figure.legends
    assert legend_labels(legend) == ["validation", "test", "selected on validation"]


def test_gamma_is_linear_up_to_1_and_logarithmic_above() -> None:
    axes = only_axes(draw_gamma_paths([PATH]))
    assert axes.get_xscale() == "symlog"
    assert tick_labels(axes.xaxis) == ["0", "0.5", "1", "3", "10", "30", "99"]
    low, half, one, ten = axes.transData.transform([(gamma, 0) for gamma in (0, 0.5, 1, 10)])[:, 0]
    assert half - low == pytest.approx(one - half)
    # Linear up to 1, as wide as symlog's 1 / (1 - 1/10) of the decade above.
    assert one - low == pytest.approx(10 / 9 * (ten - one))


def test_gammas_beyond_the_grid_have_no_tick() -> None:
    path = replace(PATH, gammas=(0.0, 0.5, 1.0, 2.0, 5.0))
    assert tick_labels(only_axes(draw_gamma_paths([path])).xaxis) == ["0", "0.5", "1", "3"]


def test_segments_are_drawn_as_bars_of_each_method() -> None:
    rows = [*segment("head", 1900, 0.2, 0.1), *segment("tail", 40, 0.05)]
    axes = only_axes(draw_segments(rows, metric="ndcg@10", exclude_seen=True))
    assert tick_labels(axes.xaxis) == ["head\n1,900 queries", "tail\n40 queries"]
    assert axes.get_ylabel() == "NDCG@10 (seen items excluded)"
    assert legend_labels(axes.get_legend()) == ["m0", "m1"]
    bars = [container for container in axes.containers if hasattr(container, "patches")]
    assert [bar_heights(of_method) for of_method in bars] == [[0.2, 0.05], [0.1]]
    # m0 is left of m1 within a segment
    assert bars[0].patches[0].get_x() < bars[1].patches[0].get_x() < 0.5
    assert reach(bars[0].errorbar.lines[2][0].get_segments()) == [(0, 0.4), (0, 0.1)]


@pytest.mark.parametrize("value", [0.5, 1.0])
def test_a_segment_of_few_queries_does_not_set_the_scale(value: float) -> None:
    rows = [*segment("known", 900, 0.02), *segment("new", 3, value)]
    axes = only_axes(draw_segments(rows, metric="ndcg@10", exclude_seen=True))
    # the upper end of the large segment's interval is 0.04
    assert axes.get_ylim() == pytest.approx((0, 1.05 * 0.04))


def test_segments_without_a_hit_are_drawn() -> None:
    axes = only_axes(draw_segments(segment("cold", 40, 0.0), metric="ndcg@10", exclude_seen=True))
    assert tick_labels(axes.xaxis) == ["cold\n40 queries"]
    low, high = axes.get_ylim()
    assert low == 0 < high


def test_seeds_are_drawn_with_a_row_for_each_method() -> None:
    figure = draw_seeds(SEEDS, metric="ndcg@10", exclude_seen=False)
    # 10 inches by 1 and 0.28 for each method
    assert inches(figure) == pytest.approx((10, 1.56))
    axes = only_axes(figure)
    assert tick_labels(axes.yaxis) == ["ours", "other"]
    # the first method is at the top
    assert axes.get_ylim() == (1.5, -0.5)
    assert axes.get_xlabel() == "NDCG@10 (seen items included, as in the paper)"
    (means,) = axes.containers
    assert means.lines[0].get_xydata().tolist() == [[0.2, 0], [0.1, 1]]
    deviations = means.lines[2][0].get_segments()
    np.testing.assert_allclose(deviations, [[[0.15, 0], [0.25, 0]], [[0.1, 1], [0.1, 1]]])


def test_every_seed_is_drawn() -> None:
    axes = only_axes(draw_seeds(SEEDS, metric="ndcg@10", exclude_seen=False))
    points = axes.collections[-1].get_offsets()
    np.testing.assert_array_equal(points, [[0.15, 0], [0.25, 0], [0.1, 1], [0.1, 1]])


def test_no_gamma_path_is_refused() -> None:
    with pytest.raises(ValueError, match="paths is empty"):
        draw_gamma_paths([])


def test_segments_and_seeds_without_matching_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"No row has the metric 'hr@10' with exclude_seen=True"):
        draw_segments(segment("head", 9, 0.5), metric="hr@10", exclude_seen=True)
    with pytest.raises(ValueError, match=r"No row has the metric 'ndcg@10' with exclude_seen=True"):
        draw_seeds(SEEDS, metric="ndcg@10", exclude_seen=True)


HOSTILE = "\x1b[31m $\\frac{$ $5"


def test_names_from_data_are_plain_text_in_plots() -> None:
    # an even number of dollar signs would be a formula, and this one has no end
    segments = segment(HOSTILE, 40, 0.5)
    axes = only_axes(draw_segments(segments, metric="ndcg@10", exclude_seen=True))
    figure = draw_seeds(
        [replace(SEEDS[0], method=MethodId(HOSTILE))], metric="ndcg@10", exclude_seen=False
    )
    panel = draw_gamma_paths([replace(PATH, method=MethodId(HOSTILE))])
    for drawn in (axes.figure, figure, panel):
        assert to_png(drawn)
    assert tick_labels(axes.xaxis) == ["\\x1b[31m\n\\$\\frac{\\$ \\$5\n40 queries"]
    assert tick_labels(only_axes(figure).yaxis) == ["\\x1b[31m \\$\\frac{\\$ \\$5"]
    assert only_axes(panel).get_title() == "\\x1b[31m \\$\\frac{\\$ \\$5: gamma 1"


def test_a_curve_has_a_point_at_every_place() -> None:
    def row(value: float) -> SummaryRow:
        return SummaryRow(MethodId("m"), True, "ndcg@10", value, value - 0.1, value + 0.1)

    curves = {
        "BIGRec": {"64": row(0.2), "256": row(0.3)},
        "EASE": {"256": row(0.5), "64": row(0.4)},
    }
    axes = only_axes(draw_curves(curves, x_label="training examples"))
    assert tick_labels(axes.xaxis) == ["64", "256"]
    assert [line.get_ydata().tolist() for line, *_ in axes.containers] == [[0.2, 0.3], [0.4, 0.5]]
    # Beside their places, so that error bars do not overlap.
    lines = [line.get_xdata() for line, *_ in axes.containers]
    np.testing.assert_allclose(lines, [[-0.04, 0.96], [0.04, 1.04]])
    assert legend_labels(axes.get_legend()) == ["BIGRec", "EASE"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training examples", "NDCG@10")


def test_no_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="curves is empty"):
        draw_curves({}, x_label="")
