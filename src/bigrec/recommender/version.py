"""The version of a fitted recommender: which fit it is, of which catalog, after which updates."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.grounding.index import ItemIndex
from bigrec.recommender.fusion import SignalFusion
from bigrec.settings import Settings
from bigrec.storage import fingerprint, first_problems, read_json, write_json
from bigrec.storage.arrays import unusable
from bigrec.types import FloatArray, IntArray

_FILE = "version.json"
_MAX_BYTES = 1 << 12


def version_of_fit(
    settings: Settings,
    catalog: Catalog,
    counts: IntArray,
    *,
    index: ItemIndex,
    fusion: SignalFusion | None,
) -> str:
    """The version of what was fitted, 16 hexadecimal digits.

    Args:
        settings: What it was fitted with.
        catalog: The items.
        counts: Occurrences of each item in the training split, ``[n]``.
        index: The items' points, as fitted.
        fusion: Signals and rules.
    """
    # Where models and servers are, and who watched, does not change what was fitted.
    values = settings.model_dump(mode="json", exclude={"model", "text"})
    del values["generative"]["decoding"]["server"]
    for trained in (values["retrieval"], values["generative"]["finetune"]):
        del trained["report_to"]
    rules = (
        {} if fusion is None else {str(key): rule.to_json() for key, rule in fusion.rules.items()}
    )
    content = [
        values,
        catalog.content_fingerprint,
        counts.tolist(),
        index.key,
        _digest(index.embeddings),
        rules,
        [] if fusion is None else list(fusion.signals),
    ]
    return fingerprint(content)


def version_of_catalog(version: str, catalog: Catalog) -> str:
    """The version with another catalog than the fitted one."""
    return fingerprint([version, catalog.content_fingerprint])


def version_of_update(version: str, interactions: Interactions, item_ids: Sequence[str]) -> str:
    """The version after later interactions were added.

    Args:
        version: The version before.
        interactions: The later ones.
        item_ids: Ids of the items by their numbers.
    """
    items = [item_ids[item] for item in interactions.items]
    return fingerprint([version, interactions.user_ids, interactions.user_start.tolist(), items])


def save_version(folder: Path, version: str) -> None:
    """Write the version into a bundle's folder."""
    write_json(folder / _FILE, {"version": version})


def load_version(folder: Path) -> str | None:
    """The version that `save_version` wrote; None in a bundle of before there was one.

    Raises:
        BundleError: If the file is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        return _Stored.model_validate(read_json(path, max_bytes=_MAX_BYTES)).version
    except ValidationError as error:
        raise unusable(path, first_problems(error)) from None


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    version: Annotated[str, Field(pattern=r"\A[0-9a-f]{16}\z")]


def _digest(array: FloatArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
