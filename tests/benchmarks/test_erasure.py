"""The benchmark of byte-exact parity runs; nothing is asked of its figures here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def test_every_method_is_shown_beside_memcpy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent.parent / "benchmarks"))
    for name in ("erasure", "harness"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from erasure import main

    assert main(["--k", "2", "--mib", "1", "--rounds", "1", "--parities", "1,2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and all("of memcpy" in line for line in lines[1:])
