"""How CuPy is called, with arrays and kernels that stand for CuPy's own."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import fake_gpu
import numpy as np
import pytest

from dask_coded.kernels import combine, decode_block, devices, encode_block, row_levels
from dask_coded.kernels.erasure import encode, recover
from dask_coded.kernels.on_device.source import source


class Array(fake_gpu.FakeGPU):
    """As CuPy's: knows its device and where it is."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self._data.ctypes.data)

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=int(self.flags.writeable))


Array.__module__ = "cupy"


class Cupy:
    """The part of CuPy that is used; every kernel is run by the shim."""

    ndarray = Array
    empty = staticmethod(lambda shape, dtype: Array(np.empty(shape, dtype)))
    zeros = staticmethod(lambda shape, dtype: Array(np.zeros(shape, dtype)))
    ascontiguousarray = staticmethod(lambda array: Array(np.ascontiguousarray(array._data)))
    asarray = staticmethod(lambda array: Array(array.copy()))
    asnumpy = staticmethod(lambda array: array._data.copy())

    def __init__(self, available: bool):
        self.grids: list[tuple[int, int]] = []
        self.compiled: list[devices.Kernel] = []
        self.inside: list[int] = []
        self.cuda = SimpleNamespace(Device=self.device, is_available=lambda: available)

    def device(self, number: int) -> Any:
        @contextmanager
        def enter() -> Iterator[None]:
            self.inside.append(number)
            yield
            self.inside.pop()

        class Device:
            attributes = {"MultiProcessorCount": 1}
            __enter__ = lambda this: stack.append(enter()) or stack[-1].__enter__()  # noqa: E731
            __exit__ = lambda this, *error: stack.pop().__exit__(*error)  # noqa: E731

        stack: list[Any] = []
        return Device()

    def RawModule(self, *, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> Any:
        assert options == ("-std=c++17",)
        (file,) = [name for name in ("mix.cu", "rows.cu", "bytes.cu") if source(name) == code]

        def get_function(expression: str) -> Any:
            assert expression in name_expressions
            self.compiled.append((file, expression))
            return lambda grid, block, arguments: self.run((file, expression), grid, block, arguments)

        return SimpleNamespace(get_function=get_function)

    def run(self, kernel: devices.Kernel, grid: Any, block: Any, arguments: tuple[Any, ...]) -> None:
        assert self.inside and block[0] % 32 == 0
        self.grids.append((grid[0], block[0]))
        # CuPy passes a NumPy scalar by its size: a kernel that takes 8 bytes must be given 8.
        assert all(isinstance(each, Array) or each.itemsize == 8 for each in arguments)
        values = [
            ctypes.c_int64(each._data.ctypes.data if isinstance(each, Array) else int(each))
            for each in arguments
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        assert fake_gpu.compiled(kernel)(*grid, *block, pointers) == 0


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cupy]:
    if fake_gpu.compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA kernels on the CPU with")
    stand_in = Cupy(available=True)
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    monkeypatch.delitem(sys.modules, devices.BACKENDS["cupy"], raising=False)
    yield stand_in
    sys.modules.pop(devices.BACKENDS["cupy"], None)  # it holds on to the stand-in


def test_kernels_run_through_cupy(cupy: Cupy) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((300, 40)) for _ in range(3)]
    there = [Array(block) for block in blocks]
    result = combine([[1, 2, 3]], there)
    assert type(result) is Array
    np.testing.assert_allclose(result._data, combine([[1, 2, 3]], blocks))
    arguments: Any = {"axis": 0, "length": 300, "shape": (300, 40), "dtype": "f8", "tolerance": 1e-12}
    found = decode_block([[1, -2, -3]], [result[0], *there[1:]], [-1, 1, 2], **arguments)
    np.testing.assert_allclose(found._data, blocks[0], atol=1e-12)
    assert encode(there, 2)[1].data._data.tobytes() == encode(blocks, 2)[1].data.tobytes()
    assert {block for _, block in cupy.grids} == {256} and max(grid for grid, _ in cupy.grids) == 16
    assert not cupy.inside


def test_blocks_of_several_devices_are_refused(cupy: Cupy) -> None:
    first, second = Array(np.ones(3)), Array(np.ones(3))
    second._data.flags.writeable = False
    with pytest.raises(TypeError, match=r"on devices \[0, 1\]: give each worker one device"):
        combine([[1, 1]], [first, second])


def test_a_process_with_a_device_is_made_ready_and_others_left_alone(cupy: Cupy) -> None:
    assert devices.prepare() and not cupy.grids
    blocks = [Array(np.ones((8, 3), dtype)) for dtype in ("f4", "f4", "f8", "f8")]
    made = list(cupy.compiled)
    for pair in (blocks[:2], blocks[2:]):
        levels = [row_levels(block, 0) for block in pair]
        how: Any = {"axis": 0, "length": 8, "dtype": pair[0].dtype}
        parity = encode_block([[1, 1]], pair, levels, **how)
        decode_block(
            [[1, -1]], [parity, pair[1]], [-1, 1], levels, shape=(8, 3), tolerance=1, target=0, **how
        )
        recover([0], {1: pair[1]}, encode(pair, 1))
    assert cupy.compiled == made, "what a decode needs was not compiled before"
    cupy.cuda.is_available = lambda: False
    cupy.asarray = None  # nothing is put anywhere
    assert not devices.prepare()


def test_the_module_is_imported_for_blocks_of_cupy_only() -> None:
    name = devices.BACKENDS["cupy"]
    if name in sys.modules:
        del sys.modules[name]
    importlib.import_module("dask_coded")
    combine([[1, 1]], [np.ones(3)] * 2)
    assert name not in sys.modules
