"""Programs on encoded arrays: how far lanes reach, and that every lost lane decodes."""

from __future__ import annotations

import operator

import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph
from dask.utils import key_split
from encoded_helpers import check, encode, matrix, programs, rewritten
from graph_helpers import groups, value

from dask_coded.encode import linear
from dask_coded.graph.inputs import Inputs
from dask_coded.graph.optimizer import CodedOptimizer
from dask_coded.graph.settings import Settings
from dask_coded.graph.slicing import over_all_rows

W = matrix((8, 5), (4, 5), seed=1)
V = matrix((8,), 4, seed=2)
V9 = matrix((9,), (4, 4, 1), seed=4)
TALL = matrix((12, 4), (3, 4), seed=3)


SHIFT = linear(lambda b: b + np.roll(b, 1, 1) - np.roll(b, -1, 1), along=1)


def whole(x):
    return x.rechunk({1: -1})


LINEAR = {
    "product": lambda x: x @ W,
    "product with a vector": lambda x: x @ V,
    "product from the left": lambda x: W.T @ x.T,
    "dot": lambda x: da.dot(x, W),
    "tensordot": lambda x: da.tensordot(x, W, axes=([1], [0])),
    "einsum": lambda x: da.einsum("ij,jk->ki", x, W),
    "outer sum": lambda x: da.einsum("ij,k->ik", x, V[:3]),
    "chain": lambda x: ((-x) * 3) @ W / 7,
    "two products": lambda x: x @ W @ W.T,
    "sum of products": lambda x: x @ W + (2 * x) @ (W + 1),
    "difference of products": lambda x: x @ W - x[:, ::-1] @ W,
    "factors of columns": lambda x: (x * V) @ W,
    "gram": lambda x: x @ x.T,
    "gram of views": lambda x: (2 * x)[:, 1:] @ x[:, :-1].T,
    "gram of results": lambda x: (y := x @ W) @ y.T,
    "gram of one view": lambda x: (y := 2 * x) @ y.T,
    "gram of one view, once more": lambda x: ((y := x[:, ::-1]) @ y.T) @ (x @ y.T) + y @ W[:, :1],
    "view read twice": lambda x: (lambda y: y @ W[:5] + y.sum(axis=1, keepdims=True))(3 * x[:, 2:7]),
    "sum": lambda x: x.sum(axis=1),
    "sum, axis kept": lambda x: x.sum(axis=1, keepdims=True),
    "sum, its first step read twice": lambda x: x.sum(axis=1) + x.sum(axis=1, keepdims=True)[:, 0],
    "mean": lambda x: x.mean(axis=1),
    "cumsum": lambda x: x.cumsum(axis=1),
    "slices": lambda x: x[:, 2:7] @ W[2:7],
    "fancy": lambda x: x[:, [0, 3, 6, 3]] @ W[:4],
    "new axes": lambda x: (x[:, None, :] @ W)[:, 0],
    "one column": lambda x: x[:, 3].T * 2 + x.sum(axis=1),
    "concatenate": lambda x: da.concatenate([x, 2 * x], axis=1) @ da.concatenate([W, W]),
    "stack": lambda x: da.stack([x, -x], axis=0).sum(axis=0),
    "repeat": lambda x: da.repeat(x, 3, axis=1).sum(axis=1),
    "tile": lambda x: da.tile(x, (1, 2)) @ da.concatenate([W, W]),
    "roll": lambda x: da.roll(x, 3, axis=1) @ W,
    "diff": lambda x: da.diff(x, axis=1).sum(axis=1),
    "rechunk": lambda x: x.rechunk({1: (3, 5)}) @ W.rechunk({0: (3, 5)}),
    "fft": lambda x: da.fft.fft(whole(x), axis=1),
    "rfft": lambda x: da.fft.rfft(whole(x), axis=1),
    "complex parts": lambda x: da.fft.fft(whole(x), axis=1).real.sum(axis=1),
    "conjugate": lambda x: da.fft.ifft(da.fft.fft(whole(x), axis=1).conj(), axis=1),
    "declared": lambda x: x.map_blocks(linear(np.fliplr, along=1)),
    "stencil": lambda x: da.overlap.overlap(x, depth={0: 0, 1: 1}, boundary="none").map_blocks(SHIFT),
    "stencil, trimmed": lambda x: x.map_overlap(SHIFT, depth={0: 0, 1: 1}) @ W,
    "stencil around the edge": lambda x: x.map_overlap(SHIFT, depth={1: 2}, boundary="periodic").sum(axis=1),
    "stencil, asymmetric": lambda x: x.map_overlap(SHIFT, depth={1: (2, 0)}, boundary="none"),
    "intercept": lambda x: (x + 1.0) @ W,
    "intercept, turned": lambda x: W.T @ (1.0 - 2 * x.T),
    "bias": lambda x: 2 * (x @ W + matrix((5,), 5, seed=9)),
    "centred": lambda x: (x - x.mean(axis=0)) @ W,
    "standardized": lambda x: ((x - V) / (1 + V**2)) @ W - 3,
    "constant of all columns": lambda x: (x.cumsum(axis=1) + 1j).sum(axis=1),
    "barrier behind": lambda x: da.exp(x @ W),
    "reduction behind": lambda x: (x @ W).sum(axis=0),
}
BARRIERS = {
    "padding": (lambda x: da.pad(x, ((0, 0), (1, 1))).sum(axis=1), "not made of"),
    "stencil along it": (lambda x: x.map_overlap(SHIFT, depth={0: 1, 1: 1}), "coded axis"),
    "only views": (lambda x: (2 * x.T)[1:], "worth decoding"),
    "contraction": (lambda x: x.T @ matrix((12,), 3), "contracts the coded axis"),
    "times itself": (lambda x: (x * (2 * x)) @ W, "element by element"),
    "power": (lambda x: (x**2).sum(axis=1), "power"),
    "comparison": (lambda x: (x > 0).sum(axis=1), "greater"),
    "maximum": (lambda x: x.max(axis=1), "max"),
    "variance": (lambda x: x.var(axis=1), ""),
    "rows differ": (lambda x: (x * matrix((12, 1), (3, 1))) @ W, "differ along the coded axis"),
    "rows reversed": (lambda x: x[::-1] @ W, "coded axis"),
    "rows sliced": (lambda x: x[5:] @ W, "coded axis"),
    "rows chosen": (lambda x: x[[0, 7, 3]] @ W, "coded axis"),
    "rows joined": (lambda x: x.rechunk({0: 6}) @ W, "coded axis"),
    "reduction": (lambda x: x.sum(axis=0), "over the coded axis"),
    "running sum": (lambda x: x.cumsum(axis=0).sum(axis=1), "coded axis"),
    "own numbers for each row": (lambda x: (x + matrix((12, 1), (3, 1))) @ W, "encode the sum"),
    "blocks joined to it": (
        lambda x: da.concatenate([x, matrix((12, 1), (3, 1))], axis=1) @ V9,
        "not made of",
    ),
    "division by it": (lambda x: (1 / x) @ W, "division by"),
    "undeclared": (lambda x: x.map_blocks(lambda b: b * 2) @ W, "linear"),
    "declared along it": (lambda x: x.map_blocks(linear(np.flipud, along=0)) @ W, "works along"),
    "block numbers": (
        lambda x: x.map_blocks(lambda b, block_id=None: b * block_id[0], dtype="f8") @ W,
        "linear",
    ),
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("parity", [1, 2])
def test_linear_programs_are_coded(name, parity):
    x = encode(matrix((12, 8), (3, 4)), parity=parity)
    assert check(LINEAR[name](x)) >= 1


@pytest.mark.parametrize(
    "name", ["product", "chain", "sum", "mean", "fft", "stack", "diff", "stencil, trimmed"]
)
def test_ragged_blocks_never_decode_to_rubbish(name):
    x = encode(matrix((23, 8), ((5, 4, 6, 5, 3), 4)), parity=2, group=3)
    y = LINEAR[name](x)
    if name in ("product", "chain", "sum", "mean", "stencil, trimmed"):
        assert check(y) >= 1
    else:
        check(y)


@pytest.mark.parametrize("lengths", [(8, 8, 5), (5, 8, 8), (4, 6, 8, 5)])
@pytest.mark.parametrize("parity", [1, 2])
@pytest.mark.parametrize("name", ["rechunk", "stencil around the edge"])
def test_splitting_ragged_blocks_is_told_in_their_own_lengths(lengths, parity, name):
    x = encode(matrix((sum(lengths), 8), (lengths, 4)), parity=parity)
    assert check(LINEAR[name](x.rechunk({1: 3}))) >= 1


def test_where_parity_is_longer_than_the_blocks_splitting_them_is_plain():
    x = encode(matrix((21, 8), ((3, 6, 7, 5), 4)), parity=2)
    assert check(x.rechunk({1: 3}).sum(axis=1)) == 0


def test_only_slices_of_all_rows_are_taken_for_one():
    block, rows = TaskRef("x"), slice(0, 5)
    for index in ((slice(0, 4), rows), (slice(1, 5), rows), (slice(0, 5, 2), rows), (0, rows), (rows,), rows):
        task = Task("y", operator.getitem, block, index)
        assert over_all_rows(task, 2, 0, 5) is task
    for whole_rows in (rows, slice(None, 5), slice(0, 9), slice(None)):
        found = over_all_rows(Task("y", operator.getitem, block, (whole_rows, 3)), 2, 0, 5)
        assert found.args == (block, (slice(None), 3))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
def test_float_dtypes(dtype):
    x = encode(matrix((12, 8), (3, 4), dtype), parity=2)
    assert check(x @ W.astype(dtype)) >= 1
    assert check(x.T.sum(axis=0)) >= 1


def with_ones(x, fill=1.0):
    column = da.full((x.shape[0], 1), fill, chunks=(x.chunks[0], 1), dtype=x.dtype)
    return da.concatenate([x, column], axis=1)


def add_intercept(block):
    return np.concatenate([block, np.ones((block.shape[0], 1), dtype=block.dtype)], axis=1)


add_intercept.__module__ = "dask_ml.linear_model.utils"

JOINED = {
    "product": lambda x: with_ones(x) @ V9,
    "in one block": lambda x: with_ones(x).rechunk({1: -1}) @ V9.rechunk(-1),
    "as dask-ml joins them": lambda x: (
        whole(x).map_blocks(add_intercept, dtype="f8", chunks=(x.chunks[0], 9)) @ V9.rechunk(-1)
    ),
    "sum": lambda x: (3 * with_ones(x, 2.0)).sum(axis=1),
    "shifted": lambda x: (with_ones(x) - V9) @ V9,
    "zeros": lambda x: with_ones(x, 0.0).sum(axis=1),
}


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("parity", [1, 2, 3])
@pytest.mark.parametrize("lengths", [(8, 8, 8), (8, 8, 5), (4, 4, 4, 4)])
def test_constant_columns_are_carried_along(name, parity, lengths):
    x = encode(matrix((sum(lengths), 8), (lengths, 4)), parity=parity)
    assert check(JOINED[name](x)) >= 1


@pytest.mark.parametrize("lengths", [(5, 8, 8), (3, 6, 7, 5)])
@pytest.mark.parametrize("parity", [1, 2])
def test_constant_columns_in_ragged_blocks(lengths, parity):
    """A parity lane takes over the ones of the longest block, unless parity is longer."""
    x = encode(matrix((sum(lengths), 8), (lengths, 4)), parity=parity)
    assert bool(check(JOINED["product"](x))) == (parity == 1 or 8 in lengths)


def test_constant_columns_are_not_joined_to_integers():
    assert check(with_ones(encode(matrix((12, 8), (3, 4), "i8"))).sum(axis=1)) == 0


def test_constants_alone_are_no_blocks_to_decode():
    x = with_ones(encode(matrix((12, 8), (3, 4)))).map_blocks(linear(np.fliplr, along=1))
    assert check(x) == 0
    assert any("constants alone" in refusal.reason for refusal in programs(x)[1])


@pytest.mark.parametrize("lengths", [(7, 7, 7), (5, 4, 6, 5, 3)])
@pytest.mark.parametrize("parity", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
def test_numbers_added_to_ragged_blocks(lengths, parity, dtype):
    x = encode(matrix((sum(lengths), 8), (lengths, 4), dtype), parity=parity)
    w = W.astype(dtype)
    assert check((x + V.astype(dtype)) @ w) >= 1
    assert check((2 * x + 1).sum(axis=1)) >= 1


def test_tasks_that_weigh_rows_have_names():
    found = {key_split(key) for key in rewritten((encode(matrix((12, 8), (3, 4))) + 1) @ W)}
    assert {"parity-means", "parity-weigh-rows"} <= found


def test_numbers_are_not_added_to_integers():
    """Weighted means of integers are none."""
    x = encode(matrix((12, 8), (3, 4), "i8"), parity=1)
    assert check((x + 1).sum(axis=1), bound=0.0) == 0
    assert any("encode the array as floats" in refusal.reason for refusal in programs((x + 1).sum(axis=1))[1])


def test_rows_of_all_magnitudes_and_of_zeros_with_numbers_added():
    numbers = np.random.default_rng(0).normal(size=(16, 8)) * 10.0 ** np.arange(-8, 8)[:, None]
    numbers[[2, 9]] = 0
    for parity in (1, 2):
        x = encode(da.from_array(numbers, chunks=(4, 4)), parity=parity)
        check((x + 1) @ W, bound=3000)
        check(x @ W + 1e-9, bound=3000)


@pytest.mark.parametrize("dtype", ["i1", "i4", "i8", "u2", "u8"])
def test_integers_stay_exact_or_plain(dtype):
    x = encode(matrix((12, 8), (3, 4), dtype), parity=1)
    assert check(x @ matrix((8, 5), (4, 5), dtype), bound=0.0) >= (1 if dtype[1] == "8" else 0)
    check(x.sum(axis=1), bound=0.0)
    check(x * 0.5 @ W)


def test_coarser_parity_than_the_result_is_no_parity():
    x = encode(matrix((12, 8), (3, 4), "f4"))
    assert not programs(x @ W)[0]
    assert not programs(x.astype("f8") @ W)[0]
    assert not programs((x.astype("f2") @ W.astype("f2")).astype("f8"))[0] or check(
        x.astype("f2") @ W.astype("f2")
    )


@pytest.mark.parametrize("name", BARRIERS)
def test_barriers(name):
    build, reason = BARRIERS[name]
    x = encode(matrix((12, 8), (3, 4)))
    found, refusals = programs(build(x))
    assert not found
    assert any(reason in refusal.reason for refusal in refusals), refusals
    check(build(x))


def test_running_sums_are_coded_whatever_is_cut_out_of_them():
    x = encode(matrix((12, 8), (3, 2)))
    for start in range(0, 8, 2):
        for stop in range(start + 1, 9):
            assert check(x.cumsum(axis=1)[:, start:stop]) >= 1, (start, stop)


def test_other_axis_and_columns():
    x = encode(matrix((8, 12), (4, 3)), axis=1, parity=2)
    assert check(W.T @ x) == 1
    assert check(x.T @ W) == 1
    assert not programs(x @ matrix((12,), 3))[0]


def test_lanes_end_where_several_read_them():
    x = encode(matrix((12, 8), (3, 4)))
    y = x @ W
    assert check(da.exp(y) + y) == 1
    z = (y.sum(axis=1) + da.sin(y).sum(axis=1)).persist(scheduler="sync")
    assert z.shape == (12,)


def test_two_encoded_arrays_each_have_their_lanes():
    x, y = encode(matrix((12, 8), (3, 4))), encode(matrix((12, 8), (3, 4), seed=5))
    assert check(da.concatenate([x @ W, y @ W], axis=1)) == 2
    assert check((x + y) @ W) == 0
    assert any("encode the sum" in refusal.reason for refusal in programs((x + y) @ W)[1])
    assert check(encode(x + y) @ W) == 1 and check(x @ W - y @ W) == 2


def test_encoding_is_named_alike_in_every_graph():
    x = encode(matrix((12, 8), (3, 4)), parity=2)
    names = []
    for y in (x @ W, x @ (W + 1), (3 * x).sum(axis=1)):
        graph = rewritten(y)
        names.append({key for group in groups(graph) for key in group.inputs})
    assert names[0] and names[0] == names[1] == names[2]
    kept = {key for group in x.dask.layers[x.name].encoded.groups() for key in group.tasks}
    assert names[0] <= kept


def test_parity_tasks_are_made_once_for_each_graph(monkeypatch):
    made = []
    monkeypatch.setattr(Inputs, "_encode", (lambda old: lambda *a: made.append(1) or old(*a))(Inputs._encode))
    x = encode(matrix((12, 8), (3, 8)), parity=1)
    rewritten(x @ matrix((8, 9), (8, 3)))
    assert len(made) == 1


BOTH = {
    "rows": (lambda x: x @ W, 1),
    "columns": (lambda x: x.T @ TALL, 1),
    "columns, vector": (lambda x: x.T @ TALL[:, 0], 1),
    "gram": (lambda x: x.T @ x, 1),
    "gram of rows": (lambda x: x @ x.T, 1),
    "gradient": (lambda x: x.T @ (x @ V - TALL[:, 0]), 2),
    "two gradients": (lambda x: x.T @ (x @ (V - 0.1 * (x.T @ (x @ V)))), 4),
    "scaled gradient": (lambda x: (x / 3).T @ da.tanh((x / 3) @ V), 2),
    "sums": (lambda x: x.sum(axis=0, keepdims=True) + x.sum(axis=1, keepdims=True), 2),
    "sum of scaled": (lambda x: (2 * x).sum(axis=1), 1),
    "view read elsewhere": (lambda x: da.exp(x.T) @ TALL + x.T @ TALL, 1),
    "gram of scaled": (lambda x: (y := x / 3).T @ y, 1),
    "centred": (lambda x: (x - x.mean(axis=0)) @ V, 2),
    # along the columns, centring of each by its own mean is no step that all share
    "gradient of centred": (lambda x: (y := x - x.mean(axis=0)).T @ (y @ V), 2),
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("parity", [1, 2])
def test_both_axes(name, parity):
    build, number = BOTH[name]
    x = encode(matrix((12, 8), (3, 2)), axis=(0, 1), parity=parity)
    found, refusals = programs(build(x))
    assert len(found) == number, refusals
    assert check(build(x)) >= number
    inside = {layer for program in found for layer in program.layers}
    assert inside.isdisjoint(refusal.layer for refusal in refusals)


def test_views_that_are_asked_for_stay():
    x = encode(matrix((12, 8), (3, 2)), axis=(0, 1))
    y, z = x.T, x.T @ TALL
    graph = CodedOptimizer(Settings(), products=False)(
        HighLevelGraph.merge(y.dask, z.dask), [y.__dask_keys__(), z.__dask_keys__()]
    )
    assert len(groups(graph)) == 1
    assert np.array_equal(value(y, graph), y.compute(scheduler="sync"))
    assert np.array_equal(value(z, graph), z.compute(scheduler="sync"))


def test_an_operation_along_a_third_axis_is_coded_along_one():
    x = encode(matrix((6, 6, 4), (2, 3, 4)), axis=(0, 1))
    assert len(programs(da.fft.fft(x, axis=2))[0]) == 1
    (program,) = programs((da.fft.fft(x, axis=2)).sum(axis=0))[0]
    assert program.encoded.axis == 1, "the longer program wins"
    assert check(da.fft.fft(x, axis=2).sum(axis=0)) == 1
