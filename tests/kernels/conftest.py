"""Every kernel test runs with NumPy alone and with compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dask_coded.kernels.backend import have_numba, numpy_only, prepare


@pytest.fixture(autouse=True, scope="session", params=["numpy", "compiled"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "compiled":
        if not have_numba():
            pytest.skip("compiled kernels: Numba is not installed (pip install dask_coded[compiled])")
        prepare()
        yield request.param
        return
    with numpy_only():
        yield request.param
