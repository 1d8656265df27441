"""A recommender that is served: the one place where its interface is used."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.errors import BigrecError, BundleError
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.bundle import MANIFEST
from bigrec.recommender.explaining import Explanation
from bigrec.recommender.recommendations import Recommendations
from bigrec.serving.entries import Entry, InteractionsAdded, ItemChanges
from bigrec.storage import file_digest

Open = Callable[[Path], BIGRec]
"""Opens a bundle with what the operator allows it to use."""

_VERSION_DIGITS = 16


@dataclass(frozen=True)
class Query:
    """What is asked of a recommender.

    Attributes:
        history: Item ids or titles, oldest first.
        k: Length of the list.
        exclude: Ids or titles that are never listed.
        items: Ids or titles of the only items to list; None for all.
        where: Conditions on columns of the items to list; None for all.
        exclude_seen: Exclude the history; None for the bundle's setting.
        gammas: Other gammas of fused signals.
        bundle: Name of the bundle to ask; None for the first.
    """

    history: tuple[str, ...]
    k: int = 10
    exclude: tuple[str, ...] = ()
    items: tuple[str, ...] | None = None
    where: Mapping[str, Any] | None = None
    exclude_seen: bool | None = None
    gammas: Mapping[str, float] | None = None
    bundle: str | None = None

    @property
    def shared(self) -> str:
        """Identifies what queries of one call have in common."""
        return repr((self.exclude, self.items, self.where, self.exclude_seen, self.gammas))


@dataclass(frozen=True)
class SimilarQuery:
    """What is asked for items like an item; see `Query`.

    Attributes:
        item: Id or title.
    """

    item: str
    k: int = 10
    exclude: tuple[str, ...] = ()
    items: tuple[str, ...] | None = None
    where: Mapping[str, Any] | None = None
    bundle: str | None = None


@dataclass(frozen=True)
class ExplainQuery:
    """What is asked for an item's place in the ranking for a history; see `Query`.

    Attributes:
        item: Id or title.
    """

    history: tuple[str, ...]
    item: str
    exclude_seen: bool | None = None
    gammas: Mapping[str, float] | None = None
    bundle: str | None = None


AnyQuery = Query | SimilarQuery | ExplainQuery
AnyAnswer = Recommendations | Explanation


@dataclass(frozen=True, eq=False)
class ServedBundle:
    """A bundle with the changes of a service's items and interactions. It never changes itself.

    Attributes:
        folder: The bundle.
        version: Identifies its content, 16 hexadecimal digits.
        recommender: With the changes.
        bundled: The catalog as it was loaded.
        changes: The changes of items.
    """

    folder: Path
    version: str
    recommender: BIGRec = field(repr=False)
    bundled: Catalog = field(repr=False)
    changes: ItemChanges = field(repr=False)

    @classmethod
    def open(cls, folder: Path, opens: Open) -> Self:
        """Load a bundle and have it recommend once.

        Raises:
            BigrecError: If it cannot be loaded or does not recommend.
        """
        # Before and after: a bundle that was replaced in between has another version.
        version = bundle_version(folder)
        recommender = opens(folder)
        if bundle_version(folder) != version:
            raise BundleError(f"{folder} was replaced while it was loaded: load it again.")
        served = cls(folder, version, recommender, recommender.catalog, ItemChanges())
        served.check()
        return served

    @property
    def catalog(self) -> Catalog:
        """The items, hidden ones included."""
        return self.recommender.catalog

    @property
    def learns_at_once(self) -> bool:
        """Whether interactions change what is recommended without another fit."""
        settings = self.recommender.settings
        return settings.mode == "text" or settings.decodes_states

    @property
    def learning(self) -> tuple[list[str], list[str]]:
        """What knows of added interactions at once, and what when it is fitted again."""
        mode = f"{self.recommender.settings.mode} mode"
        at_once = ["histories of users", *([mode] if self.learns_at_once else [])]
        later = [*([] if self.learns_at_once else [mode]), *self.recommender.signals]
        return at_once, [*later, "popularity of unknown histories"]

    @cached_property
    def item_numbers(self) -> dict[str, int]:
        """Number of every item by its id."""
        return {item: number for number, item in enumerate(self.catalog.item_ids)}

    def check(self) -> None:
        """Ask once, so that a bundle that cannot answer is refused before it is asked.

        What is computed at the first question is there afterwards.

        Raises:
            BundleError: If it does not recommend.
        """
        item = self.catalog.item_ids[0]
        for answer in self.answer([Query((item,), k=1, exclude_seen=False), SimilarQuery(item, 1)]):
            if isinstance(answer, Exception):
                raise BundleError(f"{self.folder} does not recommend: {answer}") from answer

    def after(self, entries: Iterable[Entry]) -> "ServedBundle":
        """The bundle after further entries.

        Raises:
            BigrecError: If a title cannot be embedded or no item remains.
        """
        served, changes = self, self.changes
        rows: list[tuple[str, str, int]] = []
        for entry in entries:
            if isinstance(entry, InteractionsAdded):
                # Interactions are of the items at their time.
                if not changes.has_catalog_of(served.changes):
                    served, rows = served._updated(rows)._with_changes(changes), []
                rows += entry.rows
            else:
                changes = changes.after([entry])
        return served._updated(rows)._with_changes(changes)

    def answer(self, queries: Sequence[AnyQuery]) -> list[AnyAnswer | Exception]:
        """Answer queries, lists that share all but history and length in one call.

        Returns:
            For each query its answer, or the error that it alone is told.
        """
        answers: dict[int, AnyAnswer | Exception] = {}
        groups: dict[str, list[tuple[int, Query]]] = {}
        for number, query in enumerate(queries):
            if isinstance(query, Query):
                groups.setdefault(query.shared, []).append((number, query))
                continue
            try:
                answers[number] = self._answer_one(query)
            except (BigrecError, ValueError, TypeError) as error:
                answers[number] = error
        for group in groups.values():
            lists = self._recommend([query for _, query in group])
            answers.update(zip((number for number, _ in group), lists, strict=True))
        return [answers[number] for number in range(len(queries))]

    def _answer_one(self, query: SimilarQuery | ExplainQuery) -> AnyAnswer:
        """Answer a query that no others are answered with.

        Raises:
            Exception: As the recommender does.
        """
        if isinstance(query, SimilarQuery):
            return self.recommender.similar(
                query.item,
                k=query.k,
                exclude=self._known([*self.changes.hidden, *query.exclude]),
                items=None if query.items is None else self._known(query.items),
                where=query.where,
            )
        explanation = self.recommender.explain(
            query.history,
            query.item,
            exclude_seen=query.exclude_seen,
            gammas=query.gammas,
            unknown="skip",
        )
        hidden = self.changes.hidden
        shown = tuple(item for item in explanation.nearest if item.item_id not in hidden)
        return replace(explanation, nearest=shown)

    def _known(self, items: Iterable[str]) -> list[str]:
        ids = self.catalog.item_ids
        return [ids[number] for number in self.catalog.find(items)[0]]

    def _recommend(self, queries: Sequence[Query]) -> list[Recommendations | Exception]:
        """Answer queries that share all but history and length."""
        first = queries[0]
        try:
            lists = self.recommender.recommend_batch(
                [query.history for query in queries],
                k=max(query.k for query in queries),
                exclude=[*self.changes.hidden, *first.exclude],
                items=first.items,
                where=first.where,
                exclude_seen=first.exclude_seen,
                gammas=first.gammas,
                unknown="skip",
            )
        except (BigrecError, ValueError, TypeError) as error:
            if len(queries) == 1:
                return [error]
            return [answer for query in queries for answer in self._recommend([query])]
        return [found[: query.k] for query, found in zip(queries, lists, strict=True)]

    def _with_changes(self, changes: ItemChanges) -> "ServedBundle":
        if changes == self.changes:
            return self
        recommender = self.recommender
        if not changes.has_catalog_of(self.changes):
            # Another object, because readers may still use the present one.
            recommender = BIGRec.of(recommender.fitted)
            recommender.update_catalog(changes.catalog(self.bundled))
        return replace(self, recommender=recommender, changes=changes)

    def _updated(self, rows: Sequence[tuple[str, str, int]]) -> "ServedBundle":
        known = [(user, item) for user, item, _ in rows if item in self.item_numbers]
        if not known or not self.learns_at_once:
            return self
        schema = {"user_id": pl.String, "item_id": pl.String}
        frame = pl.DataFrame(known, schema=schema, orient="row")
        recommender = BIGRec.of(self.recommender.fitted).update(frame, time=None, order="row")
        return replace(self, recommender=recommender)


def bundle_version(folder: Path) -> str:
    """Identifies a bundle's content, 16 hexadecimal digits; empty where there is none to read."""
    try:
        return file_digest(folder / MANIFEST)[:_VERSION_DIGITS]
    except OSError:
        return ""
