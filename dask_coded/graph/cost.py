"""Is coding a product worth it, and along which axis? Figures in, a verdict out.

One parity piece costs as much as a piece, plus the encoding of its operand: every
block of the group is read once for each parity and once more for its scales.
Measured: encoding for one parity and eight blocks takes 13 % of a product with 64
columns, 4 % with 256, and as long as the whole computation for matrix times vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isqrt, prod

import numpy as np

from dask_coded.graph.find import CodedAxis, Product
from dask_coded.graph.settings import Settings

__all__ = ["Verdict", "decide", "group_limit"]

# One core of a few years ago; only ratios and orders of magnitude matter.
FLOPS = {"e": 1e9, "f": 8e10, "d": 4e10, "F": 2e10, "D": 1e10}
INTEGER_FLOPS = 1e9
BYTES = 8e9

LARGEST_GROUP = 16
LARGEST_GRID = 8

# name of an operand and its coded axis -> columns that it meets in all products
Served = Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class Verdict:
    """Whether and how a product is coded, with the estimates behind it.

    Parameters
    ----------
    code : bool
        Code it.
    reason : str
        Why, or why not.
    label : str
        What a user would call the computation.
    layer : str
        The product's layer.
    axes : tuple of CodedAxis
        One axis, or two for a product code.
    parity : tuple of int
        Parity pieces along each of `axes`.
    columns : float
        Columns of other operands that each encoded block serves (the fewest).
    seconds, task_seconds, parity_seconds, encode_seconds : float
        Estimates for one core: the product, one block product, all parity lanes
        and all encoding.
    """

    code: bool
    reason: str
    label: str
    axes: tuple[CodedAxis, ...] = ()
    layer: str = ""
    parity: tuple[int, ...] = ()
    columns: float = 0.0
    seconds: float = 0.0
    task_seconds: float = 0.0
    parity_seconds: float = 0.0
    encode_seconds: float = 0.0

    def __str__(self) -> str:
        what = " and ".join(f"{axis.which} x{len(axis.wanted)}" for axis in self.axes)
        done = f"coded by {what} with parity {self.parity}" if self.code else "left to plain Dask"
        return (
            f"{self.label}: {done}; {self.reason} (estimated core seconds: product {self.seconds:.3g}, "
            f"one task {self.task_seconds:.2g}, parity {self.parity_seconds:.2g}, "
            f"encoding {self.encode_seconds:.2g})"
        )


def decide(products: Sequence[Product], settings: Settings) -> list[Verdict]:
    """Return the verdict on each product of a graph.

    Products that code the same operand alike share its encoding, and its cost.
    """
    served: Counter[tuple[str, int]] = Counter()
    for product in products:
        for axis in product.axes:
            served[_operand(product, axis)] += round(_columns(product, axis))
    return [_decide(product, settings, served) for product in products]


def _decide(product: Product, settings: Settings, served: Served) -> Verdict:
    options = [_estimate(product, axes, settings, served) for axes in _candidates(product, settings)]
    if not options:
        reason = "no parity asked for along an axis with two blocks"
        return Verdict(False, reason, product.label, layer=product.layer)
    return min(options, key=lambda v: (not v.code, v.parity_seconds + v.encode_seconds))


def _operand(product: Product, axis: CodedAxis) -> tuple[str, int]:
    return product.operands[axis.operand].name, axis.axis


def _columns(product: Product, axis: CodedAxis) -> float:
    """Return how many columns of the other operand each row of the coded one meets."""
    return prod(product.sizes.values()) / prod(product.operands[axis.operand].blocks.shape)


def group_limit(settings: Settings, parity: Iterable[int]) -> int:
    """Return how many blocks along one axis a group may have.

    The pieces of a group should find a worker each; never fewer than two blocks.
    """
    counts = tuple(parity)
    if settings.group is not None:
        return settings.group
    if settings.workers is None:
        return LARGEST_GROUP if len(counts) == 1 else LARGEST_GRID // 2
    if len(counts) == 1:
        return min(LARGEST_GROUP, max(2, settings.workers - counts[0]))
    return min(LARGEST_GRID, max(2, isqrt(settings.workers) - max(counts)))


def _candidates(product: Product, settings: Settings) -> list[tuple[CodedAxis, ...]]:
    rows = [axis for axis in product.axes if axis.operand == 0]
    columns = [axis for axis in product.axes if axis.operand == 1]
    if settings.both_axes and rows and columns and settings.axis == "auto" and not _is_integer(product):
        return [(row, column) for row in rows for column in columns]
    if settings.explicit is not None and len(settings.explicit.encodings) == 2:
        return []
    wanted = {"auto": rows + columns, "rows": rows, "columns": columns}[settings.axis]
    if settings.explicit is not None:
        blocks = settings.explicit.encodings[0].shape[1] // settings.explicit.sub_blocks
        fitting = [axis for axis in wanted if len(axis.wanted) == blocks]
        return [(axis,) for axis in fitting or wanted]
    return [(axis,) for axis in wanted if settings.redundancy[axis.operand]]


def _is_integer(product: Product) -> bool:
    return product.blocks.dtype.kind in "iu"


def _parity(product: Product, axes: tuple[CodedAxis, ...], settings: Settings) -> tuple[int, ...]:
    if settings.explicit is not None:
        return (len(settings.explicit.parity),)
    if _is_integer(product) and settings.code != "replication":
        return (1,)  # sums wrap exactly; coefficients other than one would not invert in the ring
    return tuple(settings.redundancy[axis.operand] for axis in axes)


def _estimate(product: Product, axes: tuple[CodedAxis, ...], settings: Settings, served: Served) -> Verdict:
    dtype = product.blocks.dtype
    rate = INTEGER_FLOPS if _is_integer(product) else FLOPS.get(dtype.char, 1e9)
    moved = sum(prod(operand.blocks.shape) * operand.blocks.dtype.itemsize for operand in product.operands)
    seconds = 2 * prod(product.sizes.values()) / rate + moved / BYTES
    parity = _parity(product, axes, settings)
    limit = group_limit(settings, parity)
    work, encode = 1.0, 0.0
    for axis, r in zip(axes, parity, strict=False):
        blocks = len(axis.wanted)
        copying = settings.code == "replication"
        work *= 1 + (r if copying else r * ceil(blocks / limit) / blocks)
        if not copying:
            encode += _encoding(product, axis, r + settings.scale, served)
    verdict = Verdict(
        code=True,
        reason="worth it",
        label=product.label,
        layer=product.layer,
        axes=axes,
        parity=parity,
        columns=min(served[_operand(product, axis)] for axis in axes),
        seconds=seconds,
        task_seconds=seconds / product.block_products,
        parity_seconds=(work - 1) * seconds,
        encode_seconds=encode,
    )
    return _judged(verdict, settings)


def _encoding(product: Product, axis: CodedAxis, passes: int, served: Served) -> float:
    """Return this product's share of the seconds that encoding its operand takes."""
    elements = prod(product.operands[axis.operand].blocks.shape)
    itemsize = max(product.blocks.dtype.itemsize, np.dtype(np.float32).itemsize)
    share = _columns(product, axis) / max(1, served[_operand(product, axis)])
    return passes * elements * itemsize / BYTES * share


def _judged(verdict: Verdict, settings: Settings) -> Verdict:
    code, reason = True, "worth it"
    if settings.force or settings.explicit is not None:
        reason = "forced"
    elif verdict.columns < settings.min_columns and settings.code != "replication":
        code = False
        reason = f"an encoded block serves {verdict.columns:.0f} columns, fewer than {settings.min_columns:g}"
    elif verdict.task_seconds < settings.min_seconds:
        code = False
        reason = f"one task takes {verdict.task_seconds:.1e} s, less than {settings.min_seconds:g} s"
    return replace(verdict, code=code, reason=reason)
