"""The input of the example: a tall matrix of numbers, read block by block by the workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["BadInput", "Matrix", "open_matrix", "sample_patches"]

LARGEST = 2**30  # bytes as float64; the example holds a copy in this process to check the results


class BadInput(Exception):
    """The input cannot be used; the message says why."""


class Matrix(Protocol):
    """What `dask.array.from_array` needs: a shape, a dtype and slices."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ndim: int

    def __getitem__(self, index: Any) -> np.ndarray: ...


class NpyMatrix:
    """A .npy file; every worker maps it and reads only the rows that it needs."""

    ndim = 2

    def __init__(self, path: Path):
        self.path = path
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            raise ValueError("it is an archive of several arrays")
        self.shape, self.dtype = mapped.shape, mapped.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.load(self.path, mmap_mode="r")[index]


class Patches:
    """All overlapping patches of some photographs, one a row, made from the photographs on demand.

    Parameters
    ----------
    images : array
        Photographs of one size: (count, height, width, channels), uint8.
    size : int
        Height and width of a patch in pixels.
    stride : int
        Distance between neighbouring patches in pixels.
    """

    ndim = 2
    dtype = np.dtype(np.float64)

    def __init__(self, images: np.ndarray, size: int, stride: int):
        self.images, self.size, self.stride = images, size, stride
        self.grid = self._windows().shape[:3]
        self.shape = (int(np.prod(self.grid)), size * size * images.shape[-1])

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, columns = index
        image, y, x = np.unravel_index(np.arange(self.shape[0])[rows], self.grid)
        patches = self._windows()[image, y, x].reshape(len(image), -1)
        return patches[:, columns] / 255.0 - 0.5

    def _windows(self) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(self.images, (self.size, self.size), axis=(1, 2))
        return windows[:, :: self.stride, :: self.stride]


def sample_patches(size: int, stride: int) -> Matrix:
    """Return the patches of the two photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    return Patches(np.stack(load_sample_images().images), size, stride)


def open_matrix(path: Path, min_rows: int) -> Matrix:
    """Open a .npy file or a Zarr array and check that the example can use it.

    Raises
    ------
    BadInput
        The file is missing or damaged, or does not hold a tall matrix of real numbers.
    """
    if not path.exists():
        raise BadInput(f"{path}: no such file or directory")
    try:
        matrix = open_zarr(path) if path.is_dir() else NpyMatrix(path)
    except (OSError, ValueError, EOFError) as error:
        kind = "a Zarr array" if path.is_dir() else "a .npy file"
        raise BadInput(f"{path}: cannot be read as {kind}: {error}") from None
    check(path, matrix, min_rows)
    return matrix


def open_zarr(path: Path) -> Matrix:
    try:
        import zarr
    except ImportError:
        raise BadInput(f"{path}: is a directory; reading Zarr arrays needs `pip install zarr`") from None
    return zarr.open_array(str(path), mode="r")


def check(path: Path, matrix: Matrix, min_rows: int) -> None:
    if len(matrix.shape) != 2:
        raise BadInput(f"{path}: must be 2-d (rows, columns), is {len(matrix.shape)}-d: {matrix.shape}")
    if matrix.dtype.kind not in "fiu":
        raise BadInput(f"{path}: must hold real numbers, holds {matrix.dtype}")
    rows, columns = matrix.shape
    if columns < 4:
        raise BadInput(f"{path}: needs at least 4 columns, has {columns}")
    if rows < max(min_rows, columns):
        raise BadInput(
            f"{path}: needs at least {max(min_rows, columns)} rows (as many as columns, "
            f"and enough for the workers), has {rows}"
        )
    if rows * columns * 8 > LARGEST:
        size = rows * columns * 8 / 2**30
        raise BadInput(f"{path}: {size:.1f} GiB as float64; this example takes at most {LARGEST / 2**30:.0f}")
