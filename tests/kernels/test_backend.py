"""Where the arithmetic comes from, and that it is compiled once."""

from __future__ import annotations

import logging
import re
import sys
import threading
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from dask_coded.kernels import backend as backends
from dask_coded.kernels import combine, row_levels
from dask_coded.kernels.erasure import encode


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what was compiled."""
    monkeypatch.setattr(backends, "_ready", {})
    monkeypatch.setattr(backends, "_asked", set())


def test_numpy_can_be_asked_for(backend: str) -> None:
    assert (backends.compiled("d") is None) == (backend == "numpy")
    with backends.numpy_only():
        assert backends.compiled("d") is None
    assert backends.compiled("?") is None


def test_without_numba_numpy_does_all(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "have_numba", lambda: False)
    backends.prepare()
    assert backends.compiled("d") is None and not backends._ready
    assert combine([[2.5]], [np.ones(2)]).tolist() == [[2.5, 2.5]]


def test_what_cannot_be_compiled_is_told(
    fresh: None, backend: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "have_numba", lambda: True)
    monkeypatch.setitem(sys.modules, "dask_coded.kernels.compiled", None)
    with caplog.at_level(logging.WARNING):
        first = backends.compiled("bytes")
        for thread in threading.enumerate():
            if thread.name.startswith("compile kernels"):
                thread.join(60)
    assert first is None and backends.compiled("bytes") is None
    assert ("NumPy is used instead" in caplog.text) == (backend == "compiled")


def test_each_kernel_is_compiled_for_what_it_is_called_with(backend: str) -> None:
    """Otherwise a task would wait for the compiler."""
    if backend == "numpy":
        pytest.skip("only compiled kernels are compiled")
    kernels = backends.compiled("d")
    assert kernels is not None
    combine(np.ones((2, 3)), [np.ones((70, 70))] * 3)
    assert len(kernels.mix_segments.signatures) == 2
    assert len(kernels.largest_bits.signatures) == 2
    encode([np.ones(99)] * 3, 2)
    row_levels(np.ones((3, 4)), 0)
    assert len(kernels.add_up_words.signatures) == 1
    assert len(kernels.xor_stripes.signatures) == 1


@pytest.mark.parametrize("module", ["floats", "levels", "rows", "xor"])
def test_kernels_kept_on_disk_are_not_used_after_a_part_of_them_has_changed(module: str) -> None:
    """Numba looks at the contents of the file of a kernel only, not at those of the files it imports from."""
    folder = Path(backends.__file__).parent / "compiled"
    source = (folder / f"{module}.py").read_text()
    parts = sorted(re.findall(r"^from dask_coded.kernels.compiled.(\w+) import", source, re.MULTILINE))
    digest = sha256("".join((folder / f"{part}.py").read_text() for part in parts).encode()).hexdigest()
    assert parts and f'PARTS = "{digest[:8]}"' in source, f"set PARTS of {module}.py to {digest[:8]}"
