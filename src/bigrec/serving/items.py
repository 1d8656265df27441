"""Changes of a service's items, each checked against the present ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.id_columns import MISSING
from bigrec.data.item_columns import CATEGORY, check_names
from bigrec.errors import DataError
from bigrec.serving.entries import (
    Entry,
    InteractionsAdded,
    ItemMarked,
    ItemPut,
    Value,
    catalog_of,
    put_frame,
)
from bigrec.serving.problems import ServiceError, invalid, not_found
from bigrec.serving.service import Service, Snapshot


@dataclass(frozen=True)
class Item:
    """An item as the service's callers see it."""

    item_id: str
    title: str
    columns: Mapping[str, Value]
    hidden: bool


@dataclass(frozen=True)
class ItemPage:
    """Some of the items, in the catalog's order.

    Attributes:
        items: The items.
        total: Number of all items that match.
        next: Where the next page begins; None for the last one.
    """

    items: list[Item]
    total: int
    next: int | None


def item_of(snapshot: Snapshot, item_id: str) -> Item:
    """An item by its id.

    Raises:
        ServiceError: If there is none, with 404.
    """
    bundle = snapshot.first
    number = bundle.item_numbers.get(item_id)
    if number is None:
        raise not_found(f"There is no item {item_id!r}: GET /v1/items lists those that are.")
    catalog = bundle.catalog
    is_hidden = item_id in snapshot.changes.hidden
    return Item(item_id, catalog.titles[number], _values(catalog, number), is_hidden)


def list_items(
    snapshot: Snapshot, *, search: str, hidden: bool | None, start: int, limit: int
) -> ItemPage:
    """Items whose title contains a text, or whose id is the text.

    Args:
        snapshot: The present state.
        search: The text, in any case; empty for all items.
        hidden: Hidden or shown items only; None for both.
        start: Number of matching items to skip.
        limit: Most items of the page.
    """
    rows = snapshot.first.catalog.to_frame()
    if search:
        text = search.lower()
        has_text = pl.col("title").str.to_lowercase().str.contains(text, literal=True)
        rows = rows.filter(has_text | (pl.col("item_id") == search))
    is_hidden = pl.col("item_id").is_in(list(snapshot.changes.hidden))
    if hidden is not None:
        rows = rows.filter(is_hidden if hidden else ~is_hidden)
    page = rows[start : start + limit]["item_id"].to_list()
    end = start + len(page)
    return ItemPage(
        [item_of(snapshot, item) for item in page],
        total=rows.height,
        next=end if page and end < rows.height else None,
    )


def add_item(
    service: Service, item_id: str, title: str, columns: Mapping[str, Value]
) -> tuple[Item, bool]:
    """Add an item; adding it again changes nothing.

    Returns:
        The item, and whether it was not there before.

    Raises:
        ServiceError: If id or title cannot be used, or the item is there with another title or
            other columns.
    """
    is_new = False
    item = ItemPut(item_id=item_id, title=title)

    def make(snapshot: Snapshot) -> Sequence[Entry]:
        nonlocal is_new, item
        item = cleaned(snapshot, item_id, title, columns)
        is_new = item.item_id not in snapshot.first.item_numbers
        if is_new:
            return [item]
        present = item_of(snapshot, item.item_id)
        if (present.title, present.columns) != (item.title, item.columns):
            raise ServiceError(
                409,
                "conflict",
                f"Item {item.item_id!r} is there, with the title {present.title!r}: change it with "
                "PATCH /v1/items/{id}.",
            )
        return []

    return item_of(service.change(make), item.item_id), is_new


def change_item(
    service: Service,
    item_id: str,
    *,
    title: str | None = None,
    columns: Mapping[str, Value | None] | None = None,
    hidden: bool | None = None,
) -> Item:
    """Change an item; what is None stays.

    Raises:
        ServiceError: If there is no such item, or the title cannot be used.
    """

    def make(snapshot: Snapshot) -> Sequence[Entry]:
        present = item_of(snapshot, item_id)
        entries: list[Entry] = []
        if title is not None or columns:
            values = {**present.columns, **(columns or {})}
            given = {name: value for name, value in values.items() if value is not None}
            wanted = cleaned(snapshot, item_id, title or present.title, given)
            if (wanted.title, wanted.columns) != (present.title, present.columns):
                entries.append(wanted)
        if hidden is not None and hidden != present.hidden:
            entries.append(ItemMarked(op="hide" if hidden else "show", item_id=item_id))
        return entries

    return item_of(service.change(make), item_id)


