"""Signals fused into the distances: fitted, selected on validation, applied, saved and loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.errors import SettingsError
from bigrec.evaluation.metrics import selection_metric
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.tuning import optimize_rule
from bigrec.models.base import EmbedTitles, ScoringModel
from bigrec.models.registry import COOCCURRENCE, EASE, GRU4REC, load_scoring_model
from bigrec.recommender.scoring import CatalogFusion, ScoredQueries, TitleScorer
from bigrec.settings.sections import FusionSettings
from bigrec.storage import atomic_folder, check_format, read_json, write_json
from bigrec.types import BoolArray, FloatArray, IntArray

_RULES = "fusion.json"
_ITEMS = "items.parquet"
_FORMAT = 3
# Items up to which EASE's square matrix, 100 MB then, is worth its place in a bundle.
_MAX_ITEMS_FOR_EASE = 5_000
_PROTOCOLS = {"seen_included": False, "seen_excluded": True}


def signal_names(settings: FusionSettings, *, n_items: int) -> tuple[str, ...]:
    """Names of the signals to fuse.

    Args:
        settings: Name them, or leave them to the catalog's size.
        n_items: Items of the catalog.
    """
    if settings.signals != "auto":
        return settings.signals
    return (COOCCURRENCE, *((EASE,) if n_items <= _MAX_ITEMS_FOR_EASE else ()), GRU4REC)


@dataclass(frozen=True, eq=False)
class SignalFusion:
    """Signals with the rules that fuse them into distances.

    Attributes:
        signals: By name, in the order of the rules' gammas.
        rules: By protocol: whether seen items are excluded.
        item_ids: The items that each signal knows, by their item numbers.
    """

    signals: Mapping[str, ScoringModel] = field(repr=False)
    rules: Mapping[bool, FusionRule]
    item_ids: Mapping[str, Sequence[str]] = field(repr=False)

    def for_catalog(
        self, catalog: Catalog, *, imputer: ColdItemImputer | None = None
    ) -> CatalogFusion:
        """The fusion for a catalog, which may hold items that the signals do not know."""
        scorers = [
            TitleScorer(signal, catalog, item_ids=self.item_ids[name], imputer=imputer)
            for name, signal in self.signals.items()
        ]
        return CatalogFusion(self.rules, scorers)

    def with_catalog(self, old: Catalog, new: Catalog, *, embed: EmbedTitles) -> Self:
        """The fusion of a changed catalog: signals of titles score its new items, too.

        Args:
            old: The present catalog.
            new: The new one.
            embed: Embeds titles for text kNN and Gaussian, each title once for all.
        """
        embed = _embed_once(embed)
        signals, item_ids = dict(self.signals), dict(self.item_ids)
        for name, signal in self.signals.items():
            grown = signal.with_titles(new.titles, old_titles=old.titles, embed=embed)
            if grown is not None:
                signals[name], item_ids[name] = grown, new.item_ids
        return replace(self, signals=signals, item_ids=item_ids)

    def save(self, folder: Path) -> None:
        """Write signals and rules to a folder, whole or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            for number, (name, signal) in enumerate(self.signals.items()):
                signal.save(temporary / str(number))
                items = pl.DataFrame({"item_id": self.item_ids[name]})
                items.write_parquet(temporary / str(number) / _ITEMS)
            write_json(
                temporary / _RULES,
                {
                    "format": _FORMAT,
                    "signals": list(self.signals),
                    "rules": {name: self.rules[key].to_json() for name, key in _PROTOCOLS.items()},
                },
            )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: If a file is missing, damaged or of another version.
        """
        content = read_json(folder / _RULES)
        check_format(content, _FORMAT, what=str(folder / _RULES), cure="Make the bundle again.")
        folders = {name: folder / str(n) for n, name in enumerate(content["signals"])}
        return cls(
            {name: load_scoring_model(place) for name, place in folders.items()},
            {key: FusionRule.from_json(content["rules"][name]) for name, key in _PROTOCOLS.items()},
            {
                name: pl.read_parquet(place / _ITEMS)["item_id"].to_list()
                for name, place in folders.items()
            },
        )


def _embed_once(embed: EmbedTitles) -> EmbedTitles:
    """``embed``, called with each title once."""
    vectors: dict[str, FloatArray] = {}

    def embed_once(titles: Sequence[str]) -> FloatArray:
        new = [title for title in dict.fromkeys(titles) if title not in vectors]
        if new:
            vectors.update(zip(new, embed(new), strict=True))
        return np.stack([vectors[title] for title in titles])

    return embed_once


def select_rule(
    valid: ScoredQueries,
    signals: Sequence[str],
    settings: FusionSettings,
    *,
    exclude_seen: bool,
) -> FusionRule:
    """Select the rule of the settings' method that does best on validation queries.

    Args:
        valid: Validation queries, with the signals.
        signals: Names of the signals to fuse.
        settings: Method and fixed gammas.
        exclude_seen: The protocol.

    Raises:
        SettingsError: If a gamma is fixed for a signal that is not fused.
    """
    unknown = sorted(set(settings.gammas) - set(signals))
    if unknown:
        raise SettingsError(
            f"fusion.gammas names {unknown[0]!r}, which is not fused: expected some of "
            f"{', '.join(signals)}."
        )
    return optimize_rule(
        valid.fusion_input(signals, exclude_seen=exclude_seen),
        metric=selection_metric,
        family=settings.method,
        gammas=valid.signals[signals[0]].scorer.gamma_grid,
        fixed={
            place: settings.gammas[name]
            for place, name in enumerate(signals)
            if name in settings.gammas
        },
    )


def known_titles(catalog: Catalog, counts: IntArray) -> BoolArray:
    """Titles with training interactions, ``[t]``."""
    occurrences = np.bincount(catalog.title_ids, weights=counts, minlength=catalog.n_titles)
    return np.asarray(occurrences > 0)
