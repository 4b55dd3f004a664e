"""What an encoded array tells the scheduler: groups whose parity rebuilds any block."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest

from dask_coded.encode import encode
from dask_coded.graph.encoded import encoded_arrays
from dask_coded.runtime.shelf import SCALES, KeptEncodedGroup, Shelf
from dask_coded.runtime.tasks import decode_task

NUMBERS = np.random.default_rng(0).normal(size=(23, 8)) * 10.0 ** np.arange(-11, 12)[:, None]


def kept(group):
    parity = tuple(group.group.pieces[t] for t in group.group.code.parity)
    scales = () if group.group.scales is None else (group.group.scales, ("copy", 0))
    blocks = group.group.targets
    return KeptEncodedGroup(
        group.group.name, blocks, parity, "encode", "", group=group.group, tasks=group.tasks, scales=scales
    )


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
@pytest.mark.parametrize("parity", [1, 2])
def test_every_block_is_rebuilt_from_the_tasks_of_its_group(axis, parity):
    x = encode(da.from_array(NUMBERS, chunks=((5, 4, 6, 5, 3), 2)), axis=axis, parity=parity, group=3)
    (encoded,) = encoded_arrays(x.dask)
    groups = encoded.groups()
    assert len({key for group in groups for key in group.group.targets}) == x.npartitions
    assert len({group.group.name for group in groups}) == len(groups)
    pieces = [key for group in groups for key in group.group.pieces]
    assert all(pieces.count(key) == (2 if axis == (0, 1) and key in every(x) else 1) for key in pieces)
    for found in groups:
        group, tasks = kept(found), dict(found.tasks)
        assert all(set(task.dependencies) <= tasks.keys() | every(x) for task in tasks.values())
        needed = [*group.pieces, *group.scales[:1]]
        values = dict(zip(needed, dask.get({**dict(x.dask), **tasks}, needed), strict=True))
        for block in group.blocks:
            plan = group.plan(block, values.keys() - {block})
            sources = [key for number, key in plan.items() if number != SCALES]
            decoding = group.decoding(block, sources)
            task = decode_task(group.group, group.blocks.index(block), decoding, tuple(sources))
            rebuilt = task({key: values[key] for key in task.dependencies})
            assert np.allclose(rebuilt, values[block], rtol=1e-11, atol=0)


def every(x):
    return set(dask.core.flatten(x.__dask_keys__()))


def test_plans_need_scales_and_enough_pieces():
    (encoded,) = encoded_arrays(encode(da.from_array(NUMBERS, chunks=(5, -1)), parity=1, group=3).dask)
    group = kept(encoded.groups()[0])
    first, *others = group.pieces
    scales, copy = group.scales
    assert group.plan(first, {*others, copy})[SCALES] == copy
    assert group.plan(first, {*others, scales, copy})[SCALES] == scales
    assert group.plan(first, set(others)) is None
    assert group.plan(first, {*others[1:], scales}) is None


def test_integers_have_no_scales():
    (encoded,) = encoded_arrays(encode(da.arange(12, chunks=3)).dask)
    for group in encoded.groups():
        assert group.group.scales is None and len(group.tasks) == 1


def test_groups_share_the_scales_of_their_rows():
    (encoded,) = encoded_arrays(encode(da.from_array(NUMBERS, chunks=(5, 2)), parity=1).dask)
    one, other = encoded.groups()[:2]
    assert one.group.scales == other.group.scales
    assert not {*one.group.pieces} & {*other.group.pieces}
    shelf = Shelf()
    groups = kept(one), kept(other)
    for group in groups:
        shelf.put(group)
    shelf.take(groups[0])
    assert list(shelf.groups_of[one.group.scales]) == [groups[1]]
    shelf.take(groups[1])
    assert not shelf.groups_of
