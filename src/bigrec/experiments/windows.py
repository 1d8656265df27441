"""Several validation windows in a comparison: closed-form models and their fusions in each."""

from collections.abc import Iterable, Sequence

from bigrec.data.catalog import Catalog
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.selection import WindowRow, window_rows
from bigrec.experiments.fusions import SelectedFusion
from bigrec.models.registry import NAMES, is_network
from bigrec.recommender.baselines import BaselineFitter
from bigrec.recommender.scoring import TitleScorer
from bigrec.recommender.windows import ScoredWindows


def score_windows(
    baselines: BaselineFitter,
    signals: Iterable[MethodId],
    *,
    catalog: Catalog,
    full_history: bool,
) -> ScoredWindows | None:
    """The closed-form models on all data, fitted before each validation window.

    Args:
        baselines: Fits them.
        signals: The compared signals, others among them.
        catalog: The titles that are ranked.
        full_history: Whether signals score the full history.

    Returns:
        None for a single window, the validation part.
    """
    if len(baselines.windows) < 2:
        return None
    names = [
        method.model
        for method in signals
        if method.training_data == "all" and method.model in NAMES and not is_network(method.model)
    ]
    return ScoredWindows(
        [window.valid_queries for window in baselines.windows],
        catalog,
        [
            {name: TitleScorer(baselines.fit_before(window, name), catalog) for name in names}
            for window in baselines.windows
        ],
        full_history,
    )


def compare_windows(
    windows: ScoredWindows | None,
    signals: Iterable[MethodId],
    fusions: Sequence[SelectedFusion],
) -> list[WindowRow]:
    """Figures by window of the closed-form models, and of their fusions without the model.

    Args:
        windows: The windows; without them there are no rows.
        signals: The compared signals, others among them.
        fusions: The selected fusions of both protocols, others among them.
    """
    if windows is None:
        return []
    results = [
        MethodResult(signal, exclude_seen, windows.ranks(signal.label, exclude_seen=exclude_seen))
        for exclude_seen in (False, True)
        for signal in signals
        if windows.covers([signal.label])
    ]
    for fusion in fusions:
        if fusion.without_model is not None and windows.covers(fusion.labels):
            fused = windows.fusion_input(fusion.labels, exclude_seen=fusion.exclude_seen)
            ranks = fused.without_model().rule_ranks(fusion.without_model)
            results.append(MethodResult(fusion.baseline, fusion.exclude_seen, ranks))
    return window_rows(results, windows=windows.numbers, users=windows.users)
