"""Blocks whose bytes are easily changed by accident; each case makes its blocks anew, bit for bit.

They are made where they are needed: pickling would make a strided block contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

__all__ = ["ALONE", "IN_A_ROW", "Maker", "bits"]

#: Takes the number of a block and returns it.
Maker = Callable[[int], np.ndarray]

NESTED = np.dtype([("id", ">u2"), ("inner", [("x", "f4"), ("when", "M8[s]")]), ("grid", "i2", (2, 3))])
ALIGNED = np.dtype([("flag", "i1"), ("value", "f8"), ("end", "i2")], align=True)
OVERLAPPING = np.dtype({"names": ["a", "b"], "formats": ["i4", "u2"], "offsets": [2, 4], "itemsize": 11})
#: Two quiet and two signalling NaNs with payloads, minus zero, the smallest subnormal.
PAYLOADS = [0x7FF8DEADBEEF0001, 0xFFF8000000000007, 0x7FF0000000000001, 0xFFF4000000ABCDEF, 1 << 63, 1]


def noise(count: int, number: int) -> np.ndarray:
    return np.random.default_rng([count, number]).integers(0, 256, count, dtype=np.uint8)


def any_bits(dtype: str | np.dtype, number: int, shape: tuple[int, ...] = (7,)) -> np.ndarray:
    """Return elements of random bytes: NaNs of all kinds, NUL characters, padding that is not zero."""
    dtype = np.dtype(dtype)
    shape = (shape[0] + number, *shape[1:])
    return noise(int(np.prod(shape)) * dtype.itemsize, number).view(dtype).reshape(shape)


def fields_only(dtype: np.dtype, number: int) -> np.ndarray:
    """Return records whose padding is zero: what it holds is lost by any copy."""
    records = np.zeros(5 + number, dtype)
    for name in dtype.names or ():
        records[name] = noise(len(records), number)
    return records


def booleans(number: int) -> np.ndarray:
    return noise(9 + number, number) > 127


def payloads(number: int) -> np.ndarray:
    return np.roll(np.array(PAYLOADS, np.uint64), number).view(np.float64)


def dates(unit: str, number: int) -> np.ndarray:
    values = np.array([0, np.iinfo(np.int64).min, -1, 10**12 + number])
    return values.view(unit)


def text(number: int) -> np.ndarray:
    return np.array(["", "aé", "\0x", "日本\U0001f600", "five!"][: 3 + number], "U5")


def broadcast(number: int) -> np.ndarray:
    return np.broadcast_to(any_bits("f8", number, (4,)), (3, 4 + number))


def broadcast_rows(number: int) -> np.ndarray:
    return np.broadcast_to(any_bits("f8", number, (3,))[:, None], (3 + number, 4))


def read_only(number: int) -> np.ndarray:
    block = any_bits("f8", number)
    block.flags.writeable = False
    return block


def empty(rows: tuple[int, ...], number: int) -> np.ndarray:
    return any_bits("f4", 0, (rows[number], 3)) if rows[number] else np.empty((0, 3), "f4")


def ragged(number: int) -> np.ndarray:
    return any_bits("i2", 0, ([1, 4096, 17][number], 2))


#: Cases of three blocks, one after the other along the first axis.
IN_A_ROW: dict[str, Maker] = {
    **{
        f"any bits of {dtype}": partial(any_bits, dtype)
        for dtype in ("f2", "f4", "f8", ">f8", "c8", "c16", "i1", ">u4", "V7", "S3", "M8[ns]")
    },
    "long double": partial(any_bits, "longdouble"),
    "complex long double": partial(any_bits, "clongdouble"),
    "nested records": partial(any_bits, NESTED),
    "aligned records": partial(fields_only, ALIGNED),
    "overlapping fields": partial(fields_only, OVERLAPPING),
    "one field of records": lambda number: any_bits(NESTED, number)["inner"]["x"],
    "bool": booleans,
    "NaN payloads and minus zero": payloads,
    "dates and NaT": partial(dates, "M8[D]"),
    "times and NaT": partial(dates, "m8[us]"),
    "text": text,
    "transposed": lambda number: any_bits("f8", 0, (5, 4 + number)).T,
    "Fortran order": lambda number: np.asfortranarray(any_bits("c8", number, (4, 5))),
    "axes in the order 1, 2, 0": lambda number: any_bits("i4", number, (3, 4, 5)).transpose(1, 2, 0)[
        :, :, :3
    ],
    "every third, every second": lambda number: any_bits("f4", number, (9, 8))[::3, 1::2],
    "backwards": lambda number: any_bits("f8", number, (4, 5))[::-1, ::-1],
    "backwards, one axis transposed": lambda number: any_bits("f8", number, (6, 5))[:6].T[::-2],
    "stride 0 in rows": broadcast_rows,
    "read-only": read_only,
    "first chunk empty": partial(empty, (0, 3, 2)),
    "last chunk empty": partial(empty, (2, 3, 0)),
    "all chunks empty": partial(empty, (0, 0, 0)),
    "ragged": ragged,
}
#: Cases whose blocks are arrays of their own.
ALONE: dict[str, Maker] = {
    "no axes": lambda number: any_bits("f8", number)[3:4].reshape(()),
    "no axes, records": lambda number: fields_only(ALIGNED, number)[2:3].reshape(()),
    "no axes, text": lambda number: text(number)[2:3].reshape(()),
    "NumPy scalar": lambda number: payloads(number)[0],
    "one element": lambda number: any_bits(">f8", number)[:1],
    "one block": lambda number: any_bits("f8", number, (3, 4)),
    "stride 0 in columns": broadcast,
    "stride 0 everywhere": lambda number: np.broadcast_to(payloads(number)[2], (5, 6)),
    "empty": lambda number: np.empty((number, 0, 3), "M8[s]"),
}


def bits(block: np.ndarray) -> list[bytes]:
    """Return the bytes of each field of a block, in C order: all but the padding between fields."""
    if block.dtype.fields is None:
        return [block.tobytes()]
    return [part for name in block.dtype.fields for part in bits(block[name])]
