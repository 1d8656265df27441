"""A bundle as an MLflow model of the flavor ``python_function``."""

from pathlib import Path
from typing import Any

import mlflow.pyfunc

from bigrec.data.columns import shown_names
from bigrec.data.ids import is_missing
from bigrec.errors import DataError
from bigrec.recommender.bigrec import BIGRec

_BUNDLE = "bundle"
_HISTORY = "history"


_K = 10


class BundleModel(mlflow.pyfunc.PythonModel):
    """Recommends for each row of a frame with a column ``history`` and possibly ``k``.

    A history is a list of item ids or titles, oldest first. Unknown items of it are ignored.
    """

    def load_context(self, context: Any) -> None:
        """Load the bundle."""
        self.recommender = BIGRec.load(context.artifacts[_BUNDLE], device="cpu")

    def predict(
        self,
        context: Any,  # noqa: ARG002 - the flavor's
        model_input: Any,
        params: dict[str, Any] | None = None,  # noqa: ARG002 - the flavor's
    ) -> list[list[dict[str, Any]]]:
        """A list of items for each row."""
        rows = model_input.to_dict("records")
        if rows and _HISTORY not in rows[0]:
            raise DataError(
                f"the rows have no column {_HISTORY!r}; their columns are: "
                f"{shown_names(rows[0])}. Give each row a list of item ids or titles there."
            )
        return [
            self.recommender.recommend(row[_HISTORY], k=_length(row.get("k")), unknown="skip")
            .to_frame()
            .to_dicts()
            for row in rows
        ]


def _length(k: Any) -> Any:
    """The length of a row's list. A frame holds whole numbers as floats if one is missing."""
    if is_missing(k):
        return _K
    return int(k) if isinstance(k, float) and k.is_integer() else k


def save_model(bundle: Path, path: Path) -> None:
    """Write a bundle as an MLflow model, for `mlflow.pyfunc.load_model` or ``mlflow models serve``.

    Args:
        bundle: Written by `BIGRec.save`.
        path: The model's folder, which must not exist.
    """
    mlflow.pyfunc.save_model(
        str(path),
        python_model=BundleModel(),
        artifacts={_BUNDLE: str(bundle)},
        pip_requirements=["bigrec"],
    )
