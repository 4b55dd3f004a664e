"""What kernel tests run on: NumPy alone, compiled kernels, the CPU in place of a device, a real device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fake_gpu
import numpy as np
import pytest
from device_cases import Device

from dask_coded.kernels.backend import have_numba, numpy_only, prepare


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run kernel tests with NumPy alone, and where Numba is installed with compiled kernels too."""
    if "backend" in metafunc.fixturenames:
        on_device = metafunc.module.__name__.startswith("test_cuda")
        found = ["numpy"] if on_device or not have_numba() else ["numpy", "compiled"]
        metafunc.parametrize("backend", found, indirect=True, scope="session")


@pytest.fixture(autouse=True, scope="session")
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "compiled":
        prepare()
        with pytest.MonkeyPatch.context() as patch:
            # So that small blocks are cut in tiles, and not left to NumPy.
            patch.setattr("dask_coded.kernels.runs._SHORTEST", 1)
            patch.setattr("dask_coded.kernels.compiled_mixing._TILE", 1 << 9)
            yield request.param
        return
    with numpy_only():
        yield request.param


@pytest.fixture(scope="session", params=["shim", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    if request.param == "cupy":
        import cupy

        return Device(cupy.asarray, cupy.ndarray)
    if fake_gpu.compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA kernels on the CPU with")
    return Device(lambda block: fake_gpu.BACKEND.upload(np.asarray(block)), fake_gpu.FakeGPU)


@pytest.fixture
def no_transfers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where anything is copied from the device of the CPU to the host."""

    def refuse(array: Any) -> np.ndarray:
        raise AssertionError("copied to the host")

    monkeypatch.setattr(fake_gpu.FakeBackend, "download", refuse)
