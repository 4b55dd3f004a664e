"""Encoded arrays without a cluster."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from dask.core import flatten
from graph_helpers import decoded, error, groups, pieces, value

from dask_coded.encode import encode
from dask_coded.errors import DecodeRefused
from dask_coded.graph.means import with_totals
from dask_coded.graph.optimizer import CodedOptimizer
from dask_coded.graph.programs import find_programs
from dask_coded.graph.settings import Settings

__all__ = ["check", "encode", "programs", "rewritten"]


def programs(x):
    """Return what runs coded in the graph of `x`, and why the rest does not."""
    keys = list(flatten(x.__dask_keys__()))
    return find_programs(with_totals(x.__dask_graph__(), keys, {}), keys, {})


def rewritten(x):
    optimize = CodedOptimizer(Settings(), products=False, warn=pytest.fail)
    return optimize(x.__dask_graph__(), x.__dask_keys__())


def check(x, bound=50.0, same_bits=True):
    """Compare with plain Dask: the same bits if nothing is lost, within `bound` roundoffs if a lane is.

    Returns the number of groups, those of sums of other groups not counted.
    """
    graph = rewritten(x)
    expected = np.asarray(x.compute(scheduler="sync"))
    if same_bits:
        assert np.array_equal(value(x, graph), expected, equal_nan=expected.dtype.kind in "fc")
    else:
        assert np.allclose(value(x, graph), expected, rtol=1e-4 if expected.dtype == "f4" else 1e-12)
    found = groups(graph)
    for group in found:
        values = pieces(graph, group)
        for index in range(len(group.targets)):
            own = group.code.systematic[index]
            try:
                block = decoded(group, values, index, {own})
            except DecodeRefused:
                continue  # what cancels nearly to nothing has no digits to spare
            assert group.parts or block.shape == group.shapes[index]
            unit = float(np.finfo(block.dtype).eps) if block.dtype.kind in "fc" else 0.0
            assert error(block, values[group.pieces[own]]) <= bound * unit
    return sum(not group.parts for group in found)


def matrix(shape, chunks, dtype="f8", seed=0):
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        numbers = numbers + 1j * rng.normal(size=shape)
    if np.dtype(dtype).kind in "iu":
        numbers = rng.integers(0, 100, shape)
    return da.from_array(numbers.astype(dtype), chunks=chunks)
