"""Commands that ask a bundle: lists for one history or for all users, similar items, and why."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bigrec import console
from bigrec.cli.options import (
    DEFAULT_RUN_DIR,
    BaseModelOption,
    BaseUrlOption,
    BundleArgument,
    BundleOption,
    DeviceOption,
    ExcludeSeenOption,
    JsonOption,
    ListLengthOption,
    TrustIndexOption,
    TrustOption,
    VerifyKeyOption,
    WhereOption,
    guarded,
    show,
)
from bigrec.console import answers, steps
from bigrec.data.files import read_lines
from bigrec.data.histories import Histories
from bigrec.recommender.answering import Request
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.loading import Access, load_fitted
from bigrec.recommender.ray_parts import RayParts
from bigrec.recommender.recommend_all import RecommendAll

_ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(help="An item id or title never to list. May be given many times."),
]
_HistoryOption = Annotated[
    list[str],
    typer.Option(
        "--history", help="An item id or title of the history, oldest first. Given many times."
    ),
]
_ItemArgument = Annotated[str, typer.Argument(help="An item id or title.", show_default=False)]
_BUNDLE = DEFAULT_RUN_DIR / "bundle"


@guarded
def recommend(
    history: Annotated[
        list[str],
        typer.Argument(help="Item ids or titles, oldest first.", show_default=False),
    ],
    bundle: BundleOption = _BUNDLE,
    k: ListLengthOption = 10,
    exclude_seen: ExcludeSeenOption = None,
    exclude: _ExcludeOption = None,
    where: WhereOption = None,
    unknown: Annotated[
        Literal["error", "skip"],
        typer.Option(help="skip ignores items that the catalog lacks, and says so."),
    ] = "error",
    beams: Annotated[
        Literal["top1", "all"] | None,
        typer.Option(
            help="Generative mode without fusion: ground the top beam or all. By default as the "
            "bundle's settings say."
        ),
    ] = None,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    base_url: BaseUrlOption = None,
    verify_key: VerifyKeyOption = None,
    trust_remote_code: TrustOption = False,
    trust_index: TrustIndexOption = False,
    as_json: JsonOption = False,
) -> None:
    """Recommend items for a history, of a known user or a new one.

    Example: bigrec recommend -b runs/demo/bundle "Toy Story (1995)" "Fargo (1996)"
    """
    conditions = _conditions(where)
    recommender = _load(bundle, model, device, base_url, verify_key, trust_remote_code, trust_index)
    recommendations = recommender.recommend(
        history,
        k=k,
        exclude_seen=exclude_seen,
        exclude=exclude or (),
        where=conditions,
        unknown=unknown,
        beams=beams,
    )
    show(as_json, answers.recommendations(recommendations))


@guarded
def recommend_all(
    histories: Annotated[
        str,
        typer.Option(
            help="CSV, Parquet or JSON lines, a path or an address such as s3://…: a row for each "
            "interaction, or for each user with a list of items."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The file to write: .parquet, .csv or .jsonl. It is replaced.")
    ],
    bundle: BundleOption = _BUNDLE,
    k: ListLengthOption = 10,
    exclude_seen: ExcludeSeenOption = None,
    exclude: Annotated[
        Path | None, typer.Option(help="A file of ids or titles never to list, one in each line.")
    ] = None,
    where: WhereOption = None,
    unknown: Annotated[
        Literal["error", "skip"],
        typer.Option(
            help="skip ignores and counts items that the catalog lacks, and answers histories "
            "without a known item by popularity."
        ),
    ] = "skip",
    user_id: Annotated[str, typer.Option(help="Column of the user.")] = "user_id",
    item_id: Annotated[str, typer.Option(help="Column of the item, or of the list.")] = "item_id",
    time: Annotated[
        str | None,
        typer.Option(help="Column of the timestamp; timestamp by default, if there is one."),
    ] = None,
    ray_workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Make the lists on so many actors of Ray: on this machine, or on the cluster at "
            "RAY_ADDRESS, where the bundle has the same path.",
        ),
    ] = None,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    base_url: BaseUrlOption = None,
    verify_key: VerifyKeyOption = None,
    trust_remote_code: TrustOption = False,
    trust_index: TrustIndexOption = False,
    as_json: JsonOption = False,
) -> None:
    """Recommend items for every user of a file.

    The lists are made in parts beside the output. After Ctrl-C or a kill, the same command
    resumes.

    Example: bigrec recommend-all -b runs/demo/bundle --histories users.parquet --out lists.parquet
    """
    for given in (Path(histories), *([exclude] if exclude is not None else [])):
        if given.resolve() == out.resolve():
            raise ValueError(f"--out is {out}, which is read: expected another file to write.")
    request = Request(
        k=k,
        exclude_seen=exclude_seen,
        exclude=() if exclude is None else _listed(exclude),
        where=_conditions(where),
        unknown=unknown,
    )
    read = Histories.read(histories, user_id=user_id, item_id=item_id, time=time)
    access = Access(
        base_model=model,
        device=device,
        trust_remote_code=trust_remote_code,
        base_url=base_url,
        verify_key=verify_key,
        trust_index=trust_index,
    )
    make = None if ray_workers is None else RayParts(bundle, access, ray_workers)
    job = RecommendAll(load_fitted(bundle, access), read, out, request)
    console.note(answers.plan(job))
    with steps.progress() as progress_factory:
        summary = job.run(progress=progress_factory("Recommend"), make=make)
    show(as_json, answers.summary(job, summary))


@guarded
def similar(
    bundle: BundleArgument,
    item: _ItemArgument,
    k: ListLengthOption = 10,
    exclude: _ExcludeOption = None,
    where: WhereOption = None,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    base_url: BaseUrlOption = None,
    verify_key: VerifyKeyOption = None,
    trust_remote_code: TrustOption = False,
    trust_index: TrustIndexOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the items whose titles are nearest to that of an item.

    Example: bigrec similar runs/demo/bundle "Toy Story (1995)"
    """
    conditions = _conditions(where)
    recommender = _load(bundle, model, device, base_url, verify_key, trust_remote_code, trust_index)
    found = recommender.similar(item, k=k, exclude=exclude or (), where=conditions)
    show(as_json, answers.recommendations(found))


