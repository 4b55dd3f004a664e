"""Tells blocks that are on a device from those that are not, and finds who computes with them there.

Nothing here imports a library for devices: blocks are asked what they are, and the code
for their kind of device is imported when the first of them comes along.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["BACKENDS", "Backend", "Kernel", "backend_of", "device_of", "on_device_if_any", "prepare"]

#: For each package of arrays on a device the module that runs kernels on them.
BACKENDS = {"cupy": "dask_coded.kernels.cuda"}

#: A file of kernels, and the C++ expression of one of them.
Kernel = tuple[str, str]


class Backend(Protocol):
    """What the kernels need from a device; all work is done in the order in which it is asked for."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a new array in C order."""

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a new array of zeros in C order."""

    def contiguous(self, array: Any) -> Any:
        """Return an array in C order: itself, or a copy."""

    def upload(self, array: NDArray[Any]) -> Any:
        """Return a copy on the device, without waiting for it."""

    def download(self, array: Any) -> NDArray[Any]:
        """Return a copy on the host; waits for all work before it."""

    def address(self, array: Any) -> int:
        """Return where the first element is."""

    def launch(self, kernel: Kernel, threads: int, *arguments: Any) -> None:
        """Run a kernel of about so many threads; arguments are arrays, addresses and whole numbers."""


def device_of(blocks: Iterable[Any]) -> Any:
    """Return the package that computes with blocks on a device, None if they are on the host.

    Raises
    ------
    TypeError
        If only some of them are on a device, or not in arrays of a known kind.
    """
    there = list(map(_is_there, blocks))
    if not any(there):
        return None
    if not all(there):
        raise TypeError(
            "some of the blocks are on a device and some are not: bring all to one side, for CuPy with"
            " x.map_blocks(cupy.asarray) or x.map_blocks(cupy.asnumpy)"
        )
    return import_module("dask_coded.kernels.on_device")


def on_device_if_any(arrays: Iterable[Any]) -> Any:
    """Return the first array that is on a device, else the first one, None if there is none."""
    arrays = list(arrays)
    return next(filter(_is_there, arrays), arrays[0] if arrays else None)


def backend_of(arrays: Iterable[Any]) -> Backend:
    """Return what runs kernels where these arrays are.

    Raises
    ------
    TypeError
        If they are not arrays of one known kind.
    """
    arrays = list(arrays)
    kinds = {type(array).__module__.partition(".")[0] for array in arrays}
    if len(kinds) != 1 or not kinds <= BACKENDS.keys():
        raise TypeError(
            f"blocks on a device must be CuPy arrays, not arrays of {' and '.join(sorted(kinds))}:"
            " convert them, for example with x.map_blocks(cupy.asarray), or to NumPy arrays"
        )
    backend: Backend = import_module(BACKENDS[kinds.pop()]).backend_of(arrays)
    return backend


def prepare() -> bool:
    """Make this process ready for blocks on its device; return False where there is none, or no CuPy."""
    try:
        cuda = import_module(BACKENDS["cupy"])
    except ImportError:
        return False
    return bool(cuda.prepare())


def _is_there(block: Any) -> bool:
    return type(block) is not np.ndarray and hasattr(block, "__cuda_array_interface__")
