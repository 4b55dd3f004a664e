"""Cut the targets of a product in groups and choose each group's code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import ceil

from dask_coded import codes
from dask_coded.codes import Code
from dask_coded.graph.cost import Verdict, group_limit
from dask_coded.graph.doors import Key
from dask_coded.graph.find import CodedAxis, Product
from dask_coded.graph.lanes import Lane
from dask_coded.graph.settings import Settings

__all__ = ["Part", "balanced", "parity_code", "parts"]

Rows = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """Lanes that decode together.

    Parameters
    ----------
    code : Code
        Its target w is ``lanes[w]``.
    axes : tuple of int
        Which of the product's coded axes this code codes.
    rows : tuple of tuples of int
        Block rows along each of `axes`, in the code's order.
    lanes : tuple of Lane
        For two axes the second varies fastest.
    """

    code: Code
    axes: tuple[int, ...]
    rows: tuple[Rows, ...]
    lanes: tuple[Lane, ...]


def balanced(members: Sequence[int], limit: int) -> list[Rows]:
    """Cut `members` in as few groups of at most `limit` as possible, alike in size.

    No group is left with a single member, even where that exceeds `limit` by one.

    Examples
    --------
    >>> balanced(range(7), 4)
    [(0, 1, 2, 3), (4, 5, 6)]
    >>> balanced(range(3), 2)
    [(0, 1, 2)]
    """
    count = max(1, min(ceil(len(members) / limit), len(members) // 2))
    base, longer = divmod(len(members), count)
    ends = [base * (i + 1) + min(i + 1, longer) for i in range(count)]
    return [tuple(members[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def parts(
    product: Product, verdict: Verdict, lanes: Mapping[Key, Lane], settings: Settings
) -> Iterator[Part]:
    """Yield the groups of a product: its lanes, cut along the coded axes."""
    alive = [lane for lane in lanes.values() if _elements(product, lane)]
    if len(verdict.axes) == 1:
        yield from _columns(verdict, alive, 0, settings)
    else:
        yield from _grids(verdict, alive, settings)


def _elements(product: Product, lane: Lane) -> bool:
    """Tell whether the target has elements; empty blocks are nobody's worry."""
    coordinates = lane.target[1:]
    return all(lengths[i] for lengths, i in zip(product.blocks.chunks, coordinates, strict=True))


def _columns(verdict: Verdict, lanes: list[Lane], which: int, settings: Settings) -> Iterator[Part]:
    """Yield groups that are coded along one axis."""
    axis, r = verdict.axes[which], verdict.parity[which]
    limit = group_limit(settings, (r,))
    columns: dict[tuple[int, ...], dict[int, Lane]] = defaultdict(dict)
    for lane in lanes:
        columns[_without(lane, axis)][lane.rows[which]] = lane
    for column in columns.values():
        rows = sorted(column)
        cuts = [tuple(rows)] if settings.explicit is not None else balanced(rows, limit)
        for cut in cuts:
            if len(cut) >= 2:
                code = _code(len(cut), r, max(axis.lengths[row] for row in cut), settings)
                yield Part(code, (which,), (cut,), tuple(column[row] for row in cut))


def _without(lane: Lane, *axes: CodedAxis) -> tuple[int, ...]:
    coded = {1 + axis.target_axis for axis in axes}
    return tuple(i for d, i in enumerate(lane.target) if d and d not in coded)


def _code(k: int, r: int, length: int, settings: Settings) -> Code:
    if settings.explicit is not None:
        return _fitting(settings.explicit, (k,))
    if settings.code == "replication":
        return _replication(k, 1 + r)
    return parity_code(k, r, length)


def parity_code(k: int, r: int, length: int) -> Code:
    """Return the code for `k` blocks of at most `length` rows with `r` parity blocks."""
    code = _parity(k, r)
    padding = -length % code.sub_blocks
    return code if padding <= length / 4 else _parity(k, r, 1)


# One object for equal codes, so that the scheduler keeps one decoder's plans.
_parity = lru_cache(partial(codes.parity, alternating=True))
_product = lru_cache(codes.product)
_replication = lru_cache(codes.replication)


def _fitting(code: Code, counts: tuple[int, ...]) -> Code:
    """Return the code that the user gave, if it fits."""
    found = tuple(encoding.shape[1] // code.sub_blocks for encoding in code.encodings)
    if found != counts:
        raise ValueError(f"{code!r} encodes {found} blocks, but the array has {counts} along the coded axes")
    if -1 in code.systematic:
        raise ValueError(f"{code!r} has targets without a piece of their own: give a systematic code")
    return code


def _grids(verdict: Verdict, lanes: list[Lane], settings: Settings) -> Iterator[Part]:
    """Yield groups that are coded along rows and columns; what fits no grid is coded along one of them."""
    planes: dict[tuple[int, ...], dict[Rows, Lane]] = defaultdict(dict)
    for lane in lanes:
        planes[_without(lane, *verdict.axes)][lane.rows] = lane
    for plane in planes.values():
        left = dict(plane)
        for rows, columns in _rectangles(verdict, plane, settings):
            members = [(row, column) for row in rows for column in columns]
            if all(member in left for member in members):
                code = _product_code(len(rows), len(columns), verdict, settings)
                yield Part(code, (0, 1), (rows, columns), tuple(left.pop(member) for member in members))
        if settings.explicit is None:
            yield from _columns(verdict, list(left.values()), 0, settings)


def _product_code(p: int, q: int, verdict: Verdict, settings: Settings) -> Code:
    if settings.explicit is not None:
        return _fitting(settings.explicit, (p, q))
    return _product(p, q, *verdict.parity)


def _rectangles(
    verdict: Verdict, plane: Mapping[Rows, Lane], settings: Settings
) -> Iterator[tuple[Rows, Rows]]:
    """Yield rectangles of at least 2 x 2 blocks, whose columns are equally long.

    A decoded block is cropped along the rows only, so columns must not be padded.
    """
    rows = sorted({row for row, _ in plane})
    columns = sorted({column for _, column in plane})
    limit = group_limit(settings, verdict.parity) if settings.explicit is None else len(plane)
    widths: dict[int, list[int]] = defaultdict(list)
    for column in columns:
        widths[verdict.axes[1].lengths[column]].append(column)
    for row_cut in balanced(rows, limit):
        for same in widths.values():
            for column_cut in balanced(same, limit):
                if len(row_cut) >= 2 and len(column_cut) >= 2:
                    yield row_cut, column_cut
