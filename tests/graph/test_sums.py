"""Sums and means over the coded axis: coded where parity takes the rows as they are."""

from __future__ import annotations

from math import prod

import dask.array as da
import numpy as np
import pytest
from encoded_helpers import check, encode, matrix, programs, rewritten
from graph_helpers import decoded, groups, pieces

from dask_coded import codes
from dask_coded.errors import DecodeRefused
from dask_coded.kernels import decode_block
from dask_coded.runtime.tasks import decode_task

W = matrix((8, 5), (4, 5), seed=1)
SUMS = {
    "sum": lambda x: x.sum(axis=0),
    "sum, axis kept": lambda x: x.sum(axis=0, keepdims=True),
    "sum of all": lambda x: x.sum(),
    "mean of all": lambda x: (x @ W).mean(),
    "sum over both": lambda x: x.sum(keepdims=True),
    "mean": lambda x: x.mean(axis=0),
    "mean over both": lambda x: x.mean(keepdims=True),
    "product": lambda x: (x @ W).sum(axis=0),
    "mean of a product": lambda x: (W.T @ x.T).mean(axis=1),
    "turned": lambda x: (2 * x).T.sum(axis=1),
    "of differences": lambda x: da.diff(x, axis=1).sum(axis=0),
    "weighted": lambda x: (x * da.arange(8, chunks=4)).sum(axis=0) / 12,
    "scaled afterwards": lambda x: (3 * x.sum(axis=0, keepdims=True)) @ W,
    "stacked": lambda x: da.stack([x, 2 * x]).sum(axis=1),
    "sliced": lambda x: x[:, 1:6].sum(axis=0),
    "of a transform": lambda x: da.fft.fft(x.rechunk({1: -1}), axis=1).sum(axis=0),
}


def parted(graph):
    """Return the groups of sums of blocks, and those of sums of them all."""
    found = groups(graph)
    return [group for group in found if not group.parts], [group for group in found if group.parts]


@pytest.mark.parametrize("rows", [3, (4, 1, 2, 5)], ids=["even", "ragged"])
@pytest.mark.parametrize("parity", [1, 2, 3])
@pytest.mark.parametrize("name", SUMS)
def test_every_lost_sum_decodes(name, parity, rows):
    y = SUMS[name](encode(matrix((12, 8), (rows, 4)), parity=parity, scale=False))
    (program,) = programs(y)[0]
    assert program.summed and program.addends >= max(program.encoded.lengths)
    # One number may cancel; it is decoded while its bound is within 1024 roundoffs.
    assert check(y, bound=1024.0) == prod(map(len, program.blocks.chunks)) // len(program.encoded.lengths)
    of_blocks, of_all = parted(rewritten(y))
    assert bool(of_all) == (parity == 1), "more than one parity is no plain sum"
    assert {name for group in of_all for name in group.parts} == {group.name for group in of_blocks if of_all}
    for group in of_blocks:
        assert {shape[group.axis] for shape in group.shapes} == {group.length} == {1}


@pytest.mark.parametrize("axis", [1, (0, 1)])
def test_along_other_axes(axis):
    x = encode(matrix((12, 8), (3, 2)), axis=axis, scale=False)
    for y in (x.sum(axis=1), x.mean(axis=1), x.sum(axis=1) + x.sum(axis=1)):
        assert check(y) >= 1


def test_three_axes():
    x = encode(matrix((4, 6, 5), (2, 2, 5)), axis=1, scale=False)
    assert check(x.sum(axis=1)) == 2
    assert check(x.sum(axis=(1, 2))) == 2
    assert check(x.mean(axis=(0, 1))) == 2


@pytest.mark.parametrize("dtype", ["f4", "c8", "c16"])
def test_dtypes(dtype):
    x = encode(matrix((12, 8), (3, 4), dtype), parity=2, scale=False)
    assert check(x.sum(axis=0)) == check(x.mean(axis=0)) == 2


def test_integers_and_copies_are_never_scaled():
    assert check(encode(matrix((12, 8), (3, 4), "i8")).sum(axis=0)) == 2
    assert check(encode(matrix((12, 8), (3, 4), "i4")).sum(axis=0)) == 0, "numpy adds them as i8"
    copies = codes.replication(4, 2)
    assert check(encode(matrix((12, 8), (3, 4)), code=copies).mean(axis=0)) == 2


NOT_CODED = {
    "scaled rows": (lambda x: x.sum(axis=0), "scale=False"),
    "numbers added before": (lambda x: (x + 1.0).sum(axis=0), "numbers were added"),
    "axis gone": (lambda x: x.map_blocks(np.sum, axis=0, drop_axis=0, dtype="f8"), "coded axis"),
    "other axes": (lambda x: x.mean(axis=1), None),
    "median": (lambda x: da.median(x.rechunk({0: -1}), axis=0), ""),
    "variance": (lambda x: x.var(axis=0), ""),
    "running": (lambda x: x.cumsum(axis=0), "running sum"),
    "product over it": (lambda x: x.T @ matrix((12,), 3), "contracts"),
    "own weights of rows": (lambda x: (x * matrix((12, 1), (3, 1))).sum(axis=0), "differ along"),
}


