"""What was wrong with the data, how often, and what was done about it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Self

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Repair:
    """One check that was made while data was read.

    Attributes:
        name: What was looked for.
        count: How many rows had it; 0 means the check found nothing.
        total: Rows looked at.
        examples: At most five of them.
        done: One sentence: what happened to them.
    """

    name: str
    count: int
    total: int
    examples: tuple[str, ...]
    done: str

    @property
    def share(self) -> float:
        """``count / total`` in [0, 1]; 0 where nothing was looked at."""
        return self.count / self.total if self.total else 0.0


@dataclass(slots=True)
class Repairs:
    """Collects the checks of one dataset in the order they are made."""

    _rows: dict[str, Repair] = field(default_factory=dict)

    def add(
        self, name: str, count: int, *, total: int, done: str, examples: Iterable[str] = ()
    ) -> None:
        """Record a check. A later one of the same name replaces the earlier.

        Args:
            name: What was looked for.
            count: How many rows had it.
            total: Rows looked at.
            done: One sentence: what happened to them.
            examples: Some of them; the first five are kept.
        """
        shown = tuple(islice(examples, _SHOWN))
        self._rows[name] = Repair(name, int(count), int(total), shown, done)

    def as_rows(self) -> list[Repair]:
        """Every check made, those that found nothing included."""
        return list(self._rows.values())

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as JSON-like values."""
        return [{**asdict(row), "examples": list(row.examples)} for row in self.as_rows()]

    @classmethod
    def from_json(cls, values: Iterable[Mapping[str, Any]]) -> Self:
        """The inverse of `to_json`."""
        repairs = cls()
        for value in values:
            row = Repair(**{**value, "examples": tuple(value["examples"])})
            repairs._rows[row.name] = row
        return repairs
