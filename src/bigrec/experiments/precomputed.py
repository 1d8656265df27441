"""Which signals a comparison puts in, and scores that are read from files."""

from collections.abc import Collection, Sequence
from pathlib import Path

from bigrec.data.dataset import Dataset
from bigrec.errors import SettingsError
from bigrec.models.base import Signal
from bigrec.models.precomputed import External
from bigrec.recommender.factory import Queries
from bigrec.settings.sections import ExternalSettings


def parts_of(
    external: Sequence[ExternalSettings], dataset: Dataset, *, valid: Queries, test: Queries
) -> tuple[dict[str, Signal], dict[str, Signal]]:
    """Scores from files, for the validation and for the test examples.

    Raises:
        DataError: If a file does not fit.
        SettingsError: If a file is neither NPY nor Parquet.
    """
    catalog = dataset.catalog

    def read(name: str, file: str, queries: Queries) -> External:
        path = Path(file)
        if path.suffix == ".npy":
            return External.from_npy(
                path, name=name, n_queries=len(queries), n_items=catalog.n_items
            )
        if path.suffix == ".parquet":
            return External.from_parquet(
                path, name=name, item_ids=catalog.item_ids, user_ids=queries.user_ids
            )
        raise SettingsError(f"the scores of {name!r} are in {file}: expected .npy or .parquet.")

    return (
        {one.name: read(one.name, one.valid, valid) for one in external},
        {one.name: read(one.name, one.test, test) for one in external},
    )


def injected_names(inject: Sequence[str], known: Collection[str]) -> list[tuple[str, ...]]:
    """Signals to inject, several at once where an entry joins them by ``&``.

    Raises:
        SettingsError: If an entry names a signal that is not compared.
    """
    found = [tuple(name.strip() for name in entry.split("&")) for entry in inject]
    for name in (name for entry in found for name in entry):
        if name not in known:
            raise SettingsError(
                f"compare.inject names {name!r}: expected signals that are compared, "
                f"{'; '.join(known)}."
            )
    return found
