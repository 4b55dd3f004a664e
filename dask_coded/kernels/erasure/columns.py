"""Arithmetic on the columns of an array code: rotate and add, and solve for lost ones.

All additions are XOR, so there are no signs: adding is subtracting. Work goes stripe by
stripe; a stripe of every output and the few columns of a solve stay in cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dask_coded.kernels.backend import compiled
from dask_coded.kernels.devices import device_of
from dask_coded.kernels.erasure.array_code import ArrayCode, Repair
from dask_coded.kernels.erasure.buffers import Bytes
from dask_coded.kernels.erasure.checksums import RunningChecksum
from dask_coded.kernels.erasure.compiled_stripes import CompiledStripes
from dask_coded.kernels.erasure.stripes import Stripes
from dask_coded.kernels.fresh import fresh

__all__ = ["collect", "syndromes"]

_BATCH = 8  # tiles between two calls of compiled kernels


def syndromes(repair: Repair, nbytes: int, like: Bytes | None = None) -> list[Bytes]:
    """Return arrays to `collect` sources in, one for each output of the repair, where `like` is.

    What is in them is undefined until the first sources are collected.
    """
    if (device := device_of([like])) is not None:
        arrays: list[Bytes] = device.syndromes(repair, nbytes, like)
        return arrays
    shape = (repair.code.size(nbytes),)
    return [fresh(shape, np.dtype(np.uint8)) for _ in repair.outputs]


def collect(
    repair: Repair,
    sums: list[Bytes],
    sources: Sequence[tuple[int, Bytes]],
    nbytes: int,
    checksums: Sequence[RunningChecksum | None],
    last: bool,
    first: bool,
) -> None:
    """Add sources to the sums of the checks, and solve for the outputs once all are there.

    Parameters
    ----------
    repair : Repair
        What is to be got from what.
    sums : list of ndarray
        From `syndromes`.
    sources : sequence of (int, ndarray)
        Pieces and their bytes, each once in all; those shorter than `nbytes` count as
        padded with zeros.
    nbytes : int
        Bytes of the longest block.
    checksums : sequence of RunningChecksum or None
        One for each source, worked out on the way.
    last : bool
        No source is left after these: the sums become the outputs.
    first : bool
        None came before these: what is in the sums is overwritten.
    """
    if (device := device_of(sums)) is not None:
        device.collect(repair, sums, sources, nbytes, checksums, last, first)
        return
    stripes = Stripes(repair, sums, sources)
    kernels = compiled("bytes")
    fast = None if kernels is None else CompiledStripes(kernels, repair, sums, sources)
    tile = repair.code.tile
    for start, stop, unit in _batches(repair.code, nbytes, 1 if any(checksums) else _BATCH):
        if fast is None or not fast.repair(start, stop, unit, first, last):
            stripes.repair(start, stop, unit, first, last)
        for (_, data), running in zip(sources, checksums, strict=True):
            if running is not None and start % tile == 0 and start < data.size:
                running.add(data[start : start + tile])


def _batches(code: ArrayCode, nbytes: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield starts, ends and bytes of a row of stripes in up to `most` tiles."""
    for begin, count, unit in code.runs(nbytes):
        end = begin + count * code.rows * unit
        for start in range(begin, end, most * code.tile):
            yield start, min(start + most * code.tile, end), unit