@pytest.mark.parametrize("name", NOT_CODED)
def test_what_is_no_sum_of_plain_rows_is_not_summed(name):
    build, reason = NOT_CODED[name]
    y = build(encode(matrix((12, 8), (3, 4)), scale=name == "scaled rows"))
    found, refusals = programs(y)
    assert not any(program.summed for program in found)
    if reason is not None:
        assert any(reason in refusal.reason for refusal in refusals), refusals
    check(y)


def test_numbers_added_to_sums_are_left_to_plain_dask():
    x = encode(matrix((12, 8), (3, 4)), scale=False)
    kept = x.map_blocks(np.sum, axis=0, keepdims=True, chunks=((1,) * 4, (4, 4)), dtype="f8")
    for y in (
        kept + 1.0,
        kept - da.ones(8, chunks=4),
        da.concatenate([kept, da.ones((4, 1), chunks=1)], 1),
    ):
        assert check(y) == 2, "up to the sums"


NO_TOTALS = {
    "read before it is whole": lambda x: (y := x.sum(axis=0, keepdims=True, split_every=2)) + y.sum(axis=0),
    "trees that share sums": lambda x: da.stack([x.sum(axis=0, split_every=k) for k in (2, 3)]),
    "another reduction": lambda x: da.reduction(
        x, np.sum, np.max, combine=np.max, axis=0, dtype="f8", concatenate=True
    ),
}


@pytest.mark.parametrize("name", NO_TOTALS)
def test_what_is_no_tree_of_sums_is_not_taken_for_one(name):
    y = NO_TOTALS[name](encode(matrix((12, 8), (3, 4)), scale=False))
    _, of_all = parted(rewritten(y))
    assert not of_all or name == "read before it is whole"
    check(y)


def test_sums_in_many_steps_and_groups():
    x = encode(matrix((36, 8), (3, 4)), scale=False, group=4)
    for y in (x.sum(axis=0, split_every=2), x.mean(axis=0, split_every=3), (x @ W).sum(split_every=2)):
        of_blocks, of_all = parted(rewritten(y))
        assert {len(group.parts) for group in of_all} == {len(of_blocks) // len(of_all)}
        check(y, bound=1024.0)


def test_small_rows_and_nan_are_refused():
    rows = np.ones((12, 8))
    rows[3:6] = 1e-20
    rows[7, 0] = np.nan
    y = encode(da.from_array(rows, chunks=(3, 8)), scale=False).sum(axis=0)
    graph = rewritten(y)
    ((group,), _) = parted(graph)
    values = pieces(graph, group)
    for index in (0, 1, 3):
        with pytest.raises(DecodeRefused):
            decoded(group, values, index, {group.code.systematic[index]})


def test_means_that_are_not_coded_stay_as_they_are():
    x = encode(matrix((12, 8), (3, 4)), scale=False)
    y = da.exp(x).mean(axis=0) + x.mean(axis=0)
    (program,) = programs(y)[0]
    assert check(y) == 2
    assert len([key for key in rewritten(y) if str(key).startswith("('sum-")]) > 0
    assert not any("sum-" in str(key) for key in rewritten(da.exp(x).mean(axis=0)))


def decoded_with_bound(group, values, index):
    """Return what is decoded without the target's own piece, and the bound that the scheduler is told."""
    own = group.code.systematic[index]
    decoding = group.code.plan(set(range(group.code.n)) - {own}, index)
    task = decode_task(group, index, decoding, tuple(group.pieces[t] for t in decoding.used))
    options = {**task.kwargs, "with_bound": True}
    for name in ("label", "affine", "own"):
        options.pop(name)
    sources = [values[group.pieces[t]] for t in decoding.used]
    return decode_block(decoding.weights, sources, task.kwargs["own"], None, **options)


@pytest.mark.parametrize("values", ["normal", "uniform", "few large"])
@pytest.mark.parametrize("count", [100, 10_000, 200_000])
def test_the_bound_holds_for_long_sums(values, count):
    rng = np.random.default_rng(3)
    draw = {
        "normal": lambda: rng.normal(size=(4 * count, 4)),
        "uniform": lambda: rng.random((4 * count, 4)),
        "few large": lambda: np.where(rng.random((4 * count, 4)) < 0.1, 1, 1e-3 * rng.random((4 * count, 4))),
    }
    y = encode(da.from_array(draw[values](), chunks=(count, 4)), scale=False).sum(axis=0)
    graph = rewritten(y)
    ((group,), _) = parted(graph)
    values = pieces(graph, group)
    for index in range(4):
        own = values[group.pieces[group.code.systematic[index]]]
        block, bound = decoded_with_bound(group, values, index)
        assert np.linalg.norm(block - own) <= bound * np.linalg.norm(own)