def remove_item(service: Service, item_id: str) -> None:
    """Remove an item; removing it again changes nothing.

    Raises:
        ServiceError: If there never was such an item, or it is the last one.
    """

    def make(snapshot: Snapshot) -> Sequence[Entry]:
        if item_id in snapshot.changes.removed:
            return []
        item_of(snapshot, item_id)
        if snapshot.first.catalog.n_items == 1:
            raise ServiceError(
                409, "conflict", f"Item {item_id!r} is the last one: hide it, or add another first."
            )
        return [ItemMarked(op="remove", item_id=item_id)]

    service.change(make)


def cleaned(snapshot: Snapshot, item_id: str, title: str, columns: Mapping[str, Value]) -> ItemPut:
    """An item as a catalog holds it: spaces and markup removed.

    Raises:
        ServiceError: If id or title is empty or stands for a missing value, or a value does not
            fit its column.
    """
    put = ItemPut(item_id=item_id, title=title, columns=dict(columns))
    known = {bundle.catalog for bundle in snapshot.bundles.values()}
    try:
        check_names([name for name in columns if name != CATEGORY])
        for catalog in known:
            row = put_frame([put], catalog.columns.schema)
            read = catalog_of(row.select("item_id", "title", *columns), decode_html=True)
    except DataError as error:
        raise invalid(
            f"Item {item_id!r} with the title {title!r} cannot be used: {error} Expected are an id "
            "and a title that are neither empty nor words such as 'nan', nor a page's script."
        ) from None
    return ItemPut(item_id=read.item_ids[0], title=read.titles[0], columns=_values(read, 0))


def _values(catalog: Catalog, number: int) -> dict[str, Value]:
    """An item's values of further columns that are not missing."""
    values = {}
    for name in catalog.columns.columns:
        value = catalog.columns[name][number]
        if value is not None:
            values[name] = value.to_list() if isinstance(value, pl.Series) else value
    return values


def add_interactions(
    service: Service, groups: Sequence[InteractionsAdded]
) -> list[Exception | int]:
    """Add interactions of several requests in one change, each request once.

    Returns:
        For each request the service's revision after it, or why none of its interactions was added.
    """
    told: list[Exception | int] = []

    def make(snapshot: Snapshot) -> Sequence[Entry]:
        added: list[InteractionsAdded] = []
        told.clear()
        for group in groups:
            revision = _revision_before(service, snapshot, added, group)
            if revision is None:
                revision = _refusal(snapshot, group)
            if revision is None:
                added.append(group)
                revision = snapshot.revision + len(added)
            told.append(revision)
        return added

    service.change(make)
    return told


def _revision_before(
    service: Service,
    snapshot: Snapshot,
    added: Sequence[InteractionsAdded],
    group: InteractionsAdded,
) -> Exception | int | None:
    """What was answered to the same request; None if it is a new one."""
    if group.request is None:
        return None
    key, body, revision = group.request.key, None, 0
    for number, other in enumerate(added, start=1):
        if other.request is not None and other.request.key == key:
            body, revision = other.request.body, snapshot.revision + number
    known = service.answered(key)
    if known is not None:
        body, revision = known.body, known.revision
    if body is None:
        return None
    if body != group.request.body:
        return ServiceError(
            409,
            "conflict",
            "The Idempotency-Key was that of another request: expected a new key for every "
            "request, and the same body where one is sent again.",
        )
    return revision


def _refusal(snapshot: Snapshot, group: InteractionsAdded) -> Exception | None:
    known = snapshot.first.item_numbers
    unknown = list(dict.fromkeys(item for _, item, _ in group.rows if item not in known))
    if unknown:
        return invalid(
            f"{len(unknown)} items are not in the catalog, such as {unknown[0]!r}: add them with "
            "POST /v1/items first. None of the interactions was added."
        )
    missing = [user for user, _, _ in group.rows if user.strip() in MISSING]
    if missing:
        return invalid(
            f"user_id is {missing[0]!r}, which stands for a missing value: expected an id. None of "
            "the interactions was added."
        )
    return None
