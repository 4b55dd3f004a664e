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
        with pytest.MonkeyPatch.context() as patch:
            # So that small blocks are cut in tiles, and not left to NumPy.
            patch.setattr("dask_coded.kernels.runs._SHORTEST", 1)
            patch.setattr("dask_coded.kernels.compiled_mixing._TILE", 1 << 9)
            yield request.param
        return
    with numpy_only():
        yield request.param
