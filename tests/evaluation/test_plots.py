from struct import unpack

import numpy as np
import pytest

from bigrec.evaluation.plots import plot_losses, plot_metric_by_k, plot_nearest_distances
from bigrec.evaluation.protocol import MethodResult, SummaryRow, summarise

LOG = [{"step": 1.0, "loss": 3.0}, {"step": 2.0, "loss": 2.0}, {"step": 2.0, "eval_loss": 2.5}]


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


@pytest.mark.parametrize("metric", ["hr", "ndcg"])
def test_a_metric_is_drawn_over_k(rows: list[SummaryRow], metric: str) -> None:
    # 7 by 4 inches, 200 dots each
    assert _size(plot_metric_by_k(rows, metric=metric, exclude_seen=False)) == (1400, 800)


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
