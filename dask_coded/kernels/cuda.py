"""Runs kernels on NVIDIA devices through CuPy; the only file that names it.

All work goes to CuPy's current stream of the device that the blocks are on, memory comes
from CuPy's allocator, and nothing but `CupyBackend.download` waits for the device. Kernels
are compiled for the device at hand when they are first used; CuPy keeps them in its cache
on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cupy
import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.devices import Kernel
from dask_coded.kernels.on_device.source import OPTIONS, source

__all__ = ["CupyBackend", "backend_of", "is_available", "prepare"]

BLOCK = 256  # threads
BLOCKS_PER_PROCESSOR = 16  # threads walk on from there: more than are resident at a time

#: Kernels that most decodes and rebuilds need.
COMMON = {
    "mix.cu": [f"mix<{real},1,{norms}>" for real in ("float", "double") for norms in ("true", "false")],
    "rows.cu": [
        *(
            "row_maxima<float,unsigned>",
            "row_maxima<double,Word>",
            "row_levels<unsigned>",
            "row_levels<Word>",
        ),
        *(f"row_{name}<{real}>" for name in ("factors", "divisors") for real in ("float", "double")),
    ],
    "bytes.cu": ["xor_rows", "word_sums", "remainders"],
}


class CupyBackend:
    """The kernels of one device; see `dask_coded.kernels.devices.Backend`.

    Parameters
    ----------
    device : int
        Its number.
    """

    def __init__(self, device: int):
        self._device = device
        self._most = BLOCKS_PER_PROCESSOR * int(self._here().attributes["MultiProcessorCount"])
        self._functions: dict[Kernel, Any] = {}

    def _here(self) -> Any:
        """Return a context of the device; a new one each time, because threads cannot share one."""
        return cupy.cuda.Device(self._device)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        with self._here():
            return cupy.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        with self._here():
            return cupy.zeros(shape, dtype)

    def contiguous(self, array: Any) -> Any:
        with self._here():
            return cupy.ascontiguousarray(array)

    def upload(self, array: NDArray[Any]) -> Any:
        with self._here():
            return cupy.asarray(array)  # by way of pinned memory: the host goes on at once

    def download(self, array: Any) -> NDArray[Any]:
        with self._here():
            data: NDArray[Any] = cupy.asnumpy(array)
        return data

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def compile(self, file: str, expressions: Sequence[str]) -> None:
        """Compile kernels of a file, or find them in the cache on disk."""
        with self._here():
            module = cupy.RawModule(code=source(file), options=OPTIONS, name_expressions=tuple(expressions))
            for expression in expressions:
                self._functions[file, expression] = module.get_function(expression)

    def launch(self, kernel: Kernel, threads: int, *arguments: Any) -> None:
        if threads < 1:
            return
        with self._here():
            if kernel not in self._functions:
                self.compile(kernel[0], [kernel[1]])
            blocks = min(-(-threads // BLOCK), self._most)
            passed = tuple(np.int64(each) if isinstance(each, int) else each for each in arguments)
            self._functions[kernel]((blocks,), (BLOCK,), passed)


def backend_of(arrays: Sequence[Any]) -> CupyBackend:
    """Return the backend of the device that these arrays are on."""
    devices = {int(array.device.id) for array in arrays}
    if len(devices) != 1:
        raise TypeError(
            f"blocks are on devices {sorted(devices)}: give each worker one device, as dask-cuda does,"
            " or copy them to one of them"
        )
    return _backend(devices.pop())


@lru_cache
def _backend(device: int) -> CupyBackend:
    return CupyBackend(device)


def is_available() -> bool:
    """Tell whether there is a device that CuPy can use."""
    return bool(cupy.cuda.is_available())


def prepare() -> bool:
    """Make this process ready to combine blocks on its device; return whether it has one.

    The first use of a device takes long: its context, the first memory of the pools on the device
    and, for uploads, on the host, and the kernels for real numbers, half a second each. None of that
    is left for the first block that has to be decoded in a hurry. The allocator in place is kept, be
    it CuPy's pool or another library's.
    """
    if not is_available():
        return False
    backend = backend_of([cupy.asarray(np.zeros(1))])
    for file, expressions in COMMON.items():
        backend.compile(file, expressions)
    return True
