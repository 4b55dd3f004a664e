"""Stripes of an array code with compiled kernels: what `stripes` does, with one call for many.

All of it is XORs of rows. A stripe of all pieces is read from memory for the first sum, in runs
as long as the stripe, and from cache for the others, which have the next stripe fetched meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.erasure.array_code import Repair
from dask_coded.kernels.erasure.buffers import Bytes
from dask_coded.kernels.erasure.schedule import schedule

__all__ = ["CompiledStripes"]

_FIRST_HALF, _SECOND_HALF = 1, 2  # of the sources of a line: what is fetched

Sources = tuple[tuple[int, int], ...]  # which array it is, and which piece of the group
Line = tuple[int, list[int], int, int]  # target, sources, how many rows, what is fetched
Lines = tuple[NDArray[np.int64], ...]  # targets, ends of their sources, these, how many rows, what is fetched


class CompiledStripes:
    """What is got from what, and where it lies.

    Parameters
    ----------
    kernels : module
        From `backend.compiled`.
    repair, sums, sources
        As for `stripes.Stripes`.
    """

    def __init__(
        self,
        kernels: ModuleType,
        repair: Repair,
        sums: Sequence[Bytes],
        sources: Sequence[tuple[int, Bytes]],
    ):
        self._kernels, self._repair = kernels, repair
        self._arrays = [*sums, *(data for _, data in sources)]  # also keeps them where they are
        self._where = np.array([array.ctypes.data for array in self._arrays], np.int64)
        self._sources = tuple((len(sums) + i, piece) for i, (piece, _) in enumerate(sources))
        code = repair.code
        found = schedule(repair.points, code.prime)
        more = len(self._arrays) + found.rows - len(repair.points) * code.prime if found.lines else 0
        self._room = np.empty((more, code.stripe // code.rows), np.uint8)

    def repair(self, start: int, stop: int, unit: int, first: bool, last: bool) -> bool:
        """Do as `Stripes.repair`; false, and nothing is done, if a source ends between start and stop."""
        if any(start < self._arrays[i].size < stop for i, _ in self._sources):
            return False
        rows = self._repair.code.rows
        there = tuple((i, piece) for i, piece in self._sources if self._arrays[i].size > start)
        lines = _lines(self._repair, there, len(self._arrays), first, last)
        shape = rows, unit, (stop - start) // (rows * unit)
        self._kernels.xor_stripes(self._where + start, self._room.ctypes.data, lines, shape)
        return True


@lru_cache(64)
def _lines(repair: Repair, sources: Sources, arrays: int, first: bool, last: bool) -> Lines:
    """Return what `xor_stripes` is to do with rows of so many arrays, sums first, and room behind them."""
    unknown, prime = len(repair.points), repair.code.prime
    lines = [line for output in range(unknown) for line in _sum(repair, output, sources, first)]
    if last:
        end, more = unknown * prime, (arrays - unknown) * prime
        for row, others in schedule(repair.points, prime).lines:
            target, *found = (each if each < end else each + more for each in (row, *others))
            lines.append((target, found, 1, 0))
        sources += tuple(enumerate(repair.erased))
    for output in range(unknown, len(repair.outputs)):
        lines += _sum(repair, output, sources, first)
    ends = np.cumsum([len(found) for _, found, _, _ in lines], dtype=np.int64)
    sources_of_all = [row for _, found, _, _ in lines for row in found]
    targets, spans, fetches = ([line[part] for line in lines] for part in (0, 2, 3))
    return tuple(np.array(each, np.int64) for each in (targets, ends, sources_of_all, spans, fetches))


def _sum(repair: Repair, output: int, sources: Sources, first: bool) -> Iterator[Line]:
    """Yield the lines that add sources to a sum."""
    rows, prime = repair.code.rows, repair.code.prime
    there = [(place, repair.shifts(piece)[output]) for place, piece in sources]
    places = [(place * prime, shift) for place, shift in there if shift is not None]
    rotated = len(repair.outputs) - bool(repair.erased)  # the first sum is not, if columns are lost
    rank = output - len(repair.outputs) + rotated
    if not (first or places):
        return
    if rank < 0:
        own = [] if first else [output * prime]
        yield output * prime, [*own, *(place for place, _ in places)], rows, 0
        return
    fetch = (_FIRST_HALF, _SECOND_HALF, 0)[min(rank, 2)] if rotated > 1 else _FIRST_HALF | _SECOND_HALF
    for row in range(rows):
        target = output * prime + row
        found = [(place, repair.code.source(row, shift)) for place, shift in places]
        own = [] if first else [target]
        yield target, [*own, *(place + source for place, source in found if source is not None)], 1, fetch
