from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from dask_coded.codes.hypercomplex import left_products, optimised_quaternions, unit_pairs, units
from dask_coded.codes.relations import Matrix


def matrix(coefficient: Matrix) -> Matrix:
    return left_products(coefficient[None, None, :])


@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_coefficients_are_multiples_of_orthogonal_matrices(m: int) -> None:
    coefficient = np.random.default_rng(m).standard_normal(m)
    product = matrix(coefficient) @ matrix(coefficient).T
    np.testing.assert_allclose(product, np.sum(coefficient**2) * np.eye(m), atol=1e-14)
    np.testing.assert_allclose(matrix(coefficient)[:, 0], coefficient)


def test_quaternion_units_multiply_as_they_should() -> None:
    _, i, j, k = (matrix(unit) for unit in np.eye(4))
    assert np.array_equal(i @ j, k)
    assert np.array_equal(j @ k, i)
    assert np.array_equal(i @ i, -np.eye(4))


@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_units_are_far_apart(m: int) -> None:
    assert min(np.linalg.norm(a - b) for a, b in combinations(units(m), 2)) >= np.sqrt(2)


def test_pairs_are_far_apart() -> None:
    pairs = unit_pairs(8)
    assert len(pairs) == 112
    assert min(np.linalg.norm(a - b) for a, b in combinations(pairs, 2)) >= np.sqrt(2)


@pytest.mark.parametrize("r", [3, 4])
@pytest.mark.parametrize("k", [1, 4, 5, 8, 13, 32])
def test_tables_have_the_shape_asked_for(k: int, r: int) -> None:
    assert optimised_quaternions(k, r).shape == (r, k, 4)
