"""Routes of items."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from bigrec.serving import items as live
from bigrec.serving.problems import responses
from bigrec.serving.routes.common import ADMIN, READ, State
from bigrec.serving.schemas import ItemAnswer, ItemChange, ItemsAnswer, NewItem

router = APIRouter(prefix="/v1/items", tags=["items"])

_MAX_PAGE = 1000


@router.get("", dependencies=[READ], responses=responses())
def list_items(
    state: State,
    search: Annotated[str, Query(max_length=200, description="Part of a title, or an id.")] = "",
    hidden: Annotated[bool | None, Query(description="Hidden or shown items only.")] = None,
    start: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 100,
) -> ItemsAnswer:
    """List items in the catalog's order."""
    page = live.list_items(state.snapshot, search=search, hidden=hidden, start=start, limit=limit)
    return ItemsAnswer.model_validate(page, from_attributes=True)


@router.get("/{item_id:path}", dependencies=[READ], responses=responses(404))
async def get_item(item_id: str, state: State) -> ItemAnswer:
    """Show an item."""
    return ItemAnswer.model_validate(live.item_of(state.snapshot, item_id), from_attributes=True)


@router.post(
    "",
    dependencies=[ADMIN],
    status_code=201,
    responses=responses(409) | {200: {"model": ItemAnswer, "description": "It was there, alike."}},
)
async def add_item(item: NewItem, state: State, response: Response) -> ItemAnswer:
    """Add an item: recommended from now on, also after a restart."""
    state.bundle(None)
    added, is_new = await state.in_writer(
        live.add_item, state.service, item.item_id, item.title, item.columns
    )
    state.metrics.changes.labels("add").inc()
    response.status_code = 201 if is_new else 200
    return ItemAnswer.model_validate(added, from_attributes=True)


@router.patch("/{item_id:path}", dependencies=[ADMIN], responses=responses(404))
async def change_item(item_id: str, change: ItemChange, state: State) -> ItemAnswer:
    """Rename an item, change its columns, hide it or show it."""
    state.bundle(None)
    changed = await state.in_writer(
        lambda: live.change_item(
            state.service,
            item_id,
            title=change.title,
            columns=change.columns,
            hidden=change.hidden,
        )
    )
    state.metrics.changes.labels("change").inc()
    return ItemAnswer.model_validate(changed, from_attributes=True)


@router.delete(
    "/{item_id:path}", dependencies=[ADMIN], status_code=204, responses=responses(404, 409)
)
async def remove_item(item_id: str, state: State) -> None:
    """Remove an item. What was learned of it stays, should it be added again."""
    state.bundle(None)
    await state.in_writer(live.remove_item, state.service, item_id)
    state.metrics.changes.labels("remove").inc()
