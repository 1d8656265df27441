"""Scores that another model wrote to files, for the validation and the test examples."""

from collections.abc import Sequence
from pathlib import Path

from bigrec.data.dataset import Dataset
from bigrec.errors import SettingsError
from bigrec.models.precomputed import PrecomputedScores
from bigrec.recommender.training_data import EvalQueries, EvalSplit, PreparedData
from bigrec.settings.sections import PrecomputedSettings


def read_precomputed(
    settings: Sequence[PrecomputedSettings], dataset: Dataset, prepared: PreparedData
) -> dict[EvalSplit, dict[str, PrecomputedScores]]:
    """Read scores, by split and by the model's name.

    Raises:
        DataError: If a file does not fit.
        SettingsError: If a file is neither NPY nor Parquet.
    """
    files: dict[EvalSplit, dict[str, str]] = {
        "valid": {scores.name: scores.valid for scores in settings},
        "test": {scores.name: scores.test for scores in settings},
    }
    return {
        split: {
            name: _read(name, Path(file), dataset, prepared.queries(split))
            for name, file in of_split.items()
        }
        for split, of_split in files.items()
    }


def _read(name: str, path: Path, dataset: Dataset, queries: EvalQueries) -> PrecomputedScores:
    catalog = dataset.catalog
    if path.suffix == ".npy":
        return PrecomputedScores.from_npy(
            path, name=name, n_queries=len(queries), n_items=catalog.n_items
        )
    if path.suffix == ".parquet":
        return PrecomputedScores.from_parquet(
            path, name=name, item_ids=catalog.item_ids, user_ids=queries.user_ids
        )
    raise SettingsError(f"the scores of {name!r} are in {path}: expected .npy or .parquet.")
