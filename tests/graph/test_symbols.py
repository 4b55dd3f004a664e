"""Symbolic blocks: what a rule lets through is linear, treats rows alike, and has the shape it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dask_coded.graph import linear  # noqa: F401 registers the rules
from dask_coded.graph.symbols import RULES, Barrier, Symbol

SHAPE = (4, 5, 4)
RNG = np.random.default_rng(0)
ROW = RNG.normal(size=4)
SQUARE = RNG.normal(size=(4, 4))
WIDE = RNG.normal(size=(4, 3))

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "negative": lambda x: -x,
    "positive": lambda x: +x,
    "conjugate": np.conjugate,
    "real": lambda x: x.real,
    "imag": lambda x: x.imag,
    "scaled": lambda x: 3 * x,
    "divided": lambda x: x / 7.0,
    "divided by rows": lambda x: x / (1.0 + ROW**2),
    "times rows": lambda x: x * ROW,
    "times columns": lambda x: x * ROW[:, None, None],
    "times a cube": lambda x: x * RNG.normal(size=(1, 5, 1)),
    "broadcast": lambda x: x * np.ones((2, 1, 1, 1)),
    "divides": lambda x: 1.0 / x,
    "added to itself": lambda x: x + 2 * x,
    "turned and added": lambda x: x + x.T[:, :4, :].T if x.shape[1] == 4 else x + np.transpose(x, (2, 1, 0)),
    "less itself flipped": lambda x: x - x[:, :, ::-1],
    "plus one": lambda x: x + 1.0,
    "plus nothing": lambda x: x + 0.0,
    "plus rows": lambda x: ROW - x,
    "plus columns": lambda x: x + ROW[:, None, None],
    "plus one, then a product": lambda x: (x + 1.0) @ WIDE,
    "squared": lambda x: x * x,
    "absolute": np.abs,
    "exponential": np.exp,
    "greater": lambda x: x > 0,
    "sum": lambda x: np.sum(x),
    "sum of the last": lambda x: np.sum(x, axis=-1),
    "sum of the first": lambda x: x.sum(axis=0, keepdims=True),
    "sum of two": lambda x: np.sum(x, axis=(1, 2)),
    "added up": lambda x: np.add.reduce(x, axis=1),
    "running sum": lambda x: np.cumsum(x, axis=1),
    "running sum of all": lambda x: np.cumsum(x),
    "largest": lambda x: np.max(x, axis=1),
    "transpose": np.transpose,
    "transpose to an order": lambda x: np.transpose(x, (1, 0, 2)),
    "T": lambda x: x.T,
    "squeeze": lambda x: np.squeeze(x[:, :1], axis=1),
    "expand": lambda x: np.expand_dims(x, (0, 2)),
    "stack": lambda x: np.stack([x, -x], axis=1),
    "joined first": lambda x: np.concatenate([x, x], axis=0),
    "joined last": lambda x: np.concatenate([x, 2 * x], axis=-1),
    "joined with nothing": lambda x: np.concatenate([x, np.zeros((4, 5, 1))], axis=2),
    "joined with ones": lambda x: np.concatenate([x, np.ones((4, 5, 1))], axis=2),
    "taken": lambda x: np.take(x, [1, 0, 1], axis=1),
    "taken flat": lambda x: np.take(x, [1, 0, 1]),
    "reshape": lambda x: np.reshape(x, (4, 5, 2, 2)),
    "reshape, rest": lambda x: x.reshape(4, -1),
    "reshape that mixes": lambda x: x.reshape(5, 16),
    "slices": lambda x: x[:, 1:4:2],
    "slices of the first": lambda x: x[1:3],
    "reversed first": lambda x: x[::-1],
    "number": lambda x: x[..., 2],
    "list": lambda x: x[:, [0, 3, 3]],
    "truths": lambda x: x[:, np.array([True, False, True, True, False])],
    "new axes": lambda x: x[None, ..., None],
    "whole": lambda x: x[0:4, :, 0:4],
    "broadcast to": lambda x: np.broadcast_to(x, (2, 4, 5, 4)),
    "product": lambda x: x @ WIDE,
    "product from the left": lambda x: RNG.normal(size=(2, 5)) @ x,
    "product in batches": lambda x: x @ np.broadcast_to(WIDE, (4, 4, 3)),
    "tensordot": lambda x: np.tensordot(x, SQUARE, axes=([2], [0])),
    "tensordot, other side": lambda x: np.tensordot(SQUARE, x, axes=1),
    "einsum": lambda x: np.einsum("abc,cd->dba", x, SQUARE),
    "einsum, batch": lambda x: np.einsum("abc,ad->abd", x, SQUARE),
    "einsum, diagonal": lambda x: np.einsum("aba->ab", x),
    "fft": lambda x: np.fft.fft(x, axis=1),
    "fft, longer": lambda x: np.fft.fft(x, n=7, axis=-1),
    "rfft": lambda x: np.fft.rfft(x, axis=2) if x.dtype.kind == "f" else x @ WIDE,
    "irfft": lambda x: np.fft.irfft(x, axis=1),
    "to single": lambda x: x.astype(np.complex64 if x.dtype.kind == "c" else np.float32),
    "to integers": lambda x: x.astype(np.int64),
    "own product": lambda x: x @ x.transpose(0, 2, 1),
}


@pytest.mark.parametrize("dtype", ["f8", "c16"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("uniform", [True, False])
def test_what_passes_is_linear_row_by_row(axis: int, dtype: str, uniform: bool) -> None:
    for name, run in OPERATIONS.items():
        check(name, run, axis, dtype, uniform)


def check(name: str, run: Callable[[Any], Any], axis: int, dtype: str, uniform: bool) -> None:
    try:
        found = run(Symbol(SHAPE, dtype, axis, uniform=uniform))
    except (Barrier, ValueError):
        return
    first, second = (numbers(dtype, seed) for seed in (1, 2))
    with np.errstate(all="ignore"):
        offset = fresh(run, np.zeros_like(first))
        results = [fresh(run, x) for x in (first, second, 2 * first - 3 * second)]
        order = RNG.permutation(SHAPE[axis])
        moved = fresh(run, first.take(order, axis=axis))
    assert found.shape == results[0].shape and found.dtype == results[0].dtype, name
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if found.unit > 1e-10 else {"rtol": 1e-9, "atol": 1e-10}
    assert found.affine or not offset.any(), f"{name} adds numbers"
    assert (offset == offset.take([0], axis=found.axis)).all(), f"{name} adds other numbers to each row"
    expected = 2 * results[0] - 3 * results[1] + 2 * offset
    assert np.allclose(results[2], expected, **tolerance), f"{name} is not linear"
    assert np.allclose(moved, results[0].take(order, axis=found.axis), **tolerance), (
        f"{name}: rows are not alike"
    )


def numbers(dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=SHAPE)
    return values + 1j * rng.normal(size=SHAPE) if dtype == "c16" else values


def fresh(run: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """Run with the same random factors each time."""
    global RNG
    RNG = np.random.default_rng(7)
    return np.asarray(run(x))


def test_most_linear_operations_pass_along_some_axis() -> None:
    barriers = {
        "divides", "squared", "absolute", "exponential", "greater", "sum",
        "running sum of all", "largest", "taken flat", "reshape that mixes", "truths",
        "to integers", "own product",
    }  # fmt: skip
    for name, run in OPERATIONS.items():
        passed = 0
        for axis in range(3):
            try:
                passed += run(Symbol(SHAPE, "f8", axis, uniform=True)).axis is not None
            except (Barrier, ValueError):
                pass
        assert bool(passed) != (name in barriers), name


def test_other_functions_are_barriers() -> None:
    x = Symbol((4, 4), "f8", 0)
    for act in (np.sort, np.linalg.norm, np.linalg.inv, np.mean, float, np.asarray, np.sin, np.median):
        with pytest.raises((Barrier, TypeError)):
            act(x)
    assert np.sort not in RULES


def test_work_and_coarsest_rounding_are_remembered() -> None:
    x = Symbol((4, 4), "f8", 0)
    assert not (2 * x).T.work and (x @ np.ones((4, 2))).T.work
    assert x.astype("f4").astype("f8").unit == np.finfo("f4").eps
