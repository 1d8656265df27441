"""Serves a bundle anew when its folder is written again."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import structlog
from watchfiles import Change, awatch

from bigrec.errors import BigrecError
from bigrec.serving.routes.common import AppState
from bigrec.serving.served_bundle import ServedBundle, bundle_version

# Folders are looked at this often even if nothing is told of them, as network file systems do.
_LOOK_MS = 5000
# A copy may be complete long after its manifest is there.
_RETRY_S = 30.0
_NOT_LOADED_S = 0.5


async def watch(state: AppState) -> None:
    """Swap bundles whose folders hold another manifest, until it is canceled.

    Args:
        state: Of the application whose bundles are watched.
    """
    refused: dict[str, tuple[str, float]] = {}
    while True:
        if not state.service.is_loaded:
            await asyncio.sleep(_NOT_LOADED_S)
            continue
        bundles = state.service.snapshot.bundles
        for name, bundle in bundles.items():
            await _swap_if_new(state, name, bundle, refused)
        await _next_look(bundles)


async def _swap_if_new(
    state: AppState, name: str, bundle: ServedBundle, refused: dict[str, tuple[str, float]]
) -> None:
    version = await asyncio.to_thread(bundle_version, bundle.folder)
    if version in {"", bundle.version}:
        return
    last_refused, since = refused.get(name, ("", 0.0))
    if version == last_refused and time.monotonic() - since < _RETRY_S:
        return
    log = structlog.get_logger(__name__)
    try:
        await state.swap(name, bundle.folder, only_if_new=True)
    except BigrecError as error:
        refused[name] = (version, time.monotonic())
        log.error("not swapped", bundle=name, reason=str(error))
    else:
        log.info("swapped", bundle=name, version=version)


async def _next_look(bundles: Mapping[str, ServedBundle]) -> None:
    """Wait until a bundle's folder may have changed."""
    folders = {bundle.folder for bundle in bundles.values()}

    def is_of_bundle(_: Change, path: str) -> bool:
        return Path(path) in folders or Path(path).parent in folders

    # A folder that takes another's place is told by its parent alone.
    there = {path for folder in folders for path in (folder, folder.parent) if path.is_dir()}
    try:
        looks = awatch(
            *there,
            watch_filter=is_of_bundle,
            recursive=False,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
        )
        async for _ in looks:
            return
    except OSError:
        await asyncio.sleep(_NOT_LOADED_S)  # a folder went away in between
