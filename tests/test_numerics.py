"""Decoded blocks against exact ones: right within the stated bound, or refused. Never a wrong number."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations

import dask.array as da
import numpy as np
import pytest
from graph.graph_helpers import decoded, groups, pieces, rewritten, value

from dask_coded import codes
from dask_coded.errors import DecodeRefused
from dask_coded.runtime import tasks

WIDE = {"f2": "f8", "f4": "f8", "f8": "g", "c8": "c16", "c16": "G"}
NARROW = 4  # blocks with fewer values in a row are judged as a whole
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in matmul:RuntimeWarning")
exact_judge = pytest.mark.skipif(np.finfo("g").eps > 1e-18, reason="no float wider than float64 here")


def norms(block, axis=None):
    """Return the norm of each row along `axis`, or of the block."""
    others = None if axis is None else tuple(d for d in range(block.ndim) if d != axis)
    return np.sqrt(np.sum(np.abs(block) ** 2, axis=others))


@pytest.fixture
def bounds(monkeypatch):
    """Collect the error bound that each decode states."""
    stated, genuine = [], tasks.decode_block

    def decode_block(*args, **kwargs):
        block, bound = genuine(*args, **kwargs)
        stated.append(bound)
        return block, bound

    monkeypatch.setattr(tasks, "decode_block", decode_block)
    return stated


def losses(x, together=1, **settings):
    """Yield each group, target, decoded block (None: refused) and directly computed block."""
    graph = rewritten(x, **settings)
    for group in groups(graph):
        values = pieces(graph, group)
        for index, target in enumerate(group.targets):
            found = None
            with suppress(DecodeRefused):
                found = decoded(group, values, index, {(index + i) % group.code.q for i in range(together)})
            yield group, target, found, values[group.pieces[index]]


def within(found, true, axis, allowed, direct=None):
    """Tell whether every row is right (or as wrong as the direct one); narrow blocks count as a whole."""
    by = axis if found.size >= NARROW * found.shape[axis] else None
    slack = 0 if direct is None else 20 * norms(direct - true, by)
    return bool((norms(found.astype(true.dtype) - true, by) <= allowed * norms(true, by) + slack).all())


@pytest.mark.parametrize("kind", ["centred", "positive", "mixed blocks", "mixed rows"])
@pytest.mark.parametrize("k, r", [(2, 1), (4, 1), (8, 1), (16, 1), (32, 1), (2, 2), (4, 2), (8, 2), (16, 2)])
@pytest.mark.parametrize("dtype", ["f4", pytest.param("f8", marks=exact_judge)])
def test_at_most_ten_times_the_error_of_the_direct_block(dtype, k, r, kind, bounds):
    rng = np.random.default_rng(k + r)
    draw = rng.random if kind == "positive" else rng.standard_normal
    each = {"mixed blocks": (k, 1, 1), "mixed rows": (k, 64, 1)}.get(kind)
    a = draw((k, 64, 1024)) * (10.0 ** rng.uniform(-8, 8, each) if each else 1)
    a, b = a.reshape(k * 64, 1024).astype(dtype), draw((1024, 32)).astype(dtype)
    true = (a.astype(WIDE[dtype]) @ b.astype(WIDE[dtype])).reshape(k, 64, 32)
    x = da.from_array(a, chunks=(64, -1)) @ da.from_array(b)
    (group,) = groups(graph := rewritten(x, parity=r, axis="rows", group=64))
    values, patterns = pieces(graph, group), [p for p in combinations(range(k + r), r) if p[0] < k]

    def error(block, i):
        """Return the relative error of the block; rows count alike where their magnitudes do not."""
        rows = norms(true[i], 0) if kind == "mixed rows" else norms(true[i])
        return np.sqrt(np.sum((norms(block - true[i], 0) / rows) ** 2))

    for lost in (patterns[j] for j in rng.permutation(len(patterns))[:40]):
        for i in set(lost) & set(range(k)):
            found = decoded(group, values, i, set(lost))
            assert error(found, i) <= 10 * error(values[group.pieces[i]], i)
            assert within(found, true[i], 0, bounds[-1])
            assert bounds[-1] < 512 * np.finfo(dtype).eps  # half the tolerance: nothing ordinary is refused


def all_right(a, b, lengths, settings, bounds):
    """Return for each loss whether it was repaired and not refused; assert that what was is right."""
    x = da.from_array(a, chunks=(lengths, -1)) @ da.from_array(b)
    true, ends, repaired = a.astype("g") @ b.astype("g"), np.cumsum(lengths), []
    for group, (_, row, *_), found, direct in losses(x, settings["parity"], axis="rows", **settings):
        repaired.append(found is not None)
        if found is not None:
            mine = true[ends[row] - lengths[row] : ends[row]]
            assert found.shape == direct.shape and found.dtype == direct.dtype and np.isfinite(found).all()
            assert bounds[-1] <= group.tolerance and within(found, mine, 0, bounds[-1], direct)
    return repaired


def adverse(seed):
    """Return operands with a random selection of everything that can go wrong, and settings."""
    rng = np.random.default_rng(seed)
    sizes = (range(2, 17), (1, 5, 16, 33), (1, 4, 32, 200), (1, 2, 4, 24))
    k, rows, inner, n = (int(rng.choice(size)) for size in sizes)
    lengths = (*rng.integers(0, rows + 1, k - 1).tolist(), rows) if rng.random() < 0.3 else (rows,) * k
    a, b = rng.standard_normal((sum(lengths), inner)), rng.standard_normal((inner, n))

    def mixed(size, probability):
        """Return magnitudes that differ, or ones."""
        return 10.0 ** rng.uniform(-8, 8, size) if rng.random() < probability else np.ones(size)

    a, b = (np.abs(a), np.abs(b)) if rng.random() < 0.2 else (a, b)
    a *= rng.random(a.shape) < rng.choice([0.15, 1], p=[0.2, 0.8])
    a *= np.repeat(mixed(k, 0.5), lengths)[:, None] * mixed((len(a), 1), 0.4)
    inside = mixed(inner, 0.3)
    a, b = a * inside, b / inside[:, None] ** rng.integers(2) * mixed(n, 0.3)
    a[rng.random(len(a)) < rng.choice([0.3, 0], p=[0.2, 0.8])] *= -0.0
    a, b = (a.astype("f4"), b.astype("f4")) if rng.random() < 0.5 else (a, b)
    if rng.random() < 0.1:
        a[rng.integers(len(a)), rng.integers(inner)] = rng.choice([np.nan, np.inf, -np.inf])
    return a, b, lengths, {"parity": int(rng.integers(1, 3)), "scale": bool(rng.random() < 0.85)}


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_right_or_refused(start, bounds):
    repaired = [ok for seed in range(start, start + 50) for ok in all_right(*adverse(seed), bounds)]
    assert len(repaired) > sum(repaired) > len(repaired) / 2


def mixed(chunks, axis, *shape, dtype="f8"):
    """Return an array whose slices along `axis` differ by up to sixteen orders of magnitude."""
    rng = np.random.default_rng(0)
    magnitudes = 10.0 ** rng.uniform(-8, 8, shape[axis]).reshape([-1, *[1] * (len(shape) - axis - 1)])
    values = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype[0] == "c" else 0)
    return da.from_array((values * magnitudes).astype(dtype), chunks=chunks)


A, B, INNER = mixed((16, 15), 0, 64, 30), mixed((15, 8), 1, 30, 24), mixed(15, 0, 30)
OPERATIONS = {
    "matrix by matrix": lambda: A @ B,
    "transposed": lambda: B.T @ A.T,
    "a @ a.T": lambda: A @ A.T,
    "matrix by vector": lambda: A @ B[:, 0],
    "vector by matrix": lambda: A[0] @ B,
    "large columns by small rows": lambda: (A * INNER) @ (B / INNER[:, None]),
    "batches": lambda: da.matmul(mixed((2, 16, 4), 1, 3, 64, 8), mixed((2, 4, 9), 2, 3, 8, 9)),
    "einsum": lambda: da.einsum("ij,jk->ki", A, B),
    "two axes": lambda: da.tensordot(mixed((16, 3, 4), 0, 64, 6, 8), mixed((3, 4, 9), 2, 6, 8, 9)),
    "outer": lambda: da.outer(A[:, 0], B[0]),
    "complex": lambda: A.astype("c16") @ mixed((15, 8), 1, 30, 24, dtype="c16"),
}


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_product_of_mixed_magnitudes(operation, together):
    found = [each for each in losses(OPERATIONS[operation](), together, parity=2) if each[2] is not None]
    assert found
    for group, _, block, direct in found:
        assert within(block, direct.astype(WIDE[group.dtype[1:]]), group.axis, group.tolerance)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("columns", [0, 1, 3, 4, 8])
def test_row_that_is_large_only_where_the_other_operand_is_not(columns, dtype):
    """Scaling such a row drowns its result; among smaller rows the error is all that would be left."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((32, 16)), rng.standard_normal((16, columns) if columns else 16)
    a[1:8] *= 1e-8
    a[0, 0], b[0] = 1e8, 0
    x = da.from_array(a.astype(dtype), chunks=(8, -1)) @ da.from_array(b.astype(dtype))
    assert [found is None for _, _, found, _ in losses(x, axis="rows")] == [True, False, False, False]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_values_reach_no_other_block(bad):
    a, b = np.random.default_rng(0).standard_normal((23, 12)), np.ones((12, 8))
    a[10, 3] = bad
    x = da.from_array(a, chunks=((6, 6, 4, 7), -1)) @ da.from_array(b)
    assert np.array_equal(value(x, rewritten(x)), a @ b, equal_nan=True)
    refused = [found is None for _, _, found, _ in losses(x, axis="rows")]
    assert refused == [True, True, False, True]  # the short block has no row beside the bad one
    a[10, 3], b[5, 2] = 1, bad
    assert all(found is None for _, _, found, _ in losses(da.from_array(a, chunks=(6, -1)) @ b))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_near_the_largest_number(dtype):
    a = np.full((32, 4), np.finfo(dtype).max / 8, dtype)
    fits, overflows = (da.from_array(a, chunks=(8, -1)) @ np.full((4, 4), c, dtype) for c in (1.5, 3))
    assert all(np.array_equal(found, direct) for _, _, found, direct in losses(fits))
    for x, settings in ((fits, {"scale": False, "explicit": codes.parity(4)}), (overflows, {"axis": "rows"})):
        assert [found for _, _, found, _ in losses(x, **settings)] == [None] * 4


