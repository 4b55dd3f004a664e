"""The kernels compile for real devices; neither a device nor a driver is needed for that."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dask_coded.kernels.on_device import source
from dask_coded.kernels.on_device.mixing import FILE, WORK

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
FLOATING = ("float", "double", "Complex<float>", "Complex<double>")
MIXES = [
    f"mix<{work},{results},{measured}>"
    for work in sorted(set(WORK.values()))
    for results in (1, 2, 4, 8)
    for measured in ("false", "true")
    if measured == "false" or work in FLOATING
]
ROWS = [
    *(f"row_maxima<{pair}>" for pair in ("Half,unsigned", "float,unsigned", "double,Word")),
    *(f"row_levels<{bits}>" for bits in ("unsigned", "Word")),
    *(f"row_{name}<{real}>" for name in ("factors", "divisors") for real in ("float", "double")),
]
KERNELS = {FILE: MIXES, "rows.cu": ROWS, "bytes.cu": ["xor_rows", "word_sums", "remainders"]}


@pytest.fixture(scope="module")
def nvrtc() -> Any:
    """Return the library of the wheel nvidia-cuda-nvrtc (extra test-cuda)."""
    spec = find_spec("nvidia")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = sorted(
        path for folder in folders for path in Path(folder).glob("**/libnvrtc.so.*") if "alt" not in path.name
    )
    if not found:
        pytest.skip("nvidia-cuda-nvrtc is not installed: pip install 'dask-coded[test-cuda]'")
    return ctypes.CDLL(str(found[-1]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", KERNELS)
def test_kernels_compile(nvrtc: Any, file: str, architecture: str) -> None:
    # A third of them for each, because each takes half a second.
    names = KERNELS[file][ARCHITECTURES.index(architecture) % len(KERNELS[file]) :: 3]
    program = ctypes.c_void_p()
    text = source.source(file).encode()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, file.encode(), 0, None, None)
    for name in names:
        assert not nvrtc.nvrtcAddNameExpression(program, name.encode())
    options = [*source.OPTIONS, f"--gpu-architecture={architecture}"]
    passed = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), passed)
    assert not failed, log_of(nvrtc, program)
    size = ctypes.c_size_t()
    assert not nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) and size.value > 1000
    assert "warning" not in log_of(nvrtc, program)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def log_of(nvrtc: Any, program: Any) -> str:
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, text)
    return text.value.decode()
