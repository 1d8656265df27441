"""Record of the checks and repairs made while data is read."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Self

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Repair:
    """One check.

    Attributes:
        name: Name of the check.
        count: Number of rows affected; 0 if there are none.
        total: Number of rows checked.
        examples: At most five affected rows.
        done: The action taken, in one sentence.
    """

    name: str
    count: int
    total: int
    examples: tuple[str, ...]
    done: str

    @property
    def share(self) -> float:
        """``count / total`` in [0, 1]; 0 if no rows were checked."""
        return self.count / self.total if self.total else 0.0


@dataclass(slots=True)
class Repairs:
    """The checks of one dataset in their order."""

    _rows: dict[str, Repair] = field(default_factory=dict)

    def add(
        self, name: str, count: int, *, total: int, done: str, examples: Iterable[str] = ()
    ) -> None:
        """Record a check. It replaces an earlier one of the same name.

        Args:
            name: Name of the check.
            count: Number of rows affected.
            total: Number of rows checked.
            done: The action taken, in one sentence.
            examples: Affected rows, of which the first five are kept.
        """
        shown = tuple(islice(examples, _SHOWN))
        self._rows[name] = Repair(name, int(count), int(total), shown, done)

    def as_rows(self) -> list[Repair]:
        """All checks, those without affected rows included."""
        return list(self._rows.values())

    def to_json(self) -> list[dict[str, Any]]:
        """The checks as JSON-like values."""
        return [{**asdict(row), "examples": list(row.examples)} for row in self.as_rows()]

    @classmethod
    def from_json(cls, values: Iterable[Mapping[str, Any]]) -> Self:
        """Inverse of `to_json`."""
        repairs = cls()
        for value in values:
            row = Repair(**{**value, "examples": tuple(value["examples"])})
            repairs._rows[row.name] = row
        return repairs
