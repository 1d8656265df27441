"""The time left is told once it means something."""

import pytest

from bigrec.recommender.throughput import TimeLeft


def estimates(reports: list[tuple[float, int]], *, total: int) -> list[float | None]:
    """Seconds left after each report of (time, units done)."""
    left = TimeLeft()
    return [left.update(done, total, now=now) for now, done in reports]


def test_a_slow_start_gives_no_estimate_and_is_forgotten() -> None:
    # One unit in 79 s, as while caches fill, and then 1,000 in a second.
    total = 1_000_000
    reports = [(0.0, 549), (79.0, 550), *((79.0 + s, 550 + 1000 * s) for s in range(1, 400))]
    given = estimates(reports, total=total)
    assert given[:60] == [None] * 60
    for (_, done), seconds in zip(reports, given, strict=True):
        # Never more than about twice what it takes.
        assert seconds is None or seconds <= 2.1 * (total - done) / 1000
    assert given[-1] == pytest.approx((total - reports[-1][1]) / 1000)


def test_few_reports_count_where_they_are_a_share_of_the_whole() -> None:
    assert estimates([(0, 100), (60, 150)], total=300) == [None, 180]
    assert estimates([(0, 100), (60, 101)], total=300) == [None, None]


def test_steady_reports_count_where_they_are_a_small_share() -> None:
    reports = [(float(s), s) for s in range(31)]
    given = estimates(reports, total=10_000)
    assert given[:10] == [None] * 10
    assert given[10:] == [10_000 - s for s in range(10, 31)]


def test_many_reports_in_a_second_count_once() -> None:
    reports = [(n / 1000, n) for n in range(1000)]
    assert estimates(reports, total=10**9) == [None] * 1000


def test_the_rate_is_that_of_the_last_minutes() -> None:
    # 10 a second for ten minutes, then 1 a second for five.
    reports = [(float(s), 10 * s) for s in range(600)]
    reports += [(float(s), 6000 + s - 600) for s in range(600, 900)]
    assert estimates(reports, total=7000)[-1] == pytest.approx(701, rel=0.01)


@pytest.mark.parametrize("reports", [[(0, 5), (60, 5)], [(0, 5), (60, 4)], [(0, 0), (60, 10)]])
def test_without_progress_or_at_the_end_there_is_nothing_to_tell(
    reports: list[tuple[float, int]],
) -> None:
    assert estimates(reports, total=10) == [None, None]
