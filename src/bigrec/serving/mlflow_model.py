"""A bundle as an MLflow model of the flavor ``python_function``."""

from pathlib import Path
from typing import Any

import mlflow.pyfunc

from bigrec.recommender.bigrec import BIGRec

_BUNDLE = "bundle"


class BundleModel(mlflow.pyfunc.PythonModel):
    """Recommends for each row of a frame with a column ``history`` and possibly ``k``."""

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
        return [
            self.recommender.recommend(
                list(row["history"]), k=int(row.get("k", 10)), unknown="skip"
            )
            .to_frame()
            .to_dicts()
            for row in rows
        ]


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
