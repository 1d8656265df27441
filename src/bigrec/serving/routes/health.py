"""Routes that tell how the service is."""

import importlib.metadata
from typing import Any

from fastapi import APIRouter

from bigrec.serving.problems import Problem, not_ready, responses
from bigrec.serving.routes.common import READ, State
from bigrec.serving.schemas import BundleInfo, HealthAnswer, InfoAnswer
from bigrec.serving.service import Snapshot

router = APIRouter(tags=["health"])

_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Problem}}


@router.get("/health/live")
async def live() -> HealthAnswer:
    """Whether the process answers, also while a model computes."""
    return HealthAnswer()


@router.get("/health/ready", responses=_NOT_READY)
@router.get("/ping", responses=_NOT_READY)
async def ready(state: State) -> HealthAnswer:
    """Whether requests should be sent here: bundles are loaded and the process is not to end."""
    if state.is_draining:
        raise not_ready("The service ends: ask another.")
    state.bundle(None)
    return HealthAnswer()


@router.get("/info", dependencies=[READ], responses=responses())
async def info(state: State) -> InfoAnswer:
    """What is served."""
    return info_of(state.snapshot)


def info_of(snapshot: Snapshot) -> InfoAnswer:
    """What a snapshot serves."""
    return InfoAnswer(
        bigrec=importlib.metadata.version("bigrec"),
        bundles=[
            BundleInfo(
                name=name,
                version=bundle.recommender.version,
                mode=bundle.recommender.settings.mode,
                item_type=bundle.recommender.fitted.item_type,
                n_items=bundle.catalog.n_items,
                n_titles=bundle.catalog.n_titles,
                signals=dict(bundle.recommender.signals),
            )
            for name, bundle in snapshot.bundles.items()
        ],
        n_hidden=len(snapshot.changes.hidden),
        revision=snapshot.revision,
    )
