"""Every product, rewritten: same bits as plain Dask, and every block decodable without its own piece."""

from __future__ import annotations

import numpy as np
import pytest
from dask.array.optimization import optimize
from graph_cases import PROBLEMS
from graph_helpers import decoded, error, groups, pieces, rewritten, value

EPS = {"f2": 1e-3, "f4": 1.2e-7, "c8": 1.2e-7, "f8": 2.3e-16, "c16": 2.3e-16}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_same_bits_and_every_loss_repaired(problem):
    x = PROBLEMS[problem]()
    graph = rewritten(x)
    plain = value(x, dict(optimize(x.__dask_graph__(), x.__dask_keys__())))
    assert np.array_equal(value(x, graph), plain)
    assert groups(graph)
    for group in groups(graph):
        check_losses(graph, group)


@pytest.mark.parametrize("problem", ["matmul", "ragged", "gram", "tensordot free axes", "vector", "complex"])
@pytest.mark.parametrize(
    "settings",
    [
        {"parity": 2},
        {"parity": 3, "group": 4},
        {"axis": "columns"},
        {"axis": "rows", "parity": 2, "scale": False, "tolerance": 1e-9},
        {"parity": (1, 1)},
        {"parity": (2, 1), "group": 3},
        {"code": "replication", "parity": 2},
        {"code": "product"},
        {"workers": 3},
    ],
    ids=str,
)
def test_settings(problem, settings):
    x = PROBLEMS[problem]()
    if problem == "vector" and settings.get("axis") == "columns":
        pytest.skip("a vector has no columns")
    graph = rewritten(x, **settings)
    assert np.array_equal(value(x, graph), x.compute(scheduler="sync"))
    assert groups(graph)
    for group in groups(graph):
        check_losses(graph, group)


def check_losses(graph, group):
    """Lose each own piece in turn; then as many as there are parity pieces for certain."""
    values = pieces(graph, group)
    eps = EPS.get(np.dtype(group.dtype).str[1:], 0.0)
    for index in range(len(group.targets)):
        own = group.code.systematic[index]
        found = decoded(group, values, index, {own})
        expected = values[group.pieces[own]]
        assert expected.shape == group.shapes[index]
        assert error(found, np.asarray(expected)) <= 200 * eps
    for number, piece in enumerate(group.pieces):
        if number in group.code.parity and "product" not in group.code.name:
            assert values[piece].shape[group.axis] == group.length or "replication" in group.code.name


def test_two_losses_of_double_parity():
    x = PROBLEMS["matmul"]()
    graph = rewritten(x, parity=2)
    (first, *_) = groups(graph)
    values = pieces(graph, first)
    for index in range(first.code.q):
        lost = {index, (index + 1) % first.code.q}
        assert error(decoded(first, values, index, lost), values[first.pieces[index]]) < 1e-13


def test_small_rows_survive_among_large_ones():
    import dask.array as da

    rng = np.random.default_rng(0)
    magnitudes = 10.0 ** rng.integers(-12, 12, (40, 1))
    a = da.from_array(rng.standard_normal((40, 20)) * magnitudes, chunks=(8, 5))
    x = a @ da.from_array(rng.standard_normal((20, 30)), chunks=(5, 10))
    graph = rewritten(x, parity=2)
    for group in groups(graph):
        values = pieces(graph, group)
        for index, piece in enumerate(group.pieces[: group.code.q]):
            found = decoded(group, values, index, {index})
            rows = np.abs(values[piece]).max(axis=1, keepdims=True)
            assert (np.abs(found - values[piece]) / rows).max() < 1e-13


def test_persisted_operands():
    from graph_cases import tall, wide

    a, b = tall().persist(scheduler="sync"), (wide() + 1).persist(scheduler="sync")
    x = a @ b
    graph = rewritten(x)
    assert np.array_equal(value(x, graph), x.compute(scheduler="sync"))
    for group in groups(graph):
        check_losses(graph, group)


def test_several_arrays_at_once():
    from dask.highlevelgraph import HighLevelGraph

    from dask_coded.graph.optimizer import CodedOptimizer
    from dask_coded.graph.settings import Settings

    x, y = PROBLEMS["matmul"](), PROBLEMS["gram"]()
    dsk = HighLevelGraph.merge(x.__dask_graph__(), y.__dask_graph__())
    graph = CodedOptimizer(Settings(force=True))(dsk, [x.__dask_keys__(), y.__dask_keys__()])
    for each in (x, y):
        assert np.array_equal(value(each, graph), each.compute(scheduler="sync"))
    assert len({group.label for group in groups(graph)}) == 2


def test_without_low_level_fusion():
    import dask

    x = PROBLEMS["matmul"]()
    with dask.config.set({"optimization.fuse.active": False}):
        graph = rewritten(x)
    assert groups(graph)
    assert np.array_equal(value(x, graph), x.compute(scheduler="sync"))
