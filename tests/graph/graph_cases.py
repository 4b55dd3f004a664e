"""Products of every shape that the rewriting must know, with values that make errors visible."""

from __future__ import annotations

from collections.abc import Callable

import dask.array as da
import numpy as np


def dense(shape: tuple[int, ...], chunks: object, dtype: str = "f8", seed: int = 0) -> da.Array:
    """Return an array whose rows differ in magnitude if it holds floats."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        return da.from_array(rng.integers(0, 100, shape).astype(dtype), chunks=chunks)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    values *= (2.0 ** rng.integers(-2, 3, shape[0])).reshape(-1, *[1] * (len(shape) - 1))
    return da.from_array(values.astype(dtype), chunks=chunks)


def tall() -> da.Array:
    return dense((40, 20), (8, 5))


def wide() -> da.Array:
    return dense((20, 30), (5, 10), seed=1)


def gram() -> da.Array:
    x = dense((20, 40), (10, 10))
    return x.T @ x


def square() -> da.Array:
    x = dense((24, 24), (6, 6))
    return x @ x


def chained() -> da.Array:
    return (tall() @ wide()) @ dense((30, 16), (10, 8), seed=2)


def from_itself() -> da.Array:
    x = tall()
    return x @ (x.T @ dense((40, 18), (8, 6), seed=3))


def uneven() -> da.Array:
    return dense((37, 20), ((8, 8, 8, 8, 5), (5, 10, 5))) @ dense(
        (20, 30), ((5, 10, 5), (10, 10, 10)), seed=1
    )


def ragged() -> da.Array:
    left = dense((19, 9), ((3, 7, 1, 8), (4, 5)))
    return left @ dense((9, 11), ((4, 5), (6, 2, 3)), seed=1)


def with_empty_blocks() -> da.Array:
    left = dense((19, 9), ((8, 0, 3, 8), (4, 0, 5)))
    return left @ dense((9, 11), ((4, 0, 5), (6, 0, 5)), seed=1)


def tensordot_two() -> da.Array:
    left, right = dense((12, 6, 8), (3, 3, 4)), dense((6, 8, 10), (3, 4, 5), seed=1)
    return da.tensordot(left, right, axes=2)


def tensordot_free() -> da.Array:
    left, right = dense((12, 6, 8), (3, 3, 4)), dense((8, 10), (4, 5), seed=1)
    return da.tensordot(left, right, axes=([2], [0]))


def batched() -> da.Array:
    return da.matmul(dense((3, 12, 8), (2, 3, 4)), dense((3, 8, 10), (2, 4, 5), seed=1))


def broadcast() -> da.Array:
    return da.matmul(dense((3, 12, 8), (2, 3, 4)), dense((8, 10), (4, 5), seed=1))


def two_products() -> da.Array:
    x = tall()
    return x @ wide() + x @ dense((20, 30), (5, 10), seed=4)


def summed() -> da.Array:
    return (tall() @ wide()).sum(axis=0)


def requested_inside() -> da.Array:
    product = tall() @ wide()
    return product[:17, 3:] * 2


def many_contractions() -> da.Array:
    return da.tensordot(dense((12, 40), (3, 4)), dense((40, 6), (4, 3), seed=1), axes=1)


def bool_operand() -> da.Array:
    return tall() @ (wide() > 0)


PROBLEMS: dict[str, Callable[[], da.Array]] = {
    "matmul": lambda: tall() @ wide(),
    "one contraction block": lambda: tall().rechunk((8, 20)) @ wide().rechunk((20, 10)),
    "columns only": lambda: tall().rechunk((40, 5)) @ wide(),
    "dot": lambda: da.dot(tall(), wide()),
    "vector": lambda: tall() @ dense((20,), 5, seed=1),
    "vector on the left": lambda: dense((40,), 8, seed=1) @ tall(),
    "lazy operands": lambda: (tall() + 1) @ (wide() * 2),
    "transposed": lambda: wide().T @ tall().T,
    "random operands": lambda: da.random.default_rng(1).random((40, 20), chunks=(8, 5)) @ wide(),
    "a @ a.T": lambda: tall() @ tall().T,
    "tensordot": lambda: da.tensordot(tall(), wide(), axes=1),
    "einsum": lambda: da.einsum("ij,jk->ik", tall(), wide()),
    "einsum transposed": lambda: da.einsum("ij,jk->ki", tall(), wide()),
    "einsum outer": lambda: da.einsum("i,j->ij", dense((40,), 8), dense((30,), 10)),
    "einsum batch": lambda: da.einsum(
        "bij,bjk->bik", dense((3, 8, 6), (1, 2, 3)), dense((3, 6, 4), (1, 3, 2))
    ),
    "einsum own sum": lambda: da.einsum("aij,jk->ik", dense((4, 12, 6), (2, 3, 3)), dense((6, 4), (3, 2))),
    "outer": lambda: da.outer(dense((40,), 8), dense((30,), 10, seed=1)),
    "gram": gram,
    "square": square,
    "chained": chained,
    "from itself": from_itself,
    "uneven": uneven,
    "ragged": ragged,
    "empty blocks": with_empty_blocks,
    "tensordot two axes": tensordot_two,
    "tensordot free axes": tensordot_free,
    "batched": batched,
    "broadcast batch": broadcast,
    "two products": two_products,
    "summed": summed,
    "partly used": requested_inside,
    "many contraction blocks": many_contractions,
    "bool on the other side": bool_operand,
    "one row of blocks wanted": lambda: (tall() @ wide()).blocks[:2, 1],
    "float32": lambda: dense((40, 20), (8, 5), "f4") @ dense((20, 30), (5, 10), "f4"),
    "float16": lambda: dense((40, 20), (8, 5), "f2") @ dense((20, 30), (5, 10), "f2"),
    "complex": lambda: dense((40, 20), (8, 5), "c16") @ dense((20, 30), (5, 10), "c8"),
    "real by complex": lambda: tall() @ dense((20, 30), (5, 10), "c16"),
    "int64": lambda: dense((40, 20), (8, 5), "i8") @ dense((20, 30), (5, 10), "i8"),
    "int32 by float": lambda: dense((40, 20), (8, 5), "i4") @ wide(),
    "int8 in one block": lambda: dense((40, 20), (8, 20), "i1") @ dense((20, 30), (20, 10), "i1"),
    "uint8 by int64": lambda: dense((40, 20), (8, 5), "u1") @ dense((20, 30), (5, 10), "i8"),
}
