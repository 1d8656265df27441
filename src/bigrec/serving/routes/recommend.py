"""Routes that recommend."""

from typing import TYPE_CHECKING, Annotated, cast

from fastapi import APIRouter, Body

from bigrec.recommender.recommendations import Recommendations
from bigrec.serving.problems import (
    ServiceError,
    invalid,
    not_found,
    problem_of,
    responses,
    service_error,
)
from bigrec.serving.routes.common import READ, AppState, State
from bigrec.serving.schemas import (
    BatchAnswer,
    BatchElement,
    BatchRequest,
    ExplainAnswer,
    ExplainRequest,
    InvocationAnswer,
    InvocationRequest,
    ListedItem,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    SimilarRequest,
)
from bigrec.serving.served_bundle import ExplainQuery, Query, SimilarQuery

if TYPE_CHECKING:
    from bigrec.recommender.explaining import Explanation

router = APIRouter(tags=["recommend"], dependencies=[READ])


@router.post("/v1/recommend", responses=responses(404))
async def recommend(request: RecommendRequest, state: State) -> RecommendAnswer:
    """Recommend items for a history, or for what a user did."""
    found = cast("Recommendations", await state.ask(_query(request, state)))
    return _answer(found, request, state)


@router.post("/v1/recommend:batch", responses=responses())
async def recommend_batch(batch: BatchRequest, state: State) -> BatchAnswer:
    """Recommend for several histories; each has a status."""
    return BatchAnswer(results=await _elements(batch.requests, state))


@router.post("/v1/similar", responses=responses(404))
async def similar(request: SimilarRequest, state: State) -> SimilarAnswer:
    """The items whose titles are nearest to that of an item."""
    _check_item(request.item, request.bundle, state)
    query = SimilarQuery(
        item=request.item,
        k=request.k,
        exclude=tuple(request.exclude),
        items=None if request.items is None else tuple(request.items),
        where=request.where,
        bundle=request.bundle,
    )
    found = cast("Recommendations", await state.ask(query))
    return SimilarAnswer(items=_listed(found), version=found.version)


@router.post("/v1/explain", responses=responses(404))
async def explain(request: ExplainRequest, state: State) -> ExplainAnswer:
    """Why an item is where it is in the ranking for a history."""
    _check_item(request.item, request.bundle, state)
    query = ExplainQuery(
        history=_history(request, state),
        item=request.item,
        exclude_seen=request.exclude_seen,
        gammas=request.gammas,
        bundle=request.bundle,
    )
    found = cast("Explanation", await state.ask(query))
    return ExplainAnswer.model_validate(found.to_dict())


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
            elements.append(
                BatchElement(
                    status=200, answer=_answer(cast("Recommendations", answer), request, state)
                )
            )
    return elements


def _query(request: RecommendRequest, state: AppState) -> Query:
    """What is asked of the recommender.

    Raises:
        ServiceError: If the request has both a history and a user, or names no bundle that is.
    """
    state.bundle(request.bundle)
    return Query(
        history=_history(request, state),
        k=request.k,
        exclude=tuple(request.exclude),
        items=None if request.items is None else tuple(request.items),
        where=request.where,
        exclude_seen=request.exclude_seen,
        gammas=request.gammas,
        bundle=request.bundle,
    )


def _history(request: RecommendRequest | ExplainRequest, state: AppState) -> tuple[str, ...]:
    """The history that is given, or what a user did.

    Raises:
        ServiceError: If the request has both.
    """
    if request.history is not None and request.user_id is not None:
        raise invalid("The request has a history and a user_id: expected one of the two.")
    if request.user_id is not None:
        return state.service.history_of(request.user_id)
    return tuple(request.history or ())


def _check_item(item: str, bundle: str | None, state: AppState) -> None:
    """Refuse an item that is not in a bundle's catalog.

    Raises:
        ServiceError: If so, with 404.
    """
    if state.bundle(bundle).catalog.find([item])[1]:
        raise not_found(f"There is no item {item!r:.200}: GET /v1/items lists those that are.")


def _listed(found: Recommendations) -> list[ListedItem]:
    return [ListedItem.model_validate(item, from_attributes=True) for item in found]


def _answer(found: Recommendations, request: RecommendRequest, state: AppState) -> RecommendAnswer:
    asked = {*request.exclude, *(request.items or ())}
    return RecommendAnswer(
        items=_listed(found),
        source=found.source,
        unknown=list(found.unknown),
        ignored=[item for item in found.ignored if item in asked],
        version=found.version,
        revision=state.snapshot.revision,
    )
