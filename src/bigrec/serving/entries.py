"""What a service remembers: entries of its journal, and the items after them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bigrec.data.catalog import Catalog
from bigrec.errors import DataError


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# Strict, so that true stays true and 1 stays 1.
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Text = Annotated[str, Field(strict=True)]
Value = Flag | Whole | Number | _Text | Annotated[list[_Text], Field(strict=True)]
"""A value of a catalog's column, of any length, as a bundle may hold it."""

_TYPES: Mapping[type, pl.DataType] = {
    bool: pl.Boolean(),
    int: pl.Int64(),
    float: pl.Float64(),
    str: pl.String(),
    list: pl.List(pl.String()),
}


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: str = Field(default_factory=_now)


class ItemPut(_Entry):
    """An item was added, or has another title or other values of columns.

    Attributes:
        item_id: Id of the item.
        title: Its title.
        columns: All its values of further columns; the others are missing.
    """

    op: Literal["put"] = "put"
    item_id: str
    title: str
    columns: dict[str, Value] = {}


class ItemMarked(_Entry):
    """An item was hidden, shown or removed."""

    op: Literal["hide", "show", "remove"]
    item_id: str


class RequestMark(BaseModel):
    """What tells a request that is sent again from another one.

    Attributes:
        key: Fingerprint of its caller and of the key that the caller gave it.
        body: Fingerprint of its body.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    body: str


class InteractionsAdded(_Entry):
    """Users took items.

    Attributes:
        rows: User id, item id and Unix time of each, in their order.
        request: Of the request that told them, if its caller may send it again.
    """

    op: Literal["interactions"] = "interactions"
    rows: list[tuple[str, str, int]]
    request: RequestMark | None = None


class AnsweredRequest(RequestMark):
    """A request that was answered.

    Attributes:
        at: When it was.
        revision: The service's, after it.
    """

    at: str
    revision: int


class RequestsAnswered(_Entry):
    """Requests of entries that a compaction merged."""

    op: Literal["requests"] = "requests"
    requests: list[AnsweredRequest]


class BundleSwapped(_Entry):
    """A bundle took another's place.

    Attributes:
        name: Which of the service's bundles.
        folder: Absolute path of the new one.
        includes_interactions: Whether the new bundle was fitted to all earlier interactions.
    """

    op: Literal["swap"] = "swap"
    name: str
    folder: str
    includes_interactions: bool


Entry = ItemPut | ItemMarked | InteractionsAdded | BundleSwapped | RequestsAnswered
ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="op")])


@dataclass(frozen=True)
class ItemChanges:
    """Differences of a service's items to those of a bundle.

    Attributes:
        put: Items that were added or changed, by id.
        removed: Ids of items that left.
        hidden: Ids of items that stay known in histories and are never recommended.
    """

    put: Mapping[str, ItemPut] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()

    def after(self, entries: Iterable[Entry]) -> "ItemChanges":
        """The changes with those of further entries."""
        put, removed, hidden = dict(self.put), set(self.removed), set(self.hidden)
        for entry in entries:
            if isinstance(entry, ItemPut):
                put[entry.item_id] = entry
                removed.discard(entry.item_id)
            elif isinstance(entry, ItemMarked):
                item = entry.item_id
                if entry.op == "hide":
                    hidden.add(item)
                else:
                    hidden.discard(item)
                if entry.op == "remove":
                    put.pop(item, None)
                    removed.add(item)
        return ItemChanges(put, frozenset(removed), frozenset(hidden))

    def has_catalog_of(self, other: "ItemChanges") -> bool:
        """Whether both give the same catalog: hidden items are in it."""
        return self.put == other.put and self.removed == other.removed

    def catalog(self, bundled: Catalog) -> Catalog:
        """A bundle's catalog with the changes: changed items in their places, new ones last.

        Raises:
            DataError: If a value does not fit its column, or no item remains.
        """
        if not self.put and not self.removed:
            return bundled
        frame = bundled.to_frame()
        place_of = {item: place for place, item in enumerate(bundled.item_ids)}
        places = [
            place_of.get(item, len(place_of) + number) for number, item in enumerate(self.put)
        ]
        rows = put_frame(list(self.put.values()), frame.schema)
        stays = ~frame["item_id"].is_in([*self.removed, *self.put])
        order = np.argsort([*stays.arg_true(), *places])
        return catalog_of(pl.concat([frame.filter(stays), rows], how="diagonal")[order])


def put_frame(items: Sequence[ItemPut], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Items as rows.

    Args:
        items: The items.
        schema: Types of known further columns; a new one has the type of its first value.

    Raises:
        DataError: If a value is of another type than its column.
    """
    types = {"item_id": pl.String(), "title": pl.String(), **schema}
    for item in items:
        for name, value in item.columns.items():
            known = types.setdefault(name, _TYPES[type(value)])
            fits = known == _TYPES[type(value)] or (known.is_float() and type(value) is int)
            if not (fits or known == pl.Null):
                raise DataError(
                    f"column {name!r} of item {item.item_id!r} is {value!r:.100}: expected a value "
                    f"of type {known}, as the column holds."
                )
            types[name] = _TYPES[type(value)] if known == pl.Null else known
    rows = [{"item_id": item.item_id, "title": item.title, **item.columns} for item in items]
    return pl.DataFrame(rows, schema=types)


def catalog_of(frame: pl.DataFrame, *, decode_html: bool = False) -> Catalog:
    """A catalog of rows with columns ``item_id``, ``title`` and further ones.

    Args:
        frame: The rows.
        decode_html: Repair titles of web pages; those of a catalog were repaired as its data said.

    Raises:
        DataError: If no row can be used, or a column cannot be kept.
    """
    columns = [name for name in frame.columns if name not in {"item_id", "title"}]
    return Catalog.from_frame(frame, columns=columns, decode_html=decode_html)
