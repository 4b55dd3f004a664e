"""The order statistics that the benchmark holds its figures against."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dask_coded.testing import Draw


@pytest.fixture
def lower_bound(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent.parent / "benchmarks"))
    monkeypatch.delitem(sys.modules, "bounds", raising=False)
    from bounds import lower_bound

    return lower_bound


def draws(kind: str, factors: list[float]) -> list[Draw]:
    return [Draw("w", (f"{kind}-0123456789abcdef0123456789abcdef", i, 0), f) for i, f in enumerate(factors)]


def test_plain_waits_for_the_slowest(lower_bound):
    assert lower_bound(draws("matmul", [1, 10, 2]), 3, copies=False, late=False) == 10


def test_parity_counts_from_the_start_or_after_a_task(lower_bound):
    found = draws("piece", [1, 10, 1]) + draws("parity", [1.5])
    assert lower_bound(found, 3, copies=False, late=False) == 1.5
    assert lower_bound(found, 3, copies=False, late=True) == 2.5


def test_copies_serve_their_own_block_only(lower_bound):
    found = draws("piece", [1, 10, 4]) + draws("parity", [9, 8])
    assert lower_bound(found, 3, copies=True, late=False) == 8
    assert lower_bound(found[:2], 3, copies=True, late=False) is None
