"""The benchmarks of the kernels run; nothing is asked of their figures here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from dask_coded.kernels.backend import have_numba


def script(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent.parent / "benchmarks"))
    for module in (name, "harness"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return __import__(name)


def test_every_kernel_is_shown_beside_the_ceiling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kernels = script(monkeypatch, "kernels")
    picture = tmp_path / "kernels.png"
    assert kernels.main(["--quick", "--r", "1,2", "--plot", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    backends = 1 + have_numba()
    assert sum(line.startswith("kernel") for line in lines) == 2 * 3
    assert all(len(line.split()) >= 2 + backends for line in lines if line.startswith("kernel"))
    assert sum("after the last" in line for line in lines) == 2 * 2 * backends
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_break_even_names_the_device_and_the_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_even = script(monkeypatch, "break_even")
    assert break_even.main(["--quick"]) == 0
    text = capsys.readouterr().out
    assert "cpu" in text and "pays from" in text
    with pytest.raises(SystemExit):
        break_even.main(["--device", "abacus"])
