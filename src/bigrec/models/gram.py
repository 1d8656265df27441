"""The inverse of a regularized Gram matrix, in the memory of one dense matrix."""

import numpy as np
from scipy.linalg import LinAlgError, lapack
from scipy.sparse import csr_array

from bigrec.types import FloatArray

ROWS = 1024
"""Rows of a dense matrix that are computed at once."""


def inverse_of_gram(matrix: csr_array, *, regularization: float) -> FloatArray:
    """The matrix ``(X^T X + lambda I)^-1``.

    Args:
        matrix: ``X``, ``[p, n]`` float64.
        regularization: ``lambda``.

    Returns:
        ``[n, n]`` float64, with contiguous rows, as products with sparse matrices read it.

    Raises:
        LinAlgError: If the matrix is singular up to rounding.
    """
    n_items = matrix.shape[1]
    by_item = matrix.T.tocsr()
    gram = np.empty((n_items, n_items))
    # In blocks of rows: the sparse form of the whole product can be larger than the dense one.
    for start in range(0, n_items, ROWS):
        rows = slice(start, start + ROWS)
        gram[rows] = (by_item[rows] @ matrix).toarray()
    gram[np.diag_indices(n_items)] += regularization
    # LAPACK works in place on columns; the transpose of a symmetric matrix is itself. float64,
    # because the condition number grows with the number of rows.
    factor, failed = lapack.dpotrf(gram.T, lower=1, overwrite_a=1)
    if not failed:
        inverse, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise LinAlgError("the matrix is singular up to rounding")
    # LAPACK wrote one triangle, in contiguous columns.
    _mirror_lower(inverse)
    return np.asarray(inverse.T)


def _mirror_lower(matrix: FloatArray) -> None:
    """Make a matrix symmetric in place, by its lower triangle.

    Args:
        matrix: ``[n, n]``.
    """
    for start in range(0, len(matrix), ROWS):
        rows = slice(start, start + ROWS)
        matrix[rows, start + ROWS :] = matrix[start + ROWS :, rows].T
        corner = matrix[rows, rows]
        matrix[rows, rows] = np.tril(corner) + np.tril(corner, k=-1).T
