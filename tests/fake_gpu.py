"""Arrays that stand for CuPy's where there is no device, and a device that runs kernels on the CPU.

`FakeGPU` has what the package and dask.array use of `cupy.ndarray`, is as strict as it, and never
turns into a NumPy array unless `.get()` is called. The kernels that run on it are the CUDA sources
of the package, compiled with a C++ compiler; see tests/kernels/cuda_shim.h.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dask_coded.kernels.devices import BACKENDS, Kernel
from dask_coded.kernels.on_device.source import OPTIONS, source

__all__ = ["FakeGPU", "backend_of", "compiler", "transfers"]

BACKENDS["fake_gpu"] = "fake_gpu"

SHIM = Path(__file__).parent / "kernels" / "cuda_shim.h"
HANDLED = {
    getattr(np, name)
    for name in (
        "allclose argsort broadcast_to concatenate copyto dot einsum empty_like expand_dims full_like"
        " isclose matmul mean moveaxis ones_like squeeze stack sum take tensordot transpose where zeros_like"
    ).split()
}
CREATED = {np.empty, np.zeros, np.ones, np.full, np.arange, np.eye, np.asarray, np.array, np.asanyarray}


def unwrap(value: Any) -> Any:
    """Return the arrays inside; NumPy arrays of one dimension or more are refused, as by CuPy."""
    if isinstance(value, FakeGPU):
        return value._data
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, list | tuple):
        return type(value)(map(unwrap, value))
    return value


def wrap(value: Any) -> Any:
    """Return results as arrays on the device, those without axes too."""
    if isinstance(value, np.ndarray | np.generic):
        return FakeGPU(value)
    return type(value)(map(wrap, value)) if isinstance(value, list | tuple) else value


class FakeGPU:
    """An array that looks like one of CuPy's.

    Parameters
    ----------
    data : array_like
        Its values. Explicitly made arrays are the only way up, `get` is the only way down.
    """

    __array_priority__ = 100

    def __init__(self, data: Any):
        data = np.asarray(data)
        if data.dtype.char not in "?bhilqBHILQefdFD":
            raise ValueError(f"Unsupported dtype {data.dtype}")
        if data.size and not data.flags.aligned:
            raise ValueError("misaligned address")  # an error of the device, later on
        self._data = data

    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: self._data.size)
    nbytes = property(lambda self: self._data.nbytes)
    itemsize = property(lambda self: self._data.itemsize)
    strides = property(lambda self: self._data.strides)
    flags = property(lambda self: self._data.flags)
    T = property(lambda self: type(self)(self._data.T))
    real = property(lambda self: FakeGPU(self._data.real))
    imag = property(lambda self: FakeGPU(self._data.imag))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = dict(self._data.__array_interface__)
        return {key: interface[key] for key in ("shape", "typestr", "data", "strides")} | {"version": 3}

    def get(self) -> np.ndarray:
        transfers.append(self.nbytes)
        return self._data.copy()

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if out is not None:
            if not all(isinstance(each, FakeGPU) for each in out):
                raise TypeError("out must be on the device")
            kwargs["out"] = tuple(map(unwrap, out))
        result = getattr(ufunc, method)(*map(unwrap, inputs), **{k: unwrap(v) for k, v in kwargs.items()})
        return out[0] if out is not None else wrap(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in CREATED:
            return wrap(function(*map(unwrap, args), **{k: v for k, v in kwargs.items() if k != "like"}))
        if function not in HANDLED:
            raise TypeError(f"no implementation of numpy.{function.__name__} for arrays on the device")
        return wrap(function(*unwrap(args), **{key: unwrap(value) for key, value in kwargs.items()}))

    def __getitem__(self, index: Any) -> FakeGPU:
        return type(self)(self._data[unwrap(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._data[unwrap(index)] = unwrap(value)

    def __len__(self) -> int:
        return len(self._data)

    def __bool__(self) -> bool:
        return bool(self._data)

    def __reduce__(self) -> Any:
        return FakeGPU, (self._data,)

    def __repr__(self) -> str:
        return f"FakeGPU({self._data!r})"

    def __dask_tokenize__(self) -> Any:
        from dask.tokenize import normalize_token

        return "FakeGPU", normalize_token(self._data)


def _method(name: str) -> Any:
    def call(self: FakeGPU, *args: Any, **kwargs: Any) -> Any:
        kwargs = {key: unwrap(value) for key, value in kwargs.items()}
        return type(self)(getattr(self._data, name)(*map(unwrap, args), **kwargs))

    return call


for _name in (
    "all any argmax astype conj copy dot max mean min prod ravel repeat reshape squeeze std sum swapaxes take"
    " transpose var view"
).split():
    setattr(FakeGPU, _name, _method(_name))
for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "matmul": np.matmul,
    "pow": np.power, "floordiv": np.floor_divide, "mod": np.remainder, "xor": np.bitwise_xor,
    "and": np.bitwise_and, "or": np.bitwise_or,
}.items():  # fmt: skip
    setattr(FakeGPU, f"__{_name}__", lambda self, other, ufunc=_ufunc: ufunc(self, other))
    setattr(FakeGPU, f"__r{_name}__", lambda self, other, ufunc=_ufunc: ufunc(other, self))
for _name, _ufunc in {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
}.items():  # fmt: skip
    setattr(FakeGPU, f"__{_name}__", lambda self, other, ufunc=_ufunc: ufunc(self, other))
for _name, _ufunc in {"neg": np.negative, "abs": np.absolute, "invert": np.invert}.items():
    setattr(FakeGPU, f"__{_name}__", lambda self, ufunc=_ufunc: ufunc(self))

# As CuPy calls it: collections are judged by the names of their blocks' types.
ndarray = FakeGPU
FakeGPU.__name__ = FakeGPU.__qualname__ = "ndarray"

#: Bytes of each copy from the device to the host.
transfers: list[int] = []


GUARD = 64  # bytes behind each array
#: What a device would fault on, such as loading several values from where they are not aligned, is a crash.
STRICT = ("-fsanitize=alignment,bounds,shift,integer-divide-by-zero", "-fsanitize-undefined-trap-on-error")


class Memory(bytearray):
    """Memory of the pool: what comes next overwrites it as soon as nothing holds on to it."""

    def __del__(self) -> None:
        self[:] = b"\xa5" * len(self)


def allocate(shape: tuple[int, ...], dtype: Any, filled: bytes = b"\xa5") -> np.ndarray:
    """Return an array in memory of the pool; what nobody writes, or is behind it, does not look right."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not count:
        return np.empty(shape, dtype)
    memory = Memory(filled * count + b"\xa5" * GUARD)
    return np.frombuffer(memory, np.uint8, count).view(dtype).reshape(shape)


