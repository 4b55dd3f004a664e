"""The devices that kernels are tested on: one that the CPU stands for, and a real one."""

from __future__ import annotations

from typing import Any

import fake_gpu
import numpy as np
import pytest
from device_cases import Device


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
