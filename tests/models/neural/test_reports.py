"""What a training tells experiment trackers, by hand."""

from collections.abc import Mapping

from bigrec.models.neural.reports import TrainingReports


def test_the_mean_loss_of_the_batches_since_the_last_report_is_reported() -> None:
    reported: list[tuple[int, dict[str, float]]] = []

    def report(figures: Mapping[str, float], step: int) -> None:
        reported.append((step, dict(figures)))

    # 2 x 1,000 targets in 200 reports: every 10.
    reports = TrainingReports(report, epochs=2, targets_per_epoch=1000)
    for number, loss_sum in enumerate([12.0, 6.0, 9.0], start=1):
        reports.add_batch(loss_sum, 6, targets_done=6 * number, learning_rate=0.5)
    reports.add_validation(0.25, epoch=2)
    assert reported == [
        (12, {"train/loss": 1.5, "train/learning_rate": 0.5, "train/epoch": 0.012}),
        (2000, {"eval/ndcg_at_10": 0.25}),
    ]


def test_batches_of_more_targets_than_the_interval_are_each_reported() -> None:
    steps = []
    reports = TrainingReports(lambda _, step: steps.append(step), epochs=1, targets_per_epoch=1000)
    for done in (300, 600, 1000):
        reports.add_batch(1.0, 300, targets_done=done, learning_rate=0.1)
    assert steps == [300, 600, 1000]
