"""Vectors of titles."""

import numpy as np

from bigrec.types import FloatArray


def check_vectors(vectors: FloatArray) -> None:
    """Refuse vectors that are not finite or not a matrix.

    Raises:
        ValueError: If so.
    """
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(
            f"vectors has shape {vectors.shape} and "
            f"{np.count_nonzero(~np.isfinite(vectors))} values that are not finite; expected "
            "finite numbers of shape [n, d], a row for each item of the catalog."
        )
