"""Random programs on an encoded array: plain Dask's bits without loss, within the bound with each loss."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from encoded_helpers import check, encode, matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.encode import linear

FLIP = linear(np.fliplr, along=1)


def other(draw, x, columns):
    rows = x.shape[1]
    return matrix(
        (rows, columns), (draw(st.integers(1, rows)), draw(st.integers(1, columns))), x.dtype, seed=rows
    )


def product(draw, x):
    return x @ other(draw, x, draw(st.integers(1, 6)))


def slices(draw, x):
    start = draw(st.integers(0, x.shape[1] - 1))
    stop = draw(st.integers(start + 1, x.shape[1]))
    return x[:, start : stop : draw(st.integers(1, 2))]


def fancy(draw, x):
    return x[:, draw(st.lists(st.integers(0, x.shape[1] - 1), min_size=1, max_size=7))]


def joined(draw, x):
    # Not with its negative: a sum that cancels is rounding error in plain Dask too.
    return da.concatenate([x, x * draw(st.sampled_from([2, 3]))], axis=1)


def rechunked(draw, x):
    return x.rechunk({1: draw(st.integers(1, x.shape[1]))})


LINEAR = {
    "product": product,
    "slices": slices,
    "fancy": fancy,
    "joined": joined,
    "rechunked": rechunked,
    "negated": lambda draw, x: -x,
    "scaled": lambda draw, x: x * draw(st.sampled_from([2, 0.5, -3])) if x.dtype.kind != "i" else x * 3,
    "columns scaled": lambda draw, x: x * matrix((x.shape[1],), draw(st.integers(1, x.shape[1])), x.dtype, 3),
    "added": lambda draw, x: x + 2 * x[:, ::-1],
    "turned twice": lambda draw, x: x.T.T,
    "sum kept": lambda draw, x: x.sum(axis=1, keepdims=True),
    "running sum": lambda draw, x: x.cumsum(axis=1),
    "shifted": lambda draw, x: x + 1,
    "rows centred": lambda draw, x: x - x.sum(axis=0) / 7 if x.dtype.kind != "i" else x,
    "with ones": lambda draw, x: da.concatenate([x, da.ones_like(x[:, :1])], axis=1),
    "overlapped": lambda draw, x: x.map_overlap(
        FLIP, depth={1: 1}, boundary=draw(st.sampled_from(["none", "reflect", "periodic", 1])), dtype=x.dtype
    ),
    "flipped": lambda draw, x: x.map_blocks(FLIP, dtype=x.dtype),
    "times its own": lambda draw, x: x @ x[:3].T,
}
#: What is worth decoding; one of them is in every program.
WORK = "product", "sum kept", "running sum", "times its own", "flipped"
STEPS = LINEAR | {
    # barriers: from here on plain Dask
    "squared": lambda draw, x: x * x,
    "saturated": lambda draw, x: x / (1 + abs(x)) if x.dtype.kind != "i" else abs(x),
    "turned": lambda draw, x: x.T,
    "gram": lambda draw, x: x.T @ x,
    "read twice": lambda draw, x: da.concatenate([x @ x.T, x @ x[:2].T, x.T.sum(axis=0)[:, None]], axis=1),
    "summed over rows": lambda draw, x: x.sum(axis=0, keepdims=True),
    "rows reversed": lambda draw, x: x[::-1],
    "compared": lambda draw, x: da.where(x > 0, x, 0),
}


@st.composite
def random_programs(draw):
    lengths = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=6)))
    width = draw(st.integers(1, 9))
    dtype = draw(st.sampled_from(["f8", "f8", "f4", "c16", "i8"]))
    x = matrix((sum(lengths), width), (lengths, draw(st.integers(1, width))), dtype, draw(st.integers(0, 9)))
    most = 1 if dtype == "i8" else 3
    axis = draw(st.sampled_from([0, 0, 1, (0, 1) if x.numblocks[1] > 1 else 0]))
    first = draw(st.lists(st.sampled_from(sorted(LINEAR)), max_size=3))
    names = [*first, draw(st.sampled_from(WORK)), *draw(st.lists(st.sampled_from(sorted(STEPS)), max_size=3))]
    options = {
        "axis": axis,
        "parity": draw(st.integers(1, most)),
        "group": draw(st.integers(2, 4)),
        "scale": draw(st.booleans()),
    }

    def encoded(x):
        return encode(x.T, **options).T if axis == 1 else encode(x, **options)

    y = encoded(x)
    if draw(st.integers(0, 3)) == 0:
        y = y + 2 * encoded(matrix(x.shape, x.chunks, dtype, seed=10))
    for name in names:
        y = STEPS[name](draw, y)
    return y, names


def run(program):
    """Return whether anything was coded."""
    # Long chains may cancel: what counts is that no digit is wrong by more than the code can explain.
    # NumPy has a routine of its own for x @ x.T, if both are one array: a lane has its copy of a view of it.
    return check(program[0], bound=2000.0, same_bits="times its own" not in program[1]) > 0


def test_random_programs():
    coded = []

    @given(random_programs())
    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    def count(program):
        coded.append(run(program))

    count()
    assert sum(coded) >= len(coded) // 2


@pytest.mark.slow
@given(random_programs())
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_a_thousand_random_programs(program):
    run(program)
