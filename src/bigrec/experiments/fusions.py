"""The fusions of a comparison: rules selected on validation, gamma paths traced on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import numpy as np

from bigrec.errors import SettingsError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import KS, metric_value, selection_metric
from bigrec.evaluation.reports.data import GammaPath
from bigrec.experiments.methods import Method
from bigrec.grounding.fusion.cold_selection import mix_cold_titles
from bigrec.grounding.fusion.gamma_path import gamma_path_ranks, paper_selection
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.tuning import FusionInput, optimize_rule
from bigrec.recommender.scoring import ScoredQueries
from bigrec.recommender.windows import ScoredWindows, WindowQueries
from bigrec.types import FloatArray, IntArray

_PAPER_METRICS = {
    name: partial(metric_value, metric=name)
    for name in (f"{metric}@{k}" for metric in ("hr", "ndcg") for k in KS)
}


@dataclass(frozen=True, eq=False)
class SelectedFusion:
    """One signal or several fused into the distances, under one protocol.

    Attributes:
        model: Name of the language model in the fused methods.
        signals: The signals.
        exclude_seen: The protocol.
        paper: The paper's product on the top beam.
        best: The rule that does best on validation.
        without_model: The rule that does best without the language model; None for one signal.
        path: Validation target ranks at every gamma of the paper's product, ``[q, m]``; None for
            several signals.
    """

    model: str
    signals: tuple[MethodId, ...]
    exclude_seen: bool
    paper: FusionRule
    best: FusionRule
    without_model: FusionRule | None
    path: IntArray | None = field(repr=False)

    @classmethod
    def select(
        cls,
        valid: ScoredQueries,
        model: str,
        signals: tuple[MethodId, ...],
        *,
        exclude_seen: bool,
        windows: ScoredWindows | None = None,
        mixes_cold_items: bool = True,
    ) -> Self:
        """Select the rules on validation queries.

        Args:
            valid: Validation queries, with the signals by their labels.
            model: Name of the language model in the fused methods.
            signals: The signals.
            exclude_seen: The protocol.
            windows: Several validation windows. Closed-form signals are fused without the language
                model by the mean over them, and all rules are as simple as one standard error
                allows.
            mixes_cold_items: Whether a mixture for cold titles is tried with every rule but the
                paper's.
        """
        labels = [signal.label for signal in signals]
        fused = valid.fusion_input(labels, exclude_seen=exclude_seen)
        gammas = valid.signals[labels[0]].scorer.gamma_grid
        last = WindowQueries([valid.queries])
        simplified = None if windows is None else last.tolerates
        mix = partial(mix_cold_titles, metric=selection_metric, tolerates=last.tolerates)
        best = optimize_rule(fused, metric=selection_metric, gammas=gammas, tolerates=simplified)
        if mixes_cold_items:
            best = mix(best, fused)
        without_model, path = None, None
        if len(signals) == 1:
            path = _paper_path(fused, gammas)
        else:
            alone = valid.fusion_input(labels, exclude_seen=exclude_seen, imputed=False)
            alone = alone.without_model()
            if windows is not None and windows.covers(labels):
                in_windows = windows.fusion_input(labels, exclude_seen=exclude_seen)
                without_model = optimize_rule(
                    in_windows.without_model(), metric=windows.metric, tolerates=windows.tolerates
                )
            else:
                without_model = optimize_rule(alone, metric=selection_metric, tolerates=simplified)
            if mixes_cold_items:
                without_model = mix(without_model, alone)
        return cls(
            model=model,
            signals=signals,
            exclude_seen=exclude_seen,
            paper=optimize_rule(fused, metric=selection_metric, family="paper", gammas=gammas),
            best=best,
            without_model=without_model,
            path=path,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the signals."""
        return tuple(signal.label for signal in self.signals)

    @property
    def with_model(self) -> list[Method]:
        """The paper's product and the best rule."""
        *_, paper, best = fused_ids(self.model, self.signals)
        return [Method(paper, self.paper), Method(best, self.best)]

    @property
    def methods(self) -> list[Method]:
        """The fused methods, after several signals fused without the language model."""
        if self.without_model is None:
            return self.with_model
        return [Method(self.baseline, self.without_model), *self.with_model]

    @property
    def baseline(self) -> MethodId:
        """The signals without the language model, the baseline of its gain."""
        return self.signals[0] if len(self.signals) == 1 else fused_ids(self.model, self.signals)[0]


