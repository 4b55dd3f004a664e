"""What cannot be coded honestly is left exactly as plain Dask has it, with the reason in the log."""

from __future__ import annotations

import logging

import dask.array as da
import numpy as np
import pytest
from dask.array.optimization import optimize
from graph_cases import dense, tall, wide
from graph_helpers import groups, rewritten

from dask_coded.graph.optimizer import CodedOptimizer, explain
from dask_coded.graph.settings import Settings


def nan_chunks():
    a = tall()
    return a[a[:, 0] > 0] @ wide()


def masked():
    return da.ma.masked_array(tall(), mask=tall() > 0) @ wide()


def sparse_like():
    a = tall()
    return da.Array(a.__dask_graph__(), a.name, a.chunks, meta=Sparse(np.empty((0, 0)))) @ wide()


class Sparse(np.ndarray):
    def __new__(cls, values):
        return np.asarray(values).view(cls)


def narrow_integers():
    return dense((40, 20), (8, 5), "i4") @ dense((20, 30), (5, 10), "i4")


def structured():
    a = da.zeros((40, 20), chunks=(8, 5), dtype="M8[s]")
    return a.astype("m8[s]" if a.dtype.kind == "m" else "O") @ wide().astype("O")


LEFT_ALONE = {
    "nothing to code": (lambda: tall() + 1, ""),
    "sum": (lambda: tall().sum(axis=0), ""),
    "one block": (lambda: tall().rechunk(-1) @ wide().rechunk(-1), "two blocks"),
    "one block wanted": (lambda: (tall() @ wide())[:3, :3], "two blocks"),
    "inner product": (lambda: da.vdot(dense((40,), 8), dense((40,), 8)), "two blocks"),
    "bool": (lambda: (tall() > 0) @ (wide() > 0), "bool"),
    "object": (lambda: tall().astype(object) @ wide().astype(object), "object"),
    "datetime": (structured, "object"),
    "longdouble": (lambda: tall().astype("g") @ wide(), "longdouble"),
    "nan chunks": (nan_chunks, "unknown chunk sizes"),
    "nan chunks on the right": (lambda: tall() @ wide()[:, wide()[0] > 0], "unknown chunk sizes"),
    "masked": (masked, "MaskedArray"),
    "masked on the right": (
        lambda: wide().T @ da.ma.masked_greater(tall()[:20].rechunk(5), 0),
        "MaskedArray",
    ),
    "sparse-like": (sparse_like, "Sparse"),
    "narrow integers": (narrow_integers, "wraps before the sum"),
    "three operands": (
        lambda: da.einsum("ij,jk,kl->il", tall(), wide().rechunk((5, 30)), dense((30, 6), 30)),
        "",
    ),
    "one operand": (lambda: da.einsum("ij->ji", tall()), ""),
    "one row in many blocks": (
        lambda: dense((1, 20), ((0, 1), 5)) @ dense((20, 3), (5, 3)),
        "two blocks",
    ),
    "diagonal": (
        lambda: da.einsum("ii,jj->ij", wide()[:, :20].rechunk(5), wide()[:, :20].rechunk(5)),
        "two blocks",
    ),
    "einsum in its own dtype": (lambda: da.einsum("ij,jk->ik", tall(), wide(), dtype="f8"), "dtype"),
    "no elements": (
        lambda: da.ones((40, 0), chunks=(8, 1)) @ da.ones((0, 30), chunks=(1, 10)),
        "without elements",
    ),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_left_alone(name, caplog):
    build, reason = LEFT_ALONE[name]
    x = build()
    with caplog.at_level(logging.INFO, logger="distributed.scheduler.coded"):
        graph = rewritten(x)
    assert same_graph(graph, optimize(x.__dask_graph__(), x.__dask_keys__()))
    assert not groups(graph)
    assert reason in caplog.text
    assert bool(reason) == bool(caplog.text)
    assert not any(
        verdict.code for verdict in explain(x.__dask_graph__(), x.__dask_keys__(), Settings(force=True))
    )


def same_graph(one, other):
    return one.keys() == other.keys() and all(repr(one[key]) == repr(other[key]) for key in one)


def test_without_annotations():
    x = tall() @ wide()
    for layer in x.__dask_graph__().layers.values():
        layer.collection_annotations = None
    assert not groups(rewritten(x))


def test_plain_dict():
    x = tall() @ wide()
    dsk = dict(x.__dask_graph__())
    graph = CodedOptimizer(Settings(force=True))(dsk, x.__dask_keys__())
    assert graph.keys() == optimize(dsk, x.__dask_keys__()).keys()


def test_product_itself_is_used_elsewhere():
    """Whoever reads the block products keeps the contraction out of the lanes."""
    x = tall() @ wide()
    (name,) = (name for name in x.__dask_graph__().layers if name.startswith("matmul"))
    graph = CodedOptimizer(Settings(force=True))(x.__dask_graph__(), [*x.__dask_keys__(), (name, 0, 0, 0)])
    assert groups(graph)
    assert {target[0] for group in groups(graph) for target in group.targets} == {name}


def test_dry_changes_nothing(caplog):
    x = tall() @ wide()
    with caplog.at_level(logging.INFO, logger="distributed.scheduler.coded"):
        graph = rewritten(x, dry=True)
    assert same_graph(graph, optimize(x.__dask_graph__(), x.__dask_keys__()))
    assert "coded by" in caplog.text


def test_parity_of_zero():
    x = tall() @ wide()
    assert not groups(rewritten(x, parity=(0, 0)))
    for parity, label in (((1, 0), "rows"), ((0, 1), "columns")):
        (verdict,) = explain(x.__dask_graph__(), x.__dask_keys__(), Settings(force=True, parity=parity))
        assert [axis.which for axis in verdict.axes] == [label]


def test_integers_get_one_parity():
    x = dense((40, 20), (8, 5), "i8") @ dense((20, 30), (5, 10), "i8")
    for parity in (2, (2, 2)):
        for group in groups(rewritten(x, parity=parity)):
            assert len(group.code.parity) == 1 and group.tolerance == 0
