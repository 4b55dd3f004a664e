"""The benchmark of iterations: its arguments, and which tasks it makes longer; no cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split

import dask_coded as dc
from dask_coded.graph.optimizer import CodedOptimizer
from dask_coded.graph.settings import Settings


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
        (["--kinds", "plain,fast"], "--kinds: unknown fast; choose from plain"),
        (["--kinds", "encoded"], "--kinds: plain is what ratios are to"),
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


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("case", ["gradient", "grid", "products"])
def test_each_block_product_of_a_step_is_made_longer(iterations: Any, case: str, coded: bool) -> None:
    _, square, axes = iterations.CASES[case]
    x = da.ones((12, 12), chunks=(3, 4 if len(axes) > 1 else 12))
    x = dc.encode(x, axis=axes) if coded else x
    y = x @ np.ones((12, 1)) if square else x.T @ (x @ np.ones((12, 1)) - 1.0)
    optimize = CodedOptimizer(Settings(), products=False)
    graph = optimize(y.__dask_graph__(), y.__dask_keys__())
    tell = iterations.is_part if len(axes) > 1 else iterations.is_product
    made = [key for key in graph if tell(key_split(key)) and not key_split(key).startswith("parity")]
    assert len(made) == x.npartitions * (1 if square else 2)