def fused_ids(model: str, signals: Sequence[MethodId]) -> list[MethodId]:
    """The methods of a fusion: several signals without the model, the paper's product, the best.

    Args:
        model: Name of the language model.
        signals: The signals.
    """
    labels = tuple(signal.label for signal in signals)
    alone = [MethodId("", "tuned", labels)] if len(labels) > 1 else []
    return [*alone, MethodId(model, "paper", labels), MethodId(model, "tuned", labels)]


def parse_fusions(
    entries: Sequence[str], signals: Mapping[str, MethodId]
) -> list[tuple[MethodId, ...]]:
    """Signals of each entry of ``compare.fusions``, several joined by ``&``.

    Args:
        entries: Labels of signals.
        signals: The compared signals by label.

    Raises:
        SettingsError: If an entry names a signal that is not compared.
    """
    names = [tuple(name.strip() for name in entry.split("&")) for entry in entries]
    unknown = [name for entry in names for name in entry if name not in signals]
    if unknown:
        raise SettingsError(
            f"compare.fusions names {unknown[0]!r}: expected signals that are compared, "
            f"{'; '.join(signals)}."
        )
    return [tuple(signals[name] for name in entry) for entry in names]


def trace_gamma_paths(
    fusions: Sequence[SelectedFusion], test: ScoredQueries
) -> dict[tuple[MethodId, bool], tuple[GammaPath, Mapping[str, float]]]:
    """The paper's products of single signals at every gamma, in one pass over the test queries.

    Returns:
        By method and protocol its path, and what the paper's protocol reports on test, by metric.
    """
    single = [(fusion, fusion.path) for fusion in fusions if fusion.path is not None]
    grids = [test.signals[fusion.labels[0]].scorer.gamma_grid for fusion, _ in single]
    on_test = [np.empty((len(test), len(grid)), dtype=np.int64) for grid in grids]
    for batch in test.batches() if single else ():
        for (fusion, _), grid, ranks in zip(single, grids, on_test, strict=True):
            ranks[batch.rows] = gamma_path_ranks(
                batch.distances("top1"),
                batch.weights(fusion.labels[0]),
                batch.targets,
                gammas=grid,
                exclude=batch.seen if fusion.exclude_seen else None,
            )
    traced: dict[tuple[MethodId, bool], tuple[GammaPath, Mapping[str, float]]] = {}
    for (fusion, on_valid), grid, ranks in zip(single, grids, on_test, strict=True):
        method = fusion.with_model[0].id
        path = GammaPath(
            method,
            fusion.exclude_seen,
            gammas=tuple(grid.tolist()),
            valid=tuple(selection_metric(column) for column in on_valid.T),
            test=tuple(selection_metric(column) for column in ranks.T),
            chosen=fusion.paper.gammas[0],
        )
        traced[method, fusion.exclude_seen] = path, _paper_figures(on_valid, ranks, gammas=grid)
    return traced


def _paper_path(fused: FusionInput, gammas: FloatArray) -> IntArray:
    return gamma_path_ranks(
        fused.distances["top1"],
        fused.weights[0],
        fused.targets,
        gammas=gammas,
        exclude=fused.exclude,
    )


def _paper_figures(
    on_valid: IntArray, on_test: IntArray, *, gammas: FloatArray
) -> dict[str, float]:
    """Test figures by the paper's protocol: a gamma for every metric and K."""
    gamma_of = paper_selection(on_valid, gammas, metrics=_PAPER_METRICS)
    return {
        metric: _PAPER_METRICS[metric](on_test[:, gammas == gamma][:, 0])
        for metric, gamma in gamma_of.items()
    }
