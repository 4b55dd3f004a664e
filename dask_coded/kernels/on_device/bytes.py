"""Erasure codes over bytes on a device: the same bits as those of `kernels.erasure` on the host.

A repair is two linear maps over single bits, which take rows of a stripe to rows of it:

    sources  --rotations of the code-->  sums of the checks  --solution-->  outputs

Both are lists of rows to XOR. The second comes from the schedule that the host follows, so that there is
only one solver.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any

import numpy as np

from dask_coded.kernels.devices import Backend, backend_of
from dask_coded.kernels.erasure.array_code import Repair
from dask_coded.kernels.erasure.buffers import BlockLayout
from dask_coded.kernels.erasure.checksums import POWERS, WORDS, RunningChecksum
from dask_coded.kernels.erasure.schedule import schedule
from dask_coded.kernels.on_device.mixing import pack
from dask_coded.kernels.on_device.shapes import WARP

__all__ = ["as_bytes", "checksum", "collect", "from_bytes", "syndromes"]

FILE = "bytes.cu"
CHUNK = 16  # bytes of a thread
SOURCE = np.dtype([("data", "u8"), ("size", "i8")])
TERM = np.dtype([("source", "i4"), ("row", "i4")])
REMAINDER = np.dtype([("crc", "u4"), ("unused", "u4"), ("rest", "<u8")])

Rows = tuple[tuple[int, ...], ...]  # for each row of each output: which rows of which inputs


def as_bytes(block: Any, layout: BlockLayout) -> Any:
    """Return the bytes of a block, uint8; a view if it lies in memory as `layout` says."""
    backend = backend_of([block])
    if not layout.nbytes:
        return backend.empty((0,), np.uint8)
    return backend.contiguous(block.transpose(layout.order)).reshape(-1).view(np.uint8)


def from_bytes(data: Any, layout: BlockLayout) -> Any:
    """Return the block that has these bytes: a view."""
    shape = tuple(layout.shape[axis] for axis in layout.order)
    flat = data.view(layout.dtype) if layout.nbytes else backend_of([data]).empty((0,), layout.dtype)
    return flat.reshape(shape).transpose(np.argsort(layout.order).tolist())


def syndromes(repair: Repair, nbytes: int, like: Any) -> list[Any]:
    """Return what to `collect` sources in, where `like` is: no bytes yet, which count as zeros."""
    return [backend_of([like]).zeros((0,), np.uint8) for _ in repair.outputs]


def collect(
    repair: Repair,
    sums: list[Any],
    sources: Sequence[tuple[int, Any]],
    nbytes: int,
    checksums: Sequence[RunningChecksum | None],
    last: bool,
    first: bool,
) -> None:
    """Add sources to the sums of the checks, and solve for the outputs once all are there.

    Pieces that are on the host are sent up. The sums are replaced by new arrays; if these sources
    are the first, what was in them does not matter. Sources without a checksum get none.
    """
    backend = backend_of(sums)
    data = [backend.upload(piece) if isinstance(piece, np.ndarray) else piece for _, piece in sources]
    outputs = len(repair.outputs)
    if sources:
        before = syndromes(repair, nbytes, sums[0]) if first else sums
        inputs = [*before, *data]
        sums[:] = _xor(backend, repair, inputs, _rotations(repair, tuple(i for i, _ in sources)), nbytes)
    if last and outputs > 1:
        sums[:] = _xor(backend, repair, sums, _solution(repair), nbytes)
    pairs = [(piece, each) for piece, each in zip(data, checksums, strict=True) if each is not None]
    if pairs:
        _add_up(backend, [piece for piece, _ in pairs], repair.code.tile, [each for _, each in pairs])


def checksum(data: Any, tile: int) -> int:
    """Return the checksum of some bytes, the same as on the host."""
    running = RunningChecksum()
    _add_up(backend_of([data]), [data], tile, [running])
    return running.value()


def _add_up(backend: Backend, pieces: Sequence[Any], tile: int, checksums: Sequence[RunningChecksum]) -> None:
    """Take all of the bytes of each piece into its checksum."""
    sizes = [piece.shape[0] for piece in pieces]
    tiles = [-(-size // tile) for size in sizes]
    sums = backend.empty((max(tiles, default=0), WORDS), np.uint64)
    found = backend.empty((sum(tiles) * REMAINDER.itemsize,), np.uint8)
    powers, place = backend.upload(POWERS), backend.address(found)
    for piece, size, count in zip(pieces, sizes, tiles, strict=True):
        backend.launch((FILE, "word_sums"), count * WORDS, piece, sums, size, tile, WORDS)
        shape = size, tile, WORDS
        backend.launch((FILE, "remainders"), count * WARP, piece, sums, powers, place, *shape)
        place += count * REMAINDER.itemsize
    # The one place where the host waits, for 16 bytes of each tile: checksums decide which pieces are used.
    lines = iter(backend.download(found).view(REMAINDER))
    for size, running in zip(sizes, checksums, strict=True):
        for start in range(0, size, tile):
            line, taken = next(lines), min(tile, size - start)
            rest = line["rest"].tobytes()[: taken % 8]
            running.add_remainder(int(line["crc"]), min(taken // 8, WORDS), rest, taken)


def _xor(backend: Backend, repair: Repair, inputs: Sequence[Any], rows: Rows, nbytes: int) -> list[Any]:
    """Return outputs whose rows are XORs of rows of inputs, stripe by stripe."""
    height, size = repair.code.rows, repair.code.size(nbytes)
    # Each by itself: every dtype can be viewed there, and they are let go one by one.
    outputs = [backend.empty((size,), np.uint8) for _ in repair.outputs]
    pieces = np.array([(backend.address(piece), piece.shape[0]) for piece in inputs], SOURCE)
    ends = np.cumsum([len(terms) for terms in rows], dtype=np.int64)
    terms = np.array([divmod(term, height) for terms in rows for term in terms], "i4").view(TERM)
    up, starts = pack(pieces, np.array(list(map(backend.address, outputs)), np.uint64), ends, terms)
    lookup = backend.upload(up)
    places = [backend.address(lookup) + start for start in starts]
    for start, stripes, unit in repair.code.runs(nbytes):
        threads = -(-unit // CHUNK) * height * len(outputs) * stripes
        shape = len(outputs), height, start, stripes, unit
        backend.launch((FILE, "xor_rows"), threads, *places, *shape)
    return outputs


@lru_cache(256)
def _rotations(repair: Repair, pieces: tuple[int, ...]) -> Rows:
    """Return for each row of each sum its own row and the rows of the pieces that are added to it."""
    height, outputs = repair.code.rows, len(repair.outputs)
    found = []
    for output in range(outputs):
        shifts = [repair.shifts(piece)[output] for piece in pieces]
        for row in range(height):
            sources = [repair.code.source(row, shift) for shift in shifts]
            added = [
                (outputs + n) * height + source for n, source in enumerate(sources) if source is not None
            ]
            found.append((output * height + row, *added))
    return tuple(found)


@lru_cache(256)
def _solution(repair: Repair) -> Rows:
    """Return for each row of each output the rows of sums that it is made of."""
    height, prime, unknown = repair.code.rows, repair.code.prime, len(repair.points)
    made = {c * prime + row: {c * height + row} for c in range(unknown) for row in range(height)}
    for target, rows in schedule(repair.points, prime).lines:
        made[target] = reduce(set.symmetric_difference, [made[row] for row in rows], set())
    columns = [[made[c * prime + row] for row in range(height)] for c in range(unknown)]
    found = [row for column in columns for row in column]
    for output in range(unknown, len(repair.outputs)):
        shifts = [repair.shifts(piece)[output] for piece in repair.erased]
        for row in range(height):
            sources = [repair.code.source(row, shift) for shift in shifts]
            added = [
                column[source] for column, source in zip(columns, sources, strict=True) if source is not None
            ]
            found.append(reduce(set.symmetric_difference, added, {output * height + row}))
    return tuple(tuple(sorted(each)) for each in found)
