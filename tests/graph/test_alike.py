"""Arrays that are encoded alike: sums of them, and of what is computed from each, stay coded."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from encoded_helpers import check, encode, matrix, programs

from dask_coded import codes
from dask_coded.encode import linear

W = matrix((8, 5), (4, 5), seed=1)
V = matrix((8, 5), (4, 5), seed=2)
FLIP = linear(np.fliplr, along=1)


def pair(rows=3, dtype="f8", **options):
    options = {"scale": False, **options}
    return [encode(matrix((12, 8), (rows, 4), dtype, seed), **options) for seed in (5, 6)]


TOGETHER = {
    "sum": lambda x, y: (x + y) @ W,
    "difference": lambda x, y: (2 * x - y / 3) @ W,
    "sum of products": lambda x, y: x @ W + y @ V,
    "sum of views": lambda x, y: (x[:, ::-1] + y).sum(axis=1),
    "joined": lambda x, y: da.concatenate([x, y], axis=1) @ da.concatenate([W, V]),
    "stacked": lambda x, y: da.stack([x, y]).sum(axis=0),
    "centred": lambda x, y: (x + y - (x.mean(axis=0) + 1.0)) @ W,
    "one of them only in some blocks": lambda x, y: da.concatenate([x + y, y, x], axis=1).map_blocks(FLIP),
    "summed over the coded axis": lambda x, y: (x + y).sum(axis=0),
    "with one again": lambda x, y: (x + y) @ W + 3 * (y @ V),
}


@pytest.mark.parametrize("rows", [3, (4, 1, 2, 5)], ids=["even", "ragged"])
@pytest.mark.parametrize("parity", [1, 2])
@pytest.mark.parametrize("name", TOGETHER)
def test_every_lost_lane_decodes(name, parity, rows):
    z = TOGETHER[name](*pair(rows, parity=parity))
    found, refusals = programs(z)
    assert any(len(program.sources) == 2 for program in found), refusals
    assert check(z) >= 1


@pytest.mark.parametrize("dtype, options", [("i8", {}), ("c16", {"parity": 2}), ("f4", {"group": 2})])
def test_dtypes_and_groups(dtype, options):
    x, y = pair(dtype=dtype, **options)
    assert check((x + y) @ matrix((8, 2), (4, 2), dtype)) >= 1


def test_copies_need_no_plain_rows():
    x, y = pair(code=codes.replication(4, 2), scale=True)
    assert check((x + y) @ W) == 1


def test_along_different_axes():
    x = encode(matrix((12, 8), (3, 4), seed=5), scale=False)
    y = encode(matrix((8, 12), (4, 3), seed=6), axis=1, scale=False)
    (program,) = programs((x + y.T) @ W)[0]
    assert {array.axis for array in program.sources} == {0, 1}
    assert check((x + y.T) @ W) == check((x + y.T + 2.0) @ W) == check((y + x.T - 1.0).T @ W) == 1


def test_both_axes_of_both():
    x, y = (encode(matrix((12, 8), (3, 2), seed=seed), axis=(0, 1), scale=False) for seed in (5, 6))
    assert check((x + y) @ W) >= 1
    assert check((x + y).T @ matrix((12, 3), 3)) >= 1


APART = {
    "other rows": lambda x: encode(matrix((12, 8), (6, 4)), scale=False).rechunk({0: 3}),
    "other groups": lambda x: encode(matrix((12, 8), (3, 4)), scale=False, group=2),
    "other codes": lambda x: encode(matrix((12, 8), (3, 4)), scale=False, parity=2),
    "scaled rows": lambda x: encode(matrix((12, 8), (3, 4))),
    "other dtypes": lambda x: encode(matrix((12, 8), (3, 4), "f4"), scale=False),
    "not encoded": lambda x: matrix((12, 8), (3, 4)),
}


@pytest.mark.parametrize("name", APART)
def test_arrays_that_are_not_alike_stay_apart(name):
    x = pair()[0]
    y = APART[name](x)
    found, _ = programs((x + y) @ W)
    assert not found
    check((x + y) @ W)
    check(x @ W + y.astype("f8") @ V)


SINGLE = {
    "each by itself": (lambda x, y: da.exp(x @ W) + da.exp(y @ V), 2),
    "product with the other": (lambda x, y: x @ y.T, 1),
    "product with a view of the other": (lambda x, y: x @ (2 * y).T, 1),
    "element by element": (lambda x, y: (x * y) @ W, 0),
    "quotient": (lambda x, y: (x @ W) / (y @ V), 2),
    "only the second": (lambda x, y: da.exp(x) @ W + (y @ V), 1),
}


@pytest.mark.parametrize("name", SINGLE)
def test_what_does_not_add_them_codes_each(name):
    build, count = SINGLE[name]
    z = build(*pair())
    found, refusals = programs(z)
    assert len(found) == count, refusals
    assert all(len(program.sources) == 1 for program in found)
    check(z)


def test_three_arrays():
    x, y, z = (encode(matrix((12, 8), (3, 4), seed=seed), scale=False) for seed in (5, 6, 7))
    w = (x + y + z) @ W - (z @ V)
    (program,) = programs(w)[0]
    assert len(program.sources) == 3
    assert check(w) == 1


def test_one_array_twice_is_one_array():
    x = pair()[0]
    (program,) = programs((x + x[:, ::-1]) @ W)[0]
    assert len(program.sources) == 1
    assert np.isfinite((x + x).compute(scheduler="sync")).all()
