from typing import get_args

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bigrec.grounding.space import Normalization, Space, whitening_matrix
from bigrec.types import FloatArray


@pytest.fixture
def catalog() -> FloatArray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 5).astype(np.float32)


def test_none_changes_nothing(catalog: FloatArray) -> None:
    np.testing.assert_array_equal(Space.fit("none", catalog).transform(catalog), catalog)


def test_center_gives_unit_length_around_the_catalogs_mean() -> None:
    # the mean is (1, 1); the differences are (3, 4) / 5 and its opposite
    space = Space.fit("center", np.array([[4.0, 5.0], [-2.0, -3.0]]))
    np.testing.assert_allclose(space.transform(np.array([[4.0, 5.0]])), [[0.6, 0.8]], rtol=1e-6)


def test_center_leaves_a_zero_vector_zero() -> None:
    space = Space.fit("center", np.array([[4.0, 5.0], [-2.0, -3.0]]))
    np.testing.assert_array_equal(space.transform(np.array([[1.0, 1.0]])), [[0.0, 0.0]])


def test_center_takes_rounding_of_equal_vectors_for_zero() -> None:
    # ten times the float32 nearest to 0.1 does not average to it exactly
    same = np.full((10, 3), 0.1, dtype=np.float32)
    np.testing.assert_array_equal(Space.fit("center", same).transform(same), np.zeros((10, 3)))


def test_standardize_gives_mean_0_and_variance_1() -> None:
    space = Space.fit("standardize", np.array([[0.0, 7.0], [4.0, 7.0]]))
    # first dimension: mean 2, deviation 2; the second never varies
    np.testing.assert_allclose(space.transform(np.array([[6.0, 9.0]])), [[2.0, 0.0]])


def test_whitened_catalog_has_identity_covariance(catalog: FloatArray) -> None:
    points = Space.fit("whiten", catalog).transform(catalog)
    np.testing.assert_allclose(np.cov(points.T, bias=True), np.eye(6), atol=1e-3)


def test_whitened_distances_are_mahalanobis_distances(catalog: FloatArray) -> None:
    inverse = np.linalg.inv(np.cov(catalog.T.astype(np.float64), bias=True))
    points = Space.fit("whiten", catalog).transform(catalog)
    expected = cdist(catalog[:5], catalog, "mahalanobis", VI=inverse)
    np.testing.assert_allclose(cdist(points[:5], points), expected, rtol=1e-3, atol=1e-5)


def test_whitening_stays_finite_with_fewer_titles_than_dimensions() -> None:
    few = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    assert np.isfinite(Space.fit("whiten", few).transform(few)).all()


def test_whitened_catalog_of_one_title_is_zero() -> None:
    single = np.ones((1, 3), dtype=np.float32)
    np.testing.assert_array_equal(Space.fit("whiten", single).transform(single), np.zeros((1, 3)))


def test_the_whitening_matrix_divides_components_by_their_divisors() -> None:
    # centered: variances 1 and 4 along the axes
    embeddings = np.array([[1.0, 2.0], [-1.0, 2.0], [1.0, -2.0], [-1.0, -2.0]])
    matrix = whitening_matrix(embeddings, np.zeros(2), divisors=lambda variances: variances + 1)
    np.testing.assert_allclose(np.abs(matrix), [[1 / 2, 0], [0, 1 / 5]], atol=1e-12)


def test_the_whitening_matrix_drops_components_of_divisor_0() -> None:
    embeddings = np.array([[1.0, 2.0], [-1.0, 2.0], [1.0, -2.0], [-1.0, -2.0]])
    matrix = whitening_matrix(embeddings, np.zeros(2), divisors=lambda _: np.array([0.0, 1.0]))
    np.testing.assert_allclose(np.abs(matrix), [[0, 0], [0, 1]], atol=1e-12)


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_every_space_maps_to_float32_of_the_same_shape(
    normalization: Normalization, catalog: FloatArray
) -> None:
    points = Space.fit(normalization, catalog).transform(catalog[:7])
    assert points.shape == (7, 6)
    assert points.dtype == np.float32


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_fitting_again_gives_the_same_points(
    normalization: Normalization, catalog: FloatArray
) -> None:
    first, second = (Space.fit(normalization, catalog).transform(catalog) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_an_unknown_normalization_is_refused(catalog: FloatArray) -> None:
    with pytest.raises(
        ValueError, match="Unknown normalization 'cosine'; expected one of none, cent"
    ):
        Space.fit("cosine", catalog)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0, 3), (3,)])
def test_embeddings_that_are_no_table_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[t, d\] with at least one row"):
        Space.fit("none", np.zeros(shape))


def test_queries_of_another_size_are_refused(catalog: FloatArray) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 5\); expected \[q, 6\]"):
        Space.fit("none", catalog).transform(np.zeros((2, 5)))
