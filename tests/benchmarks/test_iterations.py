"""The benchmark of iterations: its arguments, and which tasks it makes longer; no cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def iterations(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent.parent / "benchmarks"))
    for name in ("harness", "iterations"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import iterations

    yield iterations
    for name in ("harness", "iterations"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--cases", "gradients"], "--cases: unknown gradients; choose from gradient"),
        (["--faults", "none,dead"], "--faults: unknown dead; choose from none"),
        (["--workers", "3"], "--workers must be at least 4"),
        (["--unit", "nan"], "--unit at least 0"),
    ],
)
def test_wrong_arguments_are_named(
    iterations: Any, capsys: pytest.CaptureFixture[str], argv: list[str], says: str
) -> None:
    with pytest.raises(SystemExit):
        iterations.arguments(argv)
    assert says in capsys.readouterr().err


def test_the_products_of_both_graphs_are_told_apart_from_the_rest(iterations: Any) -> None:
    names = ("matmul-getitem", "piece-matmul", "parity-matmul", "chunk_sum")
    assert all(map(iterations.is_product, names))
    others = ("piece-getitem", "chunk_sum-aggregate", "encode-encoded-array", "getitem")
    assert not any(map(iterations.is_product, others))
