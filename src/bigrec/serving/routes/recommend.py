"""Routes that recommend."""

from typing import Annotated

from fastapi import APIRouter, Body

from bigrec.recommender.recommendations import Recommendations
from bigrec.serving.problems import ServiceError, invalid, problem_of, responses, service_error
from bigrec.serving.routes.common import READ, AppState, State
from bigrec.serving.schemas import (
    BatchAnswer,
    BatchElement,
    BatchRequest,
    InvocationAnswer,
    InvocationRequest,
    ListedItem,
    RecommendAnswer,
    RecommendRequest,
)
from bigrec.serving.served_bundle import Query

router = APIRouter(tags=["recommend"], dependencies=[READ])


@router.post("/v1/recommend", responses=responses(404))
async def recommend(request: RecommendRequest, state: State) -> RecommendAnswer:
    """Recommend items for a history, or for what a user did."""
    found = (await state.queries.submit([_query(request, state)]))[0]
    if isinstance(found, Exception):
        raise service_error(found)
    return _answer(found, request, state)


@router.post("/v1/recommend:batch", responses=responses())
async def recommend_batch(batch: BatchRequest, state: State) -> BatchAnswer:
    """Recommend for several histories; each has a status."""
    return BatchAnswer(results=await _elements(batch.requests, state))


@router.post("/invocations", responses=responses())
async def invocations(
    request: Annotated[InvocationRequest, Body()], state: State
) -> InvocationAnswer:
    """Recommend, as SageMaker and MLflow ask: ``instances`` or ``dataframe_records``."""
    several = [*(request.instances or []), *(request.dataframe_records or [])]
    if not several:
        raise invalid("The body has neither instances nor dataframe_records: expected requests.")
    return InvocationAnswer(predictions=await _elements(several, state))


async def _elements(requests: list[RecommendRequest], state: AppState) -> list[BatchElement]:
    """The answer to each request, or its error."""
    queries: list[Query | ServiceError] = []
    for request in requests:
        try:
            queries.append(_query(request, state))
        except ServiceError as error:
            if error.status == 503:
                raise
            queries.append(error)
    asked = [query for query in queries if isinstance(query, Query)]
    found = iter(await state.queries.submit(asked))
    elements = []
    for request, query in zip(requests, queries, strict=True):
        answer = next(found) if isinstance(query, Query) else query
        if isinstance(answer, Exception):
            refusal = service_error(answer)
            elements.append(BatchElement(status=refusal.status, error=problem_of(refusal)))
        else:
            elements.append(BatchElement(status=200, answer=_answer(answer, request, state)))
    return elements


def _query(request: RecommendRequest, state: AppState) -> Query:
    """What is asked of the recommender.

    Raises:
        ServiceError: If the request has both a history and a user, or names no bundle that is.
    """
    if request.history is not None and request.user_id is not None:
        raise invalid("The request has a history and a user_id: expected one of the two.")
    state.bundle(request.bundle)
    history = tuple(request.history or ())
    if request.user_id is not None:
        history = state.service.history_of(request.user_id)
    return Query(
        history=history,
        k=request.k,
        exclude=tuple(request.exclude),
        items=None if request.items is None else tuple(request.items),
        where=request.where,
        exclude_seen=request.exclude_seen,
        gammas=request.gammas,
        bundle=request.bundle,
    )


def _answer(found: Recommendations, request: RecommendRequest, state: AppState) -> RecommendAnswer:
    asked = {*request.exclude, *(request.items or ())}
    return RecommendAnswer(
        items=[ListedItem.model_validate(item, from_attributes=True) for item in found],
        source=found.source,
        unknown=list(found.unknown),
        ignored=[item for item in found.ignored if item in asked],
        version=found.version,
        revision=state.snapshot.revision,
    )
