"""What a training tells experiment trackers."""

from bigrec.lm.trackers import Report

_REPORTS = 200


class TrainingReports:
    """Reports the loss about 200 times in a training, and NDCG@10 after every epoch.

    A figure's step is the number of targets that were trained on, which, unlike optimizer steps,
    does not depend on the size of a batch.

    Args:
        report: Takes the figures.
        epochs: Passes over all targets, at most.
        targets_per_epoch: Targets of one pass.
    """

    def __init__(self, report: Report, *, epochs: int, targets_per_epoch: int) -> None:
        self._report = report
        self._targets_per_epoch = targets_per_epoch
        self._interval = max(1, epochs * targets_per_epoch // _REPORTS)
        self._loss_sum, self._n_targets = 0.0, 0

    def add_batch(
        self, loss_sum: float, n_targets: int, *, targets_done: int, learning_rate: float
    ) -> None:
        """Add the loss of a batch, and report the mean of those since the last report if due.

        Args:
            loss_sum: Summed loss of the batch's targets.
            n_targets: Their number.
            targets_done: Targets trained on, this batch included.
            learning_rate: That of the batch.
        """
        self._loss_sum += loss_sum
        self._n_targets += n_targets
        is_due = targets_done // self._interval > (targets_done - n_targets) // self._interval
        if is_due:
            figures = {
                "train/loss": self._loss_sum / self._n_targets,
                "train/learning_rate": learning_rate,
                "train/epoch": targets_done / self._targets_per_epoch,
            }
            self._report(figures, targets_done)
            self._loss_sum, self._n_targets = 0.0, 0

    def add_validation(self, ndcg: float, *, epoch: int) -> None:
        """Report validation NDCG@10 after an epoch; epoch 0 is the untrained network."""
        # Some trackers refuse "@" in a name.
        self._report({"eval/ndcg_at_10": ndcg}, epoch * self._targets_per_epoch)
