"""Stripes of an array code with compiled kernels: what `stripes` does, with one call for many."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.erasure.array_code import Repair
from dask_coded.kernels.erasure.buffers import Bytes
from dask_coded.kernels.erasure.schedule import Line, schedule

__all__ = ["CompiledStripes"]


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
        unknown, self._rows = len(repair.points), repair.code.rows
        self._run = kernels.repair_stripes
        self._arrays = sums, [data for _, data in sources]  # also keeps them where they are
        self._sizes = np.array([data.size for _, data in sources], np.int64)
        self._places = _addresses(sums), _addresses([data for _, data in sources])
        self._shifts = _table([repair.shifts(piece) for piece, _ in sources], len(sums))
        solved = [repair.shifts(piece)[unknown:] for piece in repair.erased]
        found = schedule(repair.points, repair.code.prime)
        self._plan = unknown, _flat(found.lines), _table(solved, len(sums) - unknown)
        more = found.rows - unknown * self._rows if found.lines else 0
        self._room = np.empty((more, repair.code.stripe // self._rows), np.uint8)

    def repair(self, start: int, stop: int, unit: int, first: bool, last: bool) -> bool:
        """Do as `Stripes.repair`; false, and nothing is done, if a source ends between start and stop."""
        if ((self._sizes > start) & (self._sizes < stop)).any():
            return False
        there = self._sizes > start
        sums, sources = self._places
        count = (stop - start) // (self._rows * unit)
        shape, room = (self._rows, unit, count), self._room.ctypes.data
        where = sources[there] + start
        self._run(sums + start, where, self._shifts[there], self._plan, room, shape, first, last)
        return True


def _addresses(arrays: Sequence[Bytes]) -> NDArray[np.int64]:
    return np.array([array.ctypes.data for array in arrays], np.int64)


def _table(shifts: Sequence[Sequence[int | None]], width: int) -> NDArray[np.int64]:
    found = [[-1 if shift is None else shift for shift in each] for each in shifts]
    return np.array(found, np.int64).reshape(len(found), width)


def _flat(lines: Sequence[Line]) -> tuple[NDArray[np.int64], ...]:
    """Return the targets of the lines, where their sources end, and the sources of all."""
    ends = np.cumsum([len(sources) for _, sources in lines], dtype=np.int64)
    terms = [row for _, sources in lines for row in sources]
    return np.array([target for target, _ in lines], np.int64), ends, np.array(terms, np.int64)
