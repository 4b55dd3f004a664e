"""The benchmark of lost workers: its arguments, its tables and its genotypes; no cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODULES = ("harness", "keeping", "recovery", "recovery_bytes", "recovery_cases", "recovery_genotypes")


@pytest.fixture
def recovery(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent.parent / "benchmarks"))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import recovery

    yield recovery
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--cases", "chain,chian"], "unknown chian; choose from iteration"),
        (["--rounds", "0"], "--rounds 0: give at least 1"),
        (["--workers", "3", "--parity", "2"], "--workers 3: give at least 4"),
        (["--load", "-1"], "--load -1.0"),
        (["--unit", "nan"], "--unit nan"),
        (["--machines", "3"], "--machines 3: give at least 4"),
        (["--gb", "0"], "--gb 0.0"),
        (["--distribution", "cauchy"], "invalid choice: 'cauchy'"),
    ],
)
def test_wrong_arguments_are_named(
    recovery: Any, argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        recovery.arguments(argv)
    assert says in capsys.readouterr().err


def test_all_cases_by_default(recovery: Any) -> None:
    setting, options = recovery.arguments([])
    assert options.cases == ["iteration", "chain", "replicas", "sgkit", "block", "throughput"]
    assert all(case.workers(setting) >= setting.parity + 2 for case in recovery.CASES.values())


def test_table_shows_medians_and_verdicts(recovery: Any) -> None:
    samples = {
        "plain": [{"seconds": 1.0, "ratio": 1.0}],
        "coded": [{"seconds": s, "ratio": s / 2} for s in (9.0, 3.0, 2.0)],
    }
    assert [line.split() for line in recovery.table(samples)] == [
        ["seconds", "ratio"],
        ["plain", "1", "1"],
        ["coded", "3", "1.5"],
    ]
    case = recovery.Case("", lambda setting: 1, None, targets={"ratio": 1.5, "seconds": 2.9})
    assert [line.rsplit(maxsplit=1)[1] for line in recovery.verdicts(case, samples)] == ["met", "MISSED"]


def test_the_ways_take_turns_and_warming_up_does_not_count(
    recovery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    orders: list[list[str]] = []

    def play(client: Any, setting: Any, ways: Any) -> dict[str, dict[str, float]]:
        orders.append([way.name for way in ways])
        return {way.name: {"turn": len(orders)} for way in ways}

    monkeypatch.setattr(recovery.keeping, "cluster", lambda workers: nullcontext())
    case = recovery.Case("", lambda setting: 1, play, ways=("plain", "coded"), warm=True)
    samples = recovery.measure(case, None, 2)
    assert orders == [["coded", "plain"], ["plain", "coded"], ["coded", "plain"]]
    assert samples == {"plain": [{"turn": 2}, {"turn": 3}], "coded": [{"turn": 2}, {"turn": 3}]}


def test_missing_genotypes_count_as_the_mean_of_their_variant(recovery: Any) -> None:
    calls = np.array([[0, 2, -1, 1], [-1, -1, -1, -1], [2, 2, 2, -1]], np.int8)
    found = recovery.recovery_genotypes.dosages(calls)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[-1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