@pytest.mark.parametrize("inner", [16, 4096])
@pytest.mark.parametrize("dtype, least", [("f4", -38), pytest.param("f8", -308, marks=exact_judge)])
def test_subnormal_numbers(dtype, least, inner, bounds):
    rng, repaired = np.random.default_rng(0), []
    for powers in [(20, least), (0, least), (least, 0), (least // 2, least // 2 - 1), (30, least - 3)]:
        a, b = (rng.standard_normal(shape).astype("g") for shape in ((32, inner), (inner, 8)))
        a, b = ((v * np.longdouble(10) ** p).astype(dtype) for v, p in zip((a, b), powers, strict=True))
        repaired += all_right(a, b, (8,) * 4, {"parity": 1}, bounds)
    assert {True, False} == set(repaired)


def test_zeros():
    a = np.random.default_rng(0).standard_normal((32, 12))
    a[:8], a[[9, 20]] = 0, -0.0
    for _, (_, row, _), found, _ in losses(da.from_array(a, chunks=(8, -1)) @ np.ones((12, 8)), parity=2):
        zero = ~a[8 * row :][:8].any(axis=1)
        assert not found[zero].any() and not np.signbit(found[zero]).any() and found[~zero].all()
    assert not any(found.any() for _, _, found, _ in losses((0 * A) @ B))


DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
PRODUCTS = (da.matmul, lambda a, b: da.tensordot(a, b, 1), lambda a, b: da.einsum("ij,jk->ik", a, b))


def over_the_range(rng, shape, dtype):
    if dtype[0] in "iu":
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return (rng.standard_normal(shape) > 0) if dtype == "?" else rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("left", DTYPES)
@pytest.mark.parametrize("inner", [12, 4], ids=["one block inside", "three blocks inside"])
@pytest.mark.parametrize("name", PRODUCTS, ids=["matmul", "tensordot", "einsum"])
def test_dtypes(name, inner, left):
    """Integers overflow as in plain Dask or are left alone, floats and mixtures are right or refused."""
    rng, repaired = np.random.default_rng(0), []
    for right in DTYPES:
        a, b = over_the_range(rng, (20, 12), left), over_the_range(rng, (12, 10), right)
        x = name(da.from_array(a, ((6, 6, 6, 2), inner)), da.from_array(b, (inner, 5)))
        found = list(losses(x))
        wraps_twice = x.dtype.kind in "iu" and x.dtype != np.result_type(left, right)
        assert bool(found) == (x.dtype != bool and not wraps_twice)
        for group, _, block, direct in found:
            repaired.append(block is not None)
            assert block is None or block.dtype == direct.dtype == x.dtype
            if x.dtype.kind in "iu":
                assert np.array_equal(block, direct)
            elif block is not None:
                assert within(block, direct.astype(WIDE[x.dtype.str[1:]]), group.axis, group.tolerance)
    assert sum(repaired) > 0.95 * len(repaired)
