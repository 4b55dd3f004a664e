"""Sums of bytes, and XORs of rows in stripes of an array code.

Lines of 64 bytes are worked on at a time, of eight rows if there are as many.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_coded.kernels.compiled.jit import LINE, at, jit, prefetch, xor_byte, xor_line

__all__ = ["add_up_words", "xor_stripes"]

#: Of the modules that these kernels are made of too: Numba compares no more than this file with what it kept.
PARTS = "5c811285"

_BYTE, _WORD = np.dtype(np.uint8), np.dtype(np.uint64)
_FIRST_HALF, _SECOND_HALF = 1, 2  # of the rows that are added at a time: what is fetched beside them


@jit()
def add_up_words(address: int, words: int, sums: Any) -> None:
    """Put the sums of so many words into `sums`: word i goes to sum i modulo their number."""
    sums[:] = 0
    for start in range(0, words, sums.size):
        line = at(address + 8 * start, min(sums.size, words - start), _WORD)
        for i in range(line.size):
            sums[i] += line[i]


@jit()
def _xor(target: int, rows: Any, halves: Any, size: int, more: bool, ahead: int, fetch: int) -> None:
    whole = size - size % LINE
    for i in range(0, whole, LINE):
        if fetch & _FIRST_HALF:
            prefetch(halves[0], i + ahead)
        if fetch & _SECOND_HALF:
            prefetch(halves[1], i + ahead)
        if more:
            xor_line(target, (target, *rows), i)
        else:
            xor_line(target, rows, i)
    for i in range(whole, size):
        if more:
            xor_byte(target, (target, *rows), i)
        else:
            xor_byte(target, rows, i)


@jit()
def _xor_rows(target: int, r: Any, size: int, ahead: int, fetch: int) -> None:
    """Put the XOR of the rows at the addresses `r` at `target`, which may be the first of them.

    Meanwhile what is `ahead` bytes behind one or both halves of the rows is fetched.
    """
    if r.size == 0:
        at(target, size, _BYTE)[:] = 0
    j = 0
    while r.size - j >= 8:
        a, b = (r[j], r[j + 1], r[j + 2], r[j + 3]), (r[j + 4], r[j + 5], r[j + 6], r[j + 7])
        _xor(target, (*a, *b), (a, b), size, j > 0, ahead, fetch)
        j += 8
    if r.size - j >= 4:
        c, d = (r[j], r[j + 1]), (r[j + 2], r[j + 3])
        _xor(target, (*c, *d), (c, d), size, j > 0, ahead, fetch)
        j += 4
    if r.size - j >= 2:
        e, f = (r[j],), (r[j + 1],)
        _xor(target, (*e, *f), (e, f), size, j > 0, ahead, fetch)
        j += 2
    if r.size - j >= 1:
        g = (r[j],)
        _xor(target, g, (g, g), size, j > 0, ahead, fetch)


@jit()
def xor_stripes(pieces: Any, room: int, lines: Any, shape: Any) -> None:
    """Do XORs of rows, the same in each stripe.

    Parameters
    ----------
    pieces : ndarray of int64
        Addresses of the first stripe of each piece. Row i of piece j has the number
        ``j * (rows + 1) + i``; the last of a piece, and all behind the pieces, lie in `room`.
    room : int
        Address of as many rows.
    lines : (targets, ends, sources, spans, fetches), each an ndarray of int64
        Row ``targets[i]`` becomes the XOR of the rows ``sources[ends[i - 1] : ends[i]]``, which it may
        be the first of; so do the rows behind it of those behind the others, ``spans[i]`` in all. Meanwhile
        the same rows of the next stripe are fetched: 0 none, 1 and 2 those of the first and the second
        half of the sources, 3 all.
    shape : (rows, unit, count)
        Rows of a stripe, bytes of a row, and stripes that follow each other.
    """
    targets, ends, sources, spans, fetches = lines
    if targets.size == 0:
        return
    rows, unit, count = shape
    size = rows * unit
    where = np.empty(max(targets.max(), sources.max() if sources.size else 0) + 1, np.int64)
    step = np.zeros(where.size, np.int64)
    for number in range(where.size):
        piece, row = divmod(number, rows + 1)
        if piece < pieces.size and row < rows:
            where[number], step[number] = pieces[piece] + row * unit, size
        else:
            where[number] = room
            room += unit
    found = np.empty(sources.size, np.int64)
    for stripe in range(count):
        begin = 0
        for line in range(targets.size):
            end = ends[line]
            for j in range(begin, end):
                found[j] = where[sources[j]]
            fetch = fetches[line] if stripe + 1 < count else 0
            _xor_rows(where[targets[line]], found[begin:end], spans[line] * unit, size, fetch)
            begin = end
        where += step
