"""The route that is told what users did."""

import time
from typing import Annotated

from fastapi import APIRouter, Header

from bigrec.serving.api_keys import Caller
from bigrec.serving.entries import InteractionsAdded, RequestMark
from bigrec.serving.problems import responses, service_error
from bigrec.serving.routes.common import ADMIN, State
from bigrec.serving.schemas import InteractionsAnswer, InteractionsRequest
from bigrec.storage import fingerprint

router = APIRouter(tags=["interactions"], dependencies=[ADMIN])

_Key = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,255}$",
        description="Of the caller's choice, another one for every request. A request that is sent "
        "again with its key is applied once, for at least a day.",
    ),
]


@router.post("/v1/interactions", responses=responses(409))
async def add_interactions(
    request: InteractionsRequest,
    state: State,
    caller: Annotated[Caller, ADMIN],
    idempotency_key: _Key = None,
) -> InteractionsAnswer:
    """Add interactions, all or none: to the journal, to users' histories and to text mode."""
    now = int(time.time())
    rows = [
        (row.user_id, row.item_id, now if row.timestamp is None else row.timestamp)
        for row in request.interactions
    ]
    mark = None
    if idempotency_key is not None:
        mark = RequestMark(
            key=fingerprint([caller.name, idempotency_key]), body=fingerprint(request.model_dump())
        )
    state.bundle(None)
    revision = (await state.interactions.submit([InteractionsAdded(rows=rows, request=mark)]))[0]
    if isinstance(revision, Exception):
        raise service_error(revision)
    state.metrics.interactions.inc(len(rows))
    bundles = state.snapshot.bundles
    return InteractionsAnswer(
        accepted=len(rows),
        learned_at_once={name: bundle.learning[0] for name, bundle in bundles.items()},
        at_next_fit={name: bundle.learning[1] for name, bundle in bundles.items()},
        revision=revision,
    )
