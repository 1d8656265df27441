"""Signals in a run: what they learn from, how they are put into distances, how they are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError
from bigrec.grounding.cold_items import Likes
from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS, POPULARITY_GAMMAS
from bigrec.grounding.fusion.gamma_path import Metric
from bigrec.grounding.fusion.rule import Rule
from bigrec.grounding.fusion.tuning import best_rule, published_rule
from bigrec.models.base import Scorer, Signal
from bigrec.models.popularity import Popularity
from bigrec.models.registry import Lessons, fit_signal, is_network, load_signal_folder
from bigrec.models.scaling import minmax
from bigrec.models.title_groups import group_scores
from bigrec.recommender.scoring import Evidence, filled
from bigrec.storage import atomic_folder, read_json, write_json
from bigrec.types import FloatArray, IntArray, Track

_RULE = "injection.json"
_ITEMS = "items.parquet"
_FORMAT = 1


def fit_signals(
    names: Sequence[str],
    lessons: Lessons,
    *,
    seed: int,
    device: str,
    folder: Path,
    track: Track,
    suffix: str = "",
) -> dict[str, Signal]:
    """Learn signals; networks keep what they learned in the folder and are not trained twice.

    Args:
        names: As in `bigrec.models.registry.NAMES`.
        lessons: What to learn from.
        seed: Of networks.
        device: Of networks.
        folder: One folder in it for each network.
        track: Called with the name of each network's training.
        suffix: Added to every name of the result.
    """
    found = {}
    for name in names:
        label = name + suffix
        progress = track(f"Training {label}") if is_network(name) else None
        found[label] = fit_signal(
            name,
            lessons,
            seed=seed,
            device=device,
            folder=folder / label.replace(", ", "-").replace(" ", "-").lower(),
            progress=progress,
        )
    return found


@dataclass(frozen=True, eq=False)
class Injected:
    """Signals with the rule that puts them into distances.

    Attributes:
        signals: By name, in the order of the rule's gammas.
        rule: How.
        full_history: Whether the signals see all of a history, not the window alone.
        item_ids: The items that the signals know, by their item numbers.
    """

    signals: Mapping[str, Signal] = field(repr=False)
    rule: Rule
    full_history: bool
    item_ids: Sequence[str] = field(repr=False)

    @property
    def name(self) -> str:
        """What the recommender with its signals is called in tables."""
        return f"BIGRec + {' & '.join(self.signals)}"

    def save(self, folder: Path) -> None:
        """Write signals and rule to a folder of their own, whole or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            for number, signal in enumerate(self.signals.values()):
                signal.save(temporary / str(number))
            pl.DataFrame({"item_id": self.item_ids}).write_parquet(temporary / _ITEMS)
            write_json(
                temporary / _RULE,
                {
                    "format": _FORMAT,
                    "signals": list(self.signals),
                    "rule": self.rule.to_json(),
                    "full_history": self.full_history,
                },
            )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: If a file is missing, damaged or of another version.
        """
        about = read_json(folder / _RULE)
        if about.get("format") != _FORMAT:
            raise BundleError(
                f"{folder / _RULE} has format {about.get('format')}; this version of bigrec reads "
                f"format {_FORMAT}. Make the bundle again."
            )
        signals = {
            name: load_signal_folder(folder / str(number))
            for number, name in enumerate(about["signals"])
        }
        item_ids = pl.read_parquet(folder / _ITEMS)["item_id"].to_list()
        return cls(signals, Rule.from_json(about["rule"]), about["full_history"], item_ids)


class BoundSignals:
    """Signals put into the distances of one catalog, which may hold items they never met.

    What a signal does not know is skipped where it stands in a history, and weighs as much as what
    is most like it, or nothing.

    Args:
        injected: The signals and their rule.
        catalog: What is ranked.
        likes: Gives titles that the signals never met the scores of those most like them.
    """

    def __init__(self, injected: Injected, catalog: Catalog, *, likes: Likes | None = None) -> None:
        self.injected = injected
        self._likes = likes
        self._catalog = catalog
        places = {item: number for number, item in enumerate(injected.item_ids)}
        # The signals' number of every item of the catalog, -1 for those they do not know.
        self._known = np.array([places.get(item, -1) for item in catalog.item_ids], dtype=np.int64)

    def fuse(self, distances: FloatArray, histories: Sequence[IntArray]) -> FloatArray:
        """Put the signals in.

        Args:
            distances: Of the rule's beam mode, ``[q, g]``, lower is better.
            histories: Item numbers of this catalog, oldest first.

        Returns:
            ``[q, g]``, lower is better.
        """
        # History rows skip -1, so an unknown item is as if it were not there.
        known = [self._known[history] for history in histories]
        weights = [self._weights(signal, known) for signal in self.injected.signals.values()]
        return self.injected.rule.apply(distances, weights)

    def _weights(self, signal: Signal, histories: Sequence[IntArray]) -> FloatArray:
        scores = signal.scores(histories)
        lowest = scores.min(axis=1, keepdims=True)
        here = np.where(self._known >= 0, scores[:, self._known], lowest)
        catalog = self._catalog
        grouped = group_scores(here, catalog.group, n_groups=catalog.n_groups)
        return minmax(filled(signal, grouped, self._likes))


def choose_injected(
    valid: Evidence,
    signals: Mapping[str, Signal],
    *,
    how: Literal["best", "published"],
    exclude_seen: bool,
    full_history: bool,
    item_ids: Sequence[str],
    metric: Metric,
) -> Injected:
    """Put all signals of the evidence in, by the rule that does best on validation queries.

    Args:
        valid: Evidence of the validation examples.
        signals: Those of the evidence.
        how: ``best`` of all rules, or the ``published`` product with the best gammas.
        exclude_seen: Whether seen items are left out of the ranking.
        full_history: Which histories the signals were given.
        item_ids: The items that the signals know, by their item numbers.
        metric: From ranks to a figure, higher is better.
    """
    queries = valid.fusable(list(signals), exclude_seen=exclude_seen)
    gammas = gammas_of(next(iter(signals.values())))
    if how == "published":
        rule = published_rule(queries, metric=metric, gammas=gammas)
    else:
        rule = best_rule(queries, metric=metric, gammas=gammas)[0]
    return Injected(signals, rule, full_history, item_ids)


def gammas_of(signal: Scorer) -> FloatArray:
    """The published grid for a signal."""
    return POPULARITY_GAMMAS if isinstance(signal, Popularity) else COLLABORATIVE_GAMMAS