class FakeBackend:
    """Runs kernels on `FakeGPU` arrays; one at a time, because the shim has one set of registers."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.launched: list[Kernel] = []

    def empty(self, shape: tuple[int, ...], dtype: Any) -> FakeGPU:
        return FakeGPU(allocate(shape, dtype))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> FakeGPU:
        return FakeGPU(allocate(shape, dtype, b"\0"))

    def contiguous(self, array: FakeGPU) -> FakeGPU:
        assert isinstance(array, FakeGPU)
        if array.flags.c_contiguous:
            return array
        copy = allocate(array.shape, array.dtype)
        copy[...] = array._data
        return FakeGPU(copy)

    def upload(self, array: np.ndarray) -> FakeGPU:
        assert type(array) is np.ndarray
        copy = allocate(array.shape, array.dtype)
        copy[...] = array
        return FakeGPU(copy)

    def download(self, array: FakeGPU) -> np.ndarray:
        return array.get()

    def address(self, array: FakeGPU) -> int:
        return int(array._data.ctypes.data)

    def launch(self, kernel: Kernel, threads: int, *arguments: Any) -> None:
        if threads < 1:
            return
        # An even number of warps, and few enough that all walk more than one step in most tests.
        grid, block = min(-(-threads // 64), 3), 64
        values = [
            ctypes.c_int64(self.address(each) if isinstance(each, FakeGPU) else int(each))
            for each in arguments
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        with self.lock:
            self.launched.append(kernel)
            if compiled(kernel)(grid, block, pointers):
                raise AssertionError(f"threads of a warp of {kernel} do not meet in the same functions")


BACKEND = FakeBackend()


def backend_of(arrays: Sequence[Any]) -> FakeBackend:
    return BACKEND


def compiler() -> str | None:
    """Return a C++ compiler, None if there is none (or no fibers as Linux has them)."""
    if sys.platform != "linux":
        return None
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++") or shutil.which("clang++")


@cache
def compiled(kernel: Kernel) -> Any:
    """Return a kernel as a function of this process: (blocks, threads of a block, addresses of arguments)."""
    file, expression = kernel
    text = f'#include "{SHIM}"\n' + source(file)
    run = f"return shim::run({expression}, grid, block, arguments);"
    text += f'\nextern "C" int run(unsigned grid, unsigned block, void** arguments) {{ {run} }}\n'
    name = hashlib.sha256("".join([text, SHIM.read_text(), *STRICT]).encode()).hexdigest()[:32]
    folder = Path(tempfile.gettempdir()) / f"dask-coded-shim-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp())  # what others have put there is not loaded
    library = folder / f"{name}.so"
    if not library.exists():
        cpp, made = folder / f"{name}-{os.getpid()}.cpp", folder / f"{name}-{os.getpid()}.so"
        cpp.write_text(text)
        found = compiler()
        assert found is not None
        command = [
            found,
            *OPTIONS,
            *STRICT,
            "-O1",
            "-ffp-contract=off",
            "-shared",
            "-fPIC",
            "-o",
            str(made),
            str(cpp),
        ]
        subprocess.run(command, check=True, capture_output=True, text=True)
        cpp.unlink()
        made.rename(library)
    function = ctypes.CDLL(str(library)).run
    function.argtypes = ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p
    return function
