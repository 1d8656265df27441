"""Signals fused into the distances: fitted, selected on validation, applied, saved and loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigrec.data.catalog import Catalog
from bigrec.data.stored_tables import damaged_table, read_table
from bigrec.errors import BundleError, SettingsError
from bigrec.evaluation.metrics import selection_metric
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.fusion.cold_selection import mix_cold_titles
from bigrec.grounding.fusion.rule import FusionRule
from bigrec.grounding.fusion.tuning import optimize_rule
from bigrec.models.base import EmbedTitles, ScoringModel
from bigrec.models.precomputed import PrecomputedScores
from bigrec.models.registry import (
    COOCCURRENCE,
    EASE,
    GAUSSIAN,
    GRU4REC,
    NAMES,
    TEXT_KNN,
    check_names,
    load_scoring_model,
)
from bigrec.models.text.vectors import remembering
from bigrec.recommender.scoring import CatalogFusion, ScoredQueries, TitleScorer
from bigrec.recommender.windows import WindowQueries
from bigrec.settings import Settings
from bigrec.settings.sections import MAX_GAMMA, FusionSettings
from bigrec.storage import (
    atomic_folder,
    check_format,
    first_problems,
    read_json,
    write_json,
)
from bigrec.storage.arrays import unusable
from bigrec.types import BoolArray, FloatArray

_RULES = "fusion.json"
_ITEMS = "items.parquet"
_FORMAT = 4
_MAX_RULES_BYTES = 1 << 20
# Items up to which EASE's square matrix, 100 MB then, is worth its place in a bundle.
_MAX_ITEMS_FOR_EASE = 5_000
_PROTOCOLS = {"seen_included": False, "seen_excluded": True}


def signal_names(settings: Settings, *, n_items: int) -> tuple[str, ...]:
    """Names of the signals to fuse.

    Args:
        settings: Name them, or leave them to the mode and the catalog's size.
        n_items: Items of the catalog.
    """
    if settings.fusion.signals != "auto":
        return settings.fusion.signals
    counts = (COOCCURRENCE, *((EASE,) if n_items <= _MAX_ITEMS_FOR_EASE else ()))
    return (*counts, TEXT_KNN) if settings.mode == "text" else (*counts, GAUSSIAN, GRU4REC)


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
        self,
        catalog: Catalog,
        *,
        cold: BoolArray | None = None,
        imputer: ColdItemImputer | None = None,
    ) -> CatalogFusion:
        """The fusion for a catalog, which may hold items that the signals do not know.

        Args:
            catalog: The titles to score.
            cold: Whether a title has no training interactions, ``[t]``; None treats none so.
            imputer: Imputes the weights of cold titles.
        """
        scorers = [
            TitleScorer(signal, catalog, item_ids=self.item_ids[name], imputer=imputer)
            for name, signal in self.signals.items()
        ]
        return CatalogFusion(scorers, cold)

    def gammas(self, *, exclude_seen: bool) -> dict[str, float]:
        """Gamma of each signal by its name; reciprocal ranks count each as 1.

        Args:
            exclude_seen: The protocol whose rule is meant.
        """
        gammas = self.rules[exclude_seen].gammas_of(len(self.signals))
        return dict(zip(self.signals, gammas, strict=True))

    def rule(self, *, exclude_seen: bool, gammas: Mapping[str, float] | None = None) -> FusionRule:
        """The rule of a protocol, as it was selected or with other gammas.

        Args:
            exclude_seen: The protocol.
            gammas: Other gammas of some signals, by their names.

        Raises:
            TypeError: If the gammas are no mapping.
            ValueError: If a signal is not fused or a gamma is out of range.
        """
        rule = self.rules[exclude_seen]
        if gammas is None:
            return rule
        if not isinstance(gammas, Mapping):
            raise TypeError(f"gammas is {gammas!r}; expected gammas by the names of signals.")
        for name, gamma in gammas.items():
            if name not in self.signals:
                raise ValueError(
                    f"gammas names {name!r}, which is not fused: expected some of "
                    f"{', '.join(self.signals)}."
                )
            is_number = isinstance(gamma, int | float) and not isinstance(gamma, bool)
            if not is_number or not 0 <= gamma <= MAX_GAMMA:
                raise ValueError(
                    f"the gamma of {name} is {gamma!r}; expected a number from 0 to {MAX_GAMMA:g}."
                )
        merged = {**self.gammas(exclude_seen=exclude_seen), **gammas}
        return replace(rule, gammas=tuple(float(gamma) for gamma in merged.values()))

    def with_catalog(
        self,
        old: Catalog,
        new: Catalog,
        *,
        embed: EmbedTitles,
        vectors: dict[str, FloatArray] | None = None,
    ) -> Self:
        """The fusion of a changed catalog: signals of titles score its new items, too.

        Args:
            old: The present catalog.
            new: The new one.
            embed: Embeds titles for text kNN and Gaussian; called with each title once.
            vectors: Known vectors of titles, to which those of new ones are added.
        """
        embed = remembering(embed, {} if vectors is None else vectors)
        signals, item_ids = dict(self.signals), dict(self.item_ids)
        for name, signal in self.signals.items():
            grown = signal.with_titles(
                new.titles, old_titles=old.titles, embed=embed, texts=new.item_texts
            )
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
        path = folder / _RULES
        stored = _read_rules(path)
        folders = {name: folder / str(n) for n, name in enumerate(stored.signals)}
        signals = {name: load_scoring_model(place) for name, place in folders.items()}
        for name, signal in signals.items():
            if signal.kind == PrecomputedScores.kind:
                raise unusable(folders[name], "its scores are of fixed queries, not of histories")
        try:
            rules = {
                key: FusionRule.from_json(getattr(stored.rules, name))
                for name, key in _PROTOCOLS.items()
            }
            for rule in rules.values():
                rule.check_signals(len(signals))
        except (BundleError, ValueError) as error:
            raise unusable(path, str(error)) from None
        item_ids = {name: _read_items(folders[name], signal) for name, signal in signals.items()}
        return cls(signals, rules, item_ids)


class _StoredRules(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    seen_included: dict[str, Any]
    seen_excluded: dict[str, Any]


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    format: int
    signals: Annotated[list[str], Field(min_length=1, max_length=len(NAMES))]
    rules: _StoredRules


def _read_rules(path: Path) -> _Stored:
    content = read_json(path, max_bytes=_MAX_RULES_BYTES)
    check_format(content, _FORMAT, what=str(path), cure="Make the bundle again.")
    try:
        stored = _Stored.model_validate(content)
        check_names(stored.signals)
    except ValidationError as error:
        raise unusable(path, first_problems(error)) from None
    except SettingsError as error:
        raise unusable(path, str(error)) from None
    if len(set(stored.signals)) < len(stored.signals):
        raise unusable(path, "a signal occurs twice")
    return stored


def _read_items(folder: Path, signal: ScoringModel) -> list[str]:
    """Ids of the items that a signal knows.

    Raises:
        BundleError: If the file cannot be read, or they are not the signal's.
    """
    path = folder / _ITEMS
    what = "the items of a signal"
    items = read_table(path, {"item_id": pl.String}, what=what)["item_id"]
    if len(items) != signal.n_items or items.is_duplicated().any():
        reason = f"it names {items.n_unique()} items, and the model scores {signal.n_items}"
        raise damaged_table(path, reason, what=what)
    return items.to_list()


def select_rule(
    valid: ScoredQueries,
    signals: Sequence[str],
    settings: FusionSettings,
    *,
    exclude_seen: bool,
    simplify: bool = False,
) -> FusionRule:
    """Select the rule of the settings' method that does best on validation queries.

    Args:
        valid: Validation queries, with the signals.
        signals: Names of the signals to fuse.
        settings: Method and fixed gammas.
        exclude_seen: The protocol.
        simplify: Prefer fewer signals within one standard error of the best.

    Raises:
        SettingsError: If a gamma is fixed for a signal that is not fused.
    """
    unknown = sorted(set(settings.gammas) - set(signals))
    if unknown:
        raise SettingsError(
            f"fusion.gammas names {unknown[0]!r}, which is not fused: expected some of "
            f"{', '.join(signals)}."
        )
    queries = valid.fusion_input(signals, exclude_seen=exclude_seen)
    last = WindowQueries([valid.queries])
    rule = optimize_rule(
        queries,
        metric=selection_metric,
        family=settings.method,
        gammas=valid.signals[signals[0]].scorer.gamma_grid,
        fixed={
            place: settings.gammas[name]
            for place, name in enumerate(signals)
            if name in settings.gammas
        },
        tolerates=last.tolerates if simplify else None,
    )
    if not settings.mixes_cold_items:
        return rule
    return mix_cold_titles(rule, queries, metric=selection_metric, tolerates=last.tolerates)
