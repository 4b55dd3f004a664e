"""Verdicts: arithmetic on shapes, nothing is run."""

from __future__ import annotations

import dask.array as da
import pytest

from dask_coded.graph.cost import group_limit
from dask_coded.graph.optimizer import explain
from dask_coded.graph.settings import Settings


def verdict(left, right, chunks, **settings):
    a = da.ones(left, chunks=chunks[0])
    x = a @ da.ones(right, chunks=chunks[1])
    (found,) = explain(x.__dask_graph__(), x.__dask_keys__(), Settings(**settings))
    return found


def test_large_square_product_is_worth_it():
    found = verdict((8000, 8000), (8000, 8000), (2000, 2000))
    assert found.code and found.parity_seconds > found.encode_seconds > 0


def test_matrix_vector_is_not():
    found = verdict((80000, 8000), (8000,), ((20000, 2000), 2000))
    assert not found.code and "serves 1 columns" in found.reason
    assert verdict((80000, 8000), (8000,), ((20000, 2000), 2000), force=True).code


def test_many_vectors_share_one_encoding():
    a = da.ones((800000, 8000), chunks=(200000, 2000))
    x = sum(a @ da.full(8000, i, chunks=2000) for i in range(150))
    verdicts = explain(x.__dask_graph__(), x.__dask_keys__(), Settings())
    assert all(found.code and found.columns == 150 for found in verdicts)
    assert verdicts[0].encode_seconds < verdicts[0].seconds


def test_tiny_tasks_are_not():
    found = verdict((400, 400), (400, 400), (100, 100))
    assert not found.code and "one task takes" in found.reason


def test_cheaper_axis_is_chosen():
    tall_and_thin = verdict((32000, 1000), (1000, 4000), ((2000, 1000), (1000, 2000)))
    assert [axis.which for axis in tall_and_thin.axes] == ["rows"]  # 1/16 more work instead of 1/2
    short_and_wide = verdict((4000, 1000), (1000, 32000), ((2000, 1000), (1000, 2000)))
    assert [axis.which for axis in short_and_wide.axes] == ["columns"]


def test_axis_can_be_forced():
    for which in ("rows", "columns"):
        found = verdict((8000, 8000), (8000, 8000), (2000, 2000), axis=which)
        assert [axis.which for axis in found.axes] == [which]


def test_both_axes():
    found = verdict((8000, 8000), (8000, 8000), (2000, 2000), parity=(1, 1))
    assert len(found.axes) == 2 and found.parity == (1, 1)
    assert len(verdict((8000, 8000), (8000, 8000), (2000, 2000), parity=(1, 1), axis="rows").axes) == 1


@pytest.mark.parametrize(
    "settings, parity, limit",
    [
        ({}, (1,), 16),
        ({"group": 5}, (1,), 5),
        ({"workers": 4}, (1,), 3),
        ({"workers": 1}, (2,), 2),
        ({"workers": 200}, (2,), 16),
        ({}, (1, 1), 4),
        ({"workers": 25}, (1, 1), 4),
    ],
)
def test_group_limit(settings, parity, limit):
    assert group_limit(Settings(**settings), parity) == limit


def test_verdict_reads_well():
    found = verdict((8000, 8000), (8000, 8000), (2000, 2000))
    assert "matmul (8000, 8000) @ (8000, 8000): coded by rows x4 with parity (1,)" in str(found)
