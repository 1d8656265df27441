"""Sparse matrices as stored arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from scipy.sparse import csr_array

from bigrec.storage.arrays import Arrays, Expected, unusable

_INDICES = ("int32", "int64")
SPARSE: Mapping[str, Expected] = {
    "values": Expected(("p",)),
    "columns": Expected(("p",), dtypes=_INDICES, least=0),
    "starts": Expected(("m",), dtypes=_INDICES, least=0),
}
"""The arrays of a sparse matrix of ``m - 1`` rows with ``p`` float32 values."""


def sparse_arrays(matrix: csr_array) -> dict[str, NDArray[Any]]:
    """A matrix as arrays, which `read_sparse` reads."""
    return {"values": matrix.data, "columns": matrix.indices, "starts": matrix.indptr}


def read_sparse(folder: Path, arrays: Arrays, *, n_columns: int) -> csr_array:
    """The matrix of arrays that are as `SPARSE` says.

    Args:
        folder: Where they were read from, for the message.
        arrays: By name.
        n_columns: Columns of the matrix.

    Raises:
        BundleError: If they are no such matrix. Compiled code would read beyond its memory.
    """
    try:
        matrix = csr_array(
            (arrays["values"], arrays["columns"], arrays["starts"]),
            shape=(len(arrays["starts"]) - 1, n_columns),
        )
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise unusable(folder, f"its arrays are no sparse matrix ({error})") from None
    return matrix
