from dataclasses import replace
from io import BytesIO
from struct import unpack

import numpy as np
import pytest
from matplotlib.image import imread

from bigrec.evaluation.protocol import MethodResult, SummaryRow, summarise
from bigrec.evaluation.reports.data import GammaPath, SeedRow
from bigrec.evaluation.reports.plots import (
    plot_gamma_paths,
    plot_losses,
    plot_metric_by_k,
    plot_nearest_distances,
    plot_seeds,
    plot_segments,
)
from bigrec.evaluation.segments import SegmentRow
from bigrec.types import BoolArray

LOG = [{"step": 1.0, "loss": 3.0}, {"step": 2.0, "loss": 2.0}, {"step": 2.0, "eval_loss": 2.5}]
PATH = GammaPath(
    "ours x popularity", False, (0.0, 0.5, 1.0, 10.0, 99.0), (0.1,) * 5, (0.2,) * 5, 1.0
)
SEEDS = [
    SeedRow("ours", False, "ndcg@10", 0.2, 0.05, {0: 0.15, 1: 0.25}),
    SeedRow("other", False, "ndcg@10", 0.1, 0.0, {0: 0.1, 1: 0.1}),
]


@pytest.fixture(scope="module")
def rows() -> list[SummaryRow]:
    rng = np.random.default_rng(0)
    results = [
        MethodResult(name, exclude_seen=False, ranks=rng.integers(0, width, size=300))
        for name, width in (("ours", 80), ("popularity", 200), ("random", 1000))
    ]
    return summarise(results, seed=0)


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = unpack(">II", png[16:24])
    return width, height


def _segment(name: str, queries: int, *values: float) -> list[SegmentRow]:
    return [
        SegmentRow(name, queries, SummaryRow(f"m{number}", True, "ndcg@10", value, 0, 2 * value))
        for number, value in enumerate(values)
    ]


def _columns(png: bytes, colour: str) -> BoolArray:
    """Which columns of an image hold a colour."""
    wanted = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    near = np.abs(imread(BytesIO(png))[..., :3] - wanted).max(axis=2) < 0.01
    return np.asarray(near.any(axis=0))


@pytest.mark.parametrize("metric", ["hr", "ndcg"])
def test_a_metric_is_drawn_over_k(rows: list[SummaryRow], metric: str) -> None:
    # 7 by 4 inches, 200 dots each
    assert _size(plot_metric_by_k(rows, metric=metric, exclude_seen=False)) == (1400, 800)


def test_a_plot_of_many_methods_is_wide() -> None:
    rows = [SummaryRow(f"m{number}", False, "hr@10", 0.5, 0.4, 0.6) for number in range(11)]
    # 10 by 5.5 inches
    assert _size(plot_metric_by_k(rows, metric="hr", exclude_seen=False)) == (2000, 1100)


def test_the_same_plot_is_the_same_file(rows: list[SummaryRow]) -> None:
    first, second = (plot_metric_by_k(rows, metric="hr", exclude_seen=False) for _ in range(2))
    assert first == second


def test_losses_are_drawn_over_steps() -> None:
    assert _size(plot_losses(LOG)) == (1400, 800)


def test_losses_may_lack_validation() -> None:
    assert plot_losses(LOG[:2]) != plot_losses(LOG)


def test_other_entries_of_the_log_are_ignored() -> None:
    assert plot_losses([*LOG, {"step": 2.0, "train_runtime": 9.0}]) == plot_losses(LOG)


def test_nearest_distances_are_drawn() -> None:
    assert _size(plot_nearest_distances(np.array([0.0, 0.0, 1.5, 3.0]))) == (1400, 800)


def test_nearest_distances_that_are_all_0_are_drawn() -> None:
    assert _size(plot_nearest_distances(np.zeros(5))) == (1400, 800)


def test_a_metric_without_rows_is_refused(rows: list[SummaryRow]) -> None:
    with pytest.raises(ValueError, match="No row has the metric 'hr' with exclude_seen=True"):
        plot_metric_by_k(rows, metric="hr", exclude_seen=True)


def test_a_log_without_losses_is_refused() -> None:
    with pytest.raises(ValueError, match="None of 1 log entries holds loss or eval_loss"):
        plot_losses([{"step": 1.0}])


def test_no_distances_are_refused() -> None:
    with pytest.raises(ValueError, match="distances is empty"):
        plot_nearest_distances(np.zeros(0))


@pytest.mark.parametrize(
    ("n_paths", "size"),
    # Panels are 2.4 inches high under 0.6 inches of legend, three beside one another.
    [(1, (1400, 600)), (2, (1400, 600)), (3, (2000, 600)), (4, (2000, 1080))],
)
def test_every_gamma_path_has_a_panel(n_paths: int, size: tuple[int, int]) -> None:
    paths = [replace(PATH, method=f"ours x s{number}") for number in range(n_paths)]
    assert _size(plot_gamma_paths(paths)) == size


def test_the_chosen_gamma_is_marked_at_its_place() -> None:
    # The legend shows the mark, too, always at one place; what moves is the mark on the curve.
    marks = [
        _columns(plot_gamma_paths([replace(PATH, chosen=gamma)]), "#D55E00")
        for gamma in (0.0, 1.0, 99.0)
    ]
    common = marks[0] & marks[1] & marks[2]
    low, middle, high = (np.flatnonzero(mark & ~common).mean() for mark in marks)
    assert low < middle < high
    # Linear up to 1, as wide as the decade that follows it; symlog gives 1 / (1 - 1/10) decades.
    unit = (high - low) / (10 / 9 + np.log10(99))
    assert middle - low == pytest.approx(10 / 9 * unit, rel=0.05)


def test_segments_are_drawn_as_bars() -> None:
    rows = [*_segment("head", 900, 0.2, 0.1), *_segment("tail", 40, 0.05)]
    assert _size(plot_segments(rows, metric="ndcg@10", exclude_seen=True)) == (1400, 800)


def test_a_segment_of_few_queries_does_not_set_the_scale() -> None:
    large = _segment("known", 900, 0.02)
    plots = [
        plot_segments([*large, *_segment("new", 3, value)], metric="ndcg@10", exclude_seen=True)
        for value in (0.5, 1.0)
    ]
    # Both bars of the small segment reach beyond the top, so their heights make no difference.
    assert plots[0] == plots[1]


def test_segments_without_a_hit_are_drawn() -> None:
    rows = _segment("cold", 40, 0.0)
    assert _size(plot_segments(rows, metric="ndcg@10", exclude_seen=True)) == (1400, 800)


def test_seeds_are_drawn_a_line_for_each_method() -> None:
    # 10 inches by 1 and 0.28 for each method
    assert _size(plot_seeds(SEEDS, metric="ndcg@10", exclude_seen=False)) == (2000, 312)


def test_every_seed_is_drawn() -> None:
    moved = [replace(SEEDS[0], values={0: 0.16, 1: 0.24}), SEEDS[1]]
    first, second = (
        plot_seeds(rows, metric="ndcg@10", exclude_seen=False) for rows in (SEEDS, moved)
    )
    assert first != second


def test_no_gamma_path_is_refused() -> None:
    with pytest.raises(ValueError, match="paths is empty"):
        plot_gamma_paths([])


def test_segments_and_seeds_without_matching_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"No row has the metric 'hr@10' with exclude_seen=True"):
        plot_segments(_segment("head", 9, 0.5), metric="hr@10", exclude_seen=True)
    with pytest.raises(ValueError, match=r"No row has the metric 'ndcg@10' with exclude_seen=True"):
        plot_seeds(SEEDS, metric="ndcg@10", exclude_seen=True)
