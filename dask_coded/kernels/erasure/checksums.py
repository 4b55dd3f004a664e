"""Checksums at the speed of memory, to find bytes that were damaged at rest or on the way.

A CRC of every byte would cost several times what the parity costs. So the words of a
tile are first added up in columns, and the CRC runs over the sums:

    tile, some 100 KiB in rows      a a a a a a     one row: a prime number of words, so that
    of 1021 words of 8 bytes        b b b b b b     pages, powers of two and halves of a block
                                    c c c           never lie exactly under each other
                                    -----------
    sums modulo 2**64               s s s s s s  -> CRC-32, tile after tile

One changed word changes its sum. Any other damage goes unseen with a chance of 2**-32,
or if all changes in each column of a tile add up to nothing.
"""

from __future__ import annotations

import sys
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.backend import compiled
from dask_coded.kernels.devices import device_of
from dask_coded.kernels.erasure.buffers import Bytes

__all__ = ["POWERS", "WORDS", "RunningChecksum", "checksum"]

WORDS = 1021
ALL_ONES = 0xFFFFFFFF
POLYNOMIAL = 0xEDB88320  # of CRC-32: the highest power is in the lowest bit


def _powers_of_words(most: int) -> NDArray[np.uint32]:
    powers = [1 << 31]
    for _ in range(most):
        powers.append(zlib.crc32(bytes(8), ALL_ONES ^ powers[-1]) ^ ALL_ONES)
    return np.array(powers, np.uint32)


#: x to the power of the bits of 0, 1, .. words modulo the polynomial. What follows some bytes
#: multiplies their remainder by the power of its bits: remainders of parts make that of the whole.
POWERS = _powers_of_words(WORDS)


def checksum(data: Bytes, tile: int) -> int:
    """Return the checksum of some bytes.

    Parameters
    ----------
    data : ndarray, shape (nbytes,), uint8
        Contiguous.
    tile : int
        Bytes of a tile; the checksum depends on it.

    Returns
    -------
    int
        32 bits; depends on all bytes, their order and their number.

    Examples
    --------
    >>> checksum(np.zeros(1, np.uint8), tile=64) == checksum(np.zeros(2, np.uint8), tile=64)
    False
    """
    if (device := device_of([data])) is not None:
        value: int = device.checksum(data, tile)
        return value
    running = RunningChecksum()
    for start in range(0, data.size, tile):
        running.add(data[start : start + tile])
    return running.value()


class RunningChecksum:
    """The checksum of bytes that come tile by tile, while other work has them in cache anyway."""

    def __init__(self) -> None:
        self._size = 0
        self._crc = 0
        self._sums = np.empty(WORDS, "<u8")

    def add(self, tile: Bytes) -> None:
        """Work through the next tile."""
        words = tile[: tile.size // 8 * 8].view("<u8")
        kernels = compiled("bytes") if sys.byteorder == "little" else None
        if kernels is not None:
            kernels.add_up_words(words.ctypes.data, words.size, self._sums)
        else:
            self._add_up(words)
        self._size += tile.size
        self._crc = zlib.crc32(self._sums[: words.size].data, self._crc)
        self._crc = zlib.crc32(tile[8 * words.size :].data, self._crc)

    def _add_up(self, words: NDArray[Any]) -> None:
        if not words.flags.aligned:
            words = words.copy()  # else NumPy is slow
        rows, rest = divmod(words.size, WORDS)
        np.add.reduce(words[: rows * WORDS].reshape(rows, WORDS), axis=0, out=self._sums)
        self._sums[:rest] += words[rows * WORDS :]

    def add_remainder(self, remainder: int, words: int, rest: bytes, size: int) -> None:
        """Work through the next tile, of `size` bytes, of which only results are at hand.

        Parameters
        ----------
        remainder : int
            CRC-32 of the sums, begun with 0 and not inverted at the end.
        words : int
            Number of sums.
        rest : bytes
            Those behind the last word.
        size : int
            Bytes of the tile.
        """
        self._size += size
        self._crc = ALL_ONES ^ remainder ^ _times(ALL_ONES ^ self._crc, int(POWERS[words]))
        self._crc = zlib.crc32(rest, self._crc)

    def value(self) -> int:
        """Return the checksum of all that was added."""
        return zlib.crc32(self._size.to_bytes(8, "little"), self._crc)


def _times(a: int, b: int) -> int:
    """Multiply modulo the polynomial of CRC-32."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return product
