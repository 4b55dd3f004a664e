"""Explicit products: `dask_coded.matmul` codes what it was asked to code, or says why not."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from array_helpers import CALM, coded_groups
from graph.graph_cases import dense, tall, wide
from graph.graph_helpers import groups

import dask_coded as dc
from dask_coded import codes
from dask_coded.errors import CodedWarning

#: Codes for tall() @ wide(), whose result has 5 x 3 blocks, and how many groups each makes.
FITTING = {
    "rows": (codes.parity(5, 1), 3),
    "rows twice": (codes.parity(5, 2), 3),
    "rows in groups": (codes.local(5, 3), 3),
    "columns": (codes.parity(3, 2), 5),
    "copies": (codes.replication(5, 2), 3),
    "rows and columns": (codes.product(5, 3), 1),
}
ROWS = codes.parity(5, 1)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too many": (
        {"code": codes.parity(7, 1)},
        "parity.k=7.* encodes 7 blocks.* 5 rows and 3 columns.*rechunk",
    ),
    "not these rows": ({"code": codes.parity(3, 1), "axis": "rows"}, "encodes 3 blocks.* has 5 rows of"),
    "grid of another size": ({"code": codes.product(3, 5)}, "encodes 3 x 5 blocks.* 5 rows and 3 columns"),
    "a name": ({"code": "parrity"}, "code='parrity'.*choose from auto, parity, product, replication"),
    "a number": ({"code": 3}, "code=3 .*choose from"),
    "a setting": ({"parity": 0}, "parity=0 .*at least 1"),
}
INTEGERS = {
    "row and column": codes.product(5, 3),
    "real": codes.parity(5, 3),
    "trigonometric": codes.parity(5, 2, 1),
}


def never(block: np.ndarray) -> np.ndarray:
    raise AssertionError("building must not compute")


def idle(x: da.Array) -> da.Array:
    return x.map_blocks(never, dtype=x.dtype, meta=x._meta)


def refuse(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dc.matmul(idle(tall()), idle(wide()), **settings)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_code_without_a_client(name):
    refuse(*WRONG[name])


@pytest.mark.parametrize("name", INTEGERS)
def test_code_that_integers_cannot_undo(name):
    a, b = dense((40, 20), (8, 5), "i8"), dense((20, 30), (5, 10), "i8")
    with pytest.raises(ValueError, match="int64; give codes.parity"):
        dc.matmul(a, b, code=INTEGERS[name])
    dc.matmul(a, b, code=codes.parity(5, 1))
    dc.matmul(a, b, code=codes.replication(5))


def test_without_a_client_it_is_the_plain_product():
    plain = tall() @ wide()
    for settings in ({}, {"code": ROWS}, {"code": "replication"}, {"parity": 2}):
        x = dc.matmul(tall(), wide(), **settings)
        assert x.name == plain.name
        assert x.dask.keys() == plain.dask.keys()


def test_product_that_cannot_be_coded_warns():
    for a, b, reason in (
        (tall().rechunk(-1), wide().rechunk(-1), "two blocks"),
        (tall().astype(object), wide().astype(object), "object"),
    ):
        with pytest.warns(CodedWarning, match=reason):
            x = dc.matmul(a, b, code=codes.parity(5, 1))
        assert x.name == da.matmul(a, b).name


def test_on_a_cluster(cluster):
    client = cluster(4, processes=False)
    for settings, message in WRONG.values():
        refuse(settings, message)
    assert not client.futures
    value = (tall() @ wide()).compute()
    for name, (code, number) in FITTING.items():
        x = dc.matmul(tall(), wide(), code=code, late=CALM)
        before = coded_groups(client)
        assert x.chunks == (tall() @ wide()).chunks
        assert x.dtype == value.dtype
        assert np.array_equal(x.compute(), value), name
        assert coded_groups(client) == before + number, name
        assert np.array_equal(x.compute(scheduler="sync"), value), name

    x = dc.matmul(tall(), wide(), code=ROWS)
    assert np.array_equal(x[3:20, 5:].compute(), value[3:20, 5:])
    assert np.allclose((x.T @ x).compute(), value.T @ value)
    for a, b in (
        (tall().compute(), wide()),
        (tall(), wide().compute()),
        (tall().persist(), wide().persist()),
    ):
        assert np.allclose(dc.matmul(a, b, parity=1).compute(), value)
    assert np.allclose(dc.matmul(tall(), wide()[:, 0], code=ROWS).compute(), value[:, 0])
    plain, coded = dask.compute(tall() @ wide(), x)
    assert np.array_equal(plain, coded)

    # Products among the operands are coded by the context, not by this code.
    inner = dense((20, 12), (10, 6), seed=3) @ dense((12, 30), (6, 10), seed=4)
    x = dc.matmul(tall(), inner, code=ROWS)
    value = tall().compute() @ inner.compute()
    before = coded_groups(client)
    assert np.allclose(x.compute(), value)
    assert coded_groups(client) == before + 3
    with dc.coded(force=True):
        assert np.allclose(x.compute(), value)
    assert coded_groups(client) == before + 2 * 3 + 3
    assert dc.report().to_dict()["errors"] == 0


def test_groups_are_as_large_as_the_cluster_allows(cluster):
    cluster(7, processes=False)
    x = dc.matmul(dense((60, 20), (5, 20)), dense((20, 30), (20, 30), seed=1))
    assert {len(group.targets) for group in groups(dict(x.dask))} == {6}
