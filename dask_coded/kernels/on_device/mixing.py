"""One pass over any number of blocks: the host's side of mix.cu.

Addresses, weights and all else that the kernel looks up go up in one small copy; blocks
are read where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.devices import Backend
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.on_device.shapes import Walk

__all__ = ["Column", "Result", "Table", "mix", "pack"]

FILE = "mix.cu"
MOST_RESULTS = 8  # of one pass: sums are kept in registers
COLUMN = np.dtype([("data", "u8"), ("factors", "u8"), ("stride", "i8"), ("limit", "i8"), ("type", "i8")])
RESULT = np.dtype([("data", "u8"), ("divisors", "u8"), ("stride", "i8"), ("limit", "i8")])
TYPES = {name: place for place, name in enumerate("i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8 c8 c16".split())}
WORK = {
    **{f"{kind}{size}": name for kind in "iu" for size, name in zip((1, 2, 4, 8), (
        "unsigned char", "unsigned short", "unsigned", "Word"), strict=True)},
    "f4": "float", "f8": "double", "c8": "Complex<float>", "c16": "Complex<double>",
}  # fmt: skip
ALIGNMENT = 16
BIG = 2.0**600  # see `Squares` in mix.cu


class Column(NamedTuple):
    """A group of rows of a block: see `Column` in mix.cu. No factors: address 0."""

    data: int
    factors: int
    stride: int
    limit: int
    dtype: np.dtype[Any]


class Result(NamedTuple):
    """A group of rows of the result: see `Result` in mix.cu. No divisors: address 0."""

    data: int
    divisors: int
    stride: int
    limit: int


NOTHING = Result(0, 0, 0, 0)


class Table(NamedTuple):
    """What was measured, (columns or results, rows).

    Parameters
    ----------
    columns, results : ndarray
        2-norms; Inf if a row has NaN or Inf.
    factors, divisors : ndarray
        What rows of columns were multiplied by, those of results divided by; 1 without any.
    """

    columns: NDArray[Any]
    results: NDArray[Any]
    factors: NDArray[Any]
    divisors: NDArray[Any]


def mix(
    backend: Backend,
    weights: NDArray[Any],
    columns: Sequence[Column],
    results: Sequence[Result],
    work: np.dtype[Any],
    walk: Walk,
    measured: bool = False,
) -> Table | None:
    """Combine columns into results, scaled on the way; all of them at once up to `MOST_RESULTS`.

    Parameters
    ----------
    backend : Backend
        Where they are.
    weights : ndarray, shape (results, columns)
        Real weights for complex `work` are taken too.
    columns, results : sequences
        What is read and written.
    work : numpy.dtype
        Of the arithmetic and the results.
    walk : Walk
        The shape of a group.
    measured : bool
        Return a `Table`: the only case in which the host waits for the device.
    """
    if work.kind == "c" and weights.dtype.kind != "c" and all(c.dtype.kind == "c" for c in columns):
        work, walk = real_dtype(work), walk._replace(inner=2 * walk.inner)
        columns = [
            Column(data, factors, 2 * stride, 2 * limit, real_dtype(dtype))
            for data, factors, stride, limit, dtype in columns
        ]
        results = [Result(data, back, 2 * stride, 2 * limit) for data, back, stride, limit in results]
    weights = weights.astype(work)
    tables = []
    for first in range(0, len(results), MOST_RESULTS):
        part = slice(first, first + MOST_RESULTS)
        tables.append(_one_pass(backend, weights[part], columns, results[part], work, walk, measured))
    # One read at the end, for the decision whether to accept what was decoded: a few numbers for each row.
    return _table([backend.download(t) for t in tables], len(columns), len(results)) if measured else None


def _one_pass(
    backend: Backend,
    weights: NDArray[Any],
    columns: Sequence[Column],
    results: Sequence[Result],
    work: np.dtype[Any],
    walk: Walk,
    measured: bool,
) -> Any:
    count, made = len(columns), 1 << (len(results) - 1).bit_length()
    spare = made - len(results)
    lines = [column[:4] + (TYPES[column.dtype.str[1:]],) for column in columns]
    weights = np.concatenate([weights, np.zeros((spare, count), work)])
    up, starts = pack(np.array(lines, COLUMN), np.array([*results, *[NOTHING] * spare], RESULT), weights)
    lookup = backend.upload(up)
    table = backend.zeros((4, count + made, walk.rows), np.float64) if measured else None
    across = measured and walk.across(work.itemsize)
    backend.launch(
        (FILE, f"mix<{WORK[work.str[1:]]},{made},{str(measured).lower()}>"),
        walk.threads(work.itemsize, across),
        *(backend.address(lookup) + start for start in starts),
        0 if table is None else table,
        count,
        walk.planes,
        walk.rows * walk.inner,
        walk.inner,
        across,
    )
    return table


def pack(*arrays: NDArray[Any]) -> tuple[NDArray[np.uint8], list[int]]:
    """Return the bytes of arrays one after another, and where each begins."""
    data, starts = b"", []
    for array in arrays:
        data += bytes(-len(data) % ALIGNMENT)
        starts.append(len(data))
        data += array.tobytes()
    return np.frombuffer(data, np.uint8), starts


def _table(parts: Sequence[NDArray[Any]], columns: int, results: int) -> Table:
    with np.errstate(all="ignore"):
        found = [(_norms(part), np.where(part[3] == 0, 1.0, part[3])) for part in parts]
    norms, scales = (
        np.concatenate([part[columns:] for part in each])[:results] for each in zip(*found, strict=True)
    )
    return Table(found[0][0][:columns], norms, found[0][1][:columns], scales)


def _norms(part: NDArray[Any]) -> NDArray[Any]:
    large, middle, small = np.sqrt(part[:3])
    norms: NDArray[Any] = np.hypot(np.hypot(large * BIG, middle), small / BIG)
    norms[np.isnan(norms)] = np.inf
    return norms