@guarded
def explain(
    bundle: BundleArgument,
    item: _ItemArgument,
    history: _HistoryOption,
    exclude_seen: ExcludeSeenOption = None,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    base_url: BaseUrlOption = None,
    verify_key: VerifyKeyOption = None,
    trust_remote_code: TrustOption = False,
    trust_index: TrustIndexOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell why an item is where it is in the ranking for a history.

    Example: bigrec explain runs/demo/bundle --history "Toy Story (1995)" "Fargo (1996)"
    """
    recommender = _load(bundle, model, device, base_url, verify_key, trust_remote_code, trust_index)
    explanation = recommender.explain(history, item, exclude_seen=exclude_seen)
    show(as_json, answers.explanation(explanation))


COMMANDS: Mapping[str, Callable[..., None]] = {
    "recommend": recommend,
    "recommend-all": recommend_all,
    "similar": similar,
    "explain": explain,
}


def _listed(path: Path) -> list[str]:
    """Ids and titles of a file, one in each line."""
    return [text for _, line in read_lines(path) if (text := line.strip())]


def _conditions(where: str | None) -> Any:
    """Conditions of the command line.

    Raises:
        ValueError: If they are no JSON object.
    """
    if where is None:
        return None
    try:
        conditions = json.loads(where)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--where is {where!r}, which is no JSON ({error}).") from None
    if not isinstance(conditions, dict):
        raise ValueError(
            f"--where is {where!r}; expected a JSON object of columns and conditions, such as "
            '\'{"price": {"lt": 20}}\'.'
        )
    return conditions


def _load(
    bundle: Path,
    model: str | None,
    device: str,
    base_url: str | None,
    verify_key: Path | None,
    trust_remote_code: bool,
    trust_index: bool,
) -> BIGRec:
    return BIGRec.load(
        bundle,
        base_model=model,
        device=device,
        trust_remote_code=trust_remote_code,
        base_url=base_url,
        verify_key=verify_key,
        trust_index=trust_index,
    )
