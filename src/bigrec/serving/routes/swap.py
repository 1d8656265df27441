"""The route that puts a bundle in another's place."""

from fastapi import APIRouter

from bigrec.errors import BigrecError
from bigrec.serving.problems import ServiceError, responses
from bigrec.serving.routes.common import ADMIN, State
from bigrec.serving.routes.health import info_of
from bigrec.serving.schemas import InfoAnswer, SwapRequest

router = APIRouter(tags=["bundles"], dependencies=[ADMIN])


@router.post("/v1/bundle:swap", responses=responses(404, 409))
async def swap_bundle(request: SwapRequest, state: State) -> InfoAnswer:
    """Load a bundle beside the present one, check it, and serve it from then on.

    The present one answers meanwhile, and stays if the new one cannot be used.
    """
    present = state.bundle(request.bundle)
    name = request.bundle or next(iter(state.snapshot.bundles))
    folder = present.folder if request.folder is None else present.folder.parent / request.folder
    try:
        snapshot = await state.swap(
            name, folder, includes_interactions=request.includes_interactions
        )
    except BigrecError as error:
        raise ServiceError(
            409, "swap_failed", f"{error} The present bundle is still served."
        ) from error
    return info_of(snapshot)
