"""The route that is told what users did."""

import time

from fastapi import APIRouter

from bigrec.serving.entries import InteractionsAdded
from bigrec.serving.problems import responses, service_error
from bigrec.serving.routes.common import ADMIN, State
from bigrec.serving.schemas import InteractionsAnswer, InteractionsRequest

router = APIRouter(tags=["interactions"], dependencies=[ADMIN])


@router.post("/v1/interactions", responses=responses())
async def add_interactions(request: InteractionsRequest, state: State) -> InteractionsAnswer:
    """Add interactions, all or none: to the journal, to users' histories and to text mode."""
    now = int(time.time())
    rows = [
        (row.user_id, row.item_id, now if row.timestamp is None else row.timestamp)
        for row in request.interactions
    ]
    state.bundle(None)
    told = (await state.interactions.submit([InteractionsAdded(rows=rows)]))[0]
    if isinstance(told, Exception):
        raise service_error(told)
    state.metrics.interactions.inc(len(rows))
    snapshot = state.snapshot
    return InteractionsAnswer(
        accepted=len(rows),
        learned_at_once={name: bundle.learning[0] for name, bundle in snapshot.bundles.items()},
        at_next_fit={name: bundle.learning[1] for name, bundle in snapshot.bundles.items()},
        revision=snapshot.revision,
    )
