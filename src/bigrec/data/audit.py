"""Audit of a dataset: its sizes, the repairs made, and possible problems in training."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog, value_text
from bigrec.data.dataset import Dataset
from bigrec.data.interactions import Interactions
from bigrec.data.times import are_dates, days_between

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One check.

    Attributes:
        check: Name of the check.
        count: Number of cases.
        share: Share of the rows checked, in [0, 1]; None for a size.
        examples: At most five cases.
        note: The action taken, or the effect on training; empty without cases.
    """

    check: str
    count: int
    share: float | None
    examples: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Audit:
    """All checks: sizes, then repairs, then cases that were kept."""

    rows: list[AuditRow]

    def to_json(self) -> dict[str, Any]:
        """The rows as JSON-like values."""
        return {"rows": [{**asdict(row), "examples": list(row.examples)} for row in self.rows]}


def audit(
    dataset: Dataset,
    *,
    special_tokens: Sequence[str] = (),
    max_title_length: int = 150,
    min_interactions: int,
) -> Audit:
    """Check a dataset.

    Args:
        dataset: Dataset to check.
        special_tokens: Control tokens of the language model, which no title should contain.
        max_title_length: Longest title in characters that does not count as long.
        min_interactions: Fewest interactions of a user with examples: ``min_history + 1``.

    Raises:
        ValueError: If a limit is below 1.
    """
    limits = {"max_title_length": max_title_length, "min_interactions": min_interactions}
    for name, value in limits.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: expected at least 1.")
    interactions, catalog = dataset.interactions, dataset.catalog
    repaired = [
        AuditRow(row.name, row.count, row.share, row.examples, row.done if row.count else "")
        for row in dataset.repairs.as_rows()
    ]
    return Audit(
        [
            *_sizes(interactions, catalog),
            *repaired,
            *_title_rows(catalog, special_tokens, max_title_length),
            *_text_rows(catalog),
            _unused_items(interactions, catalog),
            _short_users(interactions, min_interactions),
        ]
    )


def _sizes(interactions: Interactions, catalog: Catalog) -> list[AuditRow]:
    users, items, rows = len(interactions.user_ids), catalog.n_items, len(interactions)
    density = rows / (users * items)
    sizes = [
        AuditRow("users", users, None, (), ""),
        AuditRow("items", items, None, (), ""),
        AuditRow(
            "interactions", rows, density, (), "The share is of all pairs of a user and an item."
        ),
    ]
    if interactions.times is not None:
        first, last = int(interactions.times.min()), int(interactions.times.max())
        start, end, days = days_between(first, last)
        note = (
            "Between the first interaction and the last."
            if are_dates(pl.Series(interactions.times))
            else "Most are no Unix times from 1990 to 2100: their order counts, not these dates."
        )
        sizes.append(AuditRow("days", days, None, (f"{start} to {end}",), note))
    return sizes


def _title_rows(
    catalog: Catalog, special_tokens: Sequence[str], max_title_length: int
) -> list[AuditRow]:
    shared = np.flatnonzero(np.bincount(catalog.title_ids)[catalog.title_ids] > 1)
    shared_titles = dict.fromkeys(catalog.titles[item] for item in shared)
    long = [title for title in catalog.titles if len(title) > max_title_length]
    rows = [
        _row(
            "items that share their title",
            len(shared),
            of=catalog.n_items,
            examples=shared_titles,
            note="Kept; they are ranked as one title.",
        ),
        _row(
            f"titles over {max_title_length} characters",
            len(long),
            of=catalog.n_items,
            examples=(f"{title[:60]}..." for title in long),
            note="Kept; the prompt truncates a title to a quarter of its tokens.",
        ),
    ]
    if special_tokens:
        pattern = re.compile("|".join(map(re.escape, special_tokens)))
        matching = [title for title in catalog.titles if pattern.search(title)]
        rows.append(
            _row(
                "titles with a control token",
                len(matching),
                of=catalog.n_items,
                examples=matching,
                note="Kept; the prompt encodes the token as plain text.",
            )
        )
    return rows


def _text_rows(catalog: Catalog) -> list[AuditRow]:
    rows = []
    for name in catalog.text_columns:
        values = catalog.columns[name].gather(catalog.first_items)
        missing = [
            title
            for title, value in zip(catalog.unique_titles, values, strict=True)
            if not value_text(value)
        ]
        rows.append(
            _row(
                f"titles without {name}",
                len(missing),
                of=catalog.n_titles,
                examples=missing,
                note="Kept; their texts are without it.",
            )
        )
    return rows


def _unused_items(interactions: Interactions, catalog: Catalog) -> AuditRow:
    unused = np.flatnonzero(np.bincount(interactions.items, minlength=catalog.n_items) == 0)
    return _row(
        "items without interactions",
        len(unused),
        of=catalog.n_items,
        examples=(catalog.titles[item] for item in unused),
        note="Kept; they can be recommended by their title.",
    )


def _short_users(interactions: Interactions, min_interactions: int) -> AuditRow:
    short = np.flatnonzero(np.diff(interactions.user_start) < min_interactions)
    return _row(
        f"users with fewer than {min_interactions} interactions",
        len(short),
        of=len(interactions.user_ids),
        examples=(interactions.user_ids[user] for user in short),
        note="Kept without examples; their interactions are counted.",
    )


def _row(check: str, count: int, *, of: int, examples: Iterable[str], note: str) -> AuditRow:
    shown = tuple(islice(examples, _SHOWN))
    return AuditRow(check, count, count / of, shown, note if count else "")
