"""Matrix products under stragglers: plain Dask, copies and codes side by side.

Every strategy does the same total work on the same workers under the same
faults, and all but plain Dask go through the same scheduler plugin. The block
products sleep, so that more workers than cores can be simulated and only the
schedule is measured. Rounds interleave the strategies, in turning order.

    python benchmarks/stragglers.py                          # everything, 10 rounds, about half an hour
    python benchmarks/stragglers.py --scenarios tasks --rounds 100 --strategies late-parity,eager-parity
    python benchmarks/stragglers.py --workers 8 --waves 8 --unit 1 --scenarios slow,frozen,killed --rounds 3

``waves`` is the number of block products a worker gets. Eager strategies start
more pieces than there are blocks, so their blocks are fewer and larger.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import harness
import numpy as np
from bounds import lower_bound
from distributed import Client, futures_of
from harness import Fault, Run

import dask_coded as dc
from dask_coded import testing

COLUMNS = 64
ROWS = 32  # of each block: small, the work is slept
DEFAULT_DELAY = testing.Constant()


@dataclass(frozen=True)
class Strategy:
    """A way to run the product.

    `settings` are those of `dask_coded.coded`, None for plain Dask. `grid` has
    the block rows and columns of one wave.
    """

    name: str
    grid: tuple[int, int]
    settings: dict[str, Any] | None = None

    @property
    def blocks(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def late(self) -> bool:
        return bool(self.settings) and self.settings["launch"] == "late"

    @property
    def copies(self) -> bool:
        return bool(self.settings) and self.settings["code"] == "replication"


def strategies(workers: int) -> dict[str, Strategy]:
    """Return the strategies for this many workers.

    Eager parity is (20, 16) for 20 workers; the product code has the most even
    grid of which a row and a column can be parity.
    """
    spare = max(1, workers // 5)
    rows = max(2, int(workers**0.5) - 1)
    columns = max(2, workers // (rows + 1) - 1)
    whole = {"force": True, "group": workers, "axis": "rows"}
    late, eager = {**whole, "launch": "late"}, {**whole, "launch": "eager"}
    found = [
        Strategy("plain", (workers, 1)),
        Strategy("eager-replication", (workers // 2, 1), {**eager, "code": "replication", "parity": 1}),
        Strategy("late-backup-copies", (workers, 1), {**late, "code": "replication", "parity": 1}),
        Strategy("eager-parity", (workers - spare, 1), {**eager, "code": "parity", "parity": spare}),
        Strategy("late-parity", (workers, 1), {**late, "code": "parity", "parity": spare}),
        Strategy(
            "product-code",
            (rows, columns),
            {**eager, "code": "product", "parity": (1, 1), "axis": "auto", "group": max(rows, columns)},
        ),
    ]
    return {strategy.name: strategy for strategy in found}


@dataclass(frozen=True)
class Scenario:
    """What goes wrong: tasks that draw a delay, or a worker at fault."""

    name: str
    fault: Fault = harness.none
    model: testing.Model = DEFAULT_DELAY
    plain_ends: bool = True


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("none"),
        Scenario("tasks", model=testing.Bimodal(0.05, 10.0)),
        Scenario("slow", harness.slow),
        Scenario("frozen", harness.frozen_half_way, plain_ends=False),
        Scenario("killed", harness.killed_half_way),
    )
}


@dataclass(frozen=True)
class Setting:
    """How large the runs are."""

    workers: int
    waves: int
    unit: float

    @property
    def seconds(self) -> float:
        """Seconds of a run in which nothing goes wrong and nothing is lost."""
        return self.waves * self.unit


_fresh = count()


def once(client: Client, setting: Setting, strategy: Strategy, scenario: Scenario, seed: int) -> Run:
    """Run the product once and check the result."""
    harness.settle(client, setting.workers)
    rows, columns = strategy.grid[0] * setting.waves, strategy.grid[1]
    token = next(_fresh)  # new keys: nothing is left of the run before
    a, a_here = harness.spread(client, f"a-{token}", (rows, 1), (ROWS, COLUMNS))
    b, b_here = harness.spread(client, f"b-{token}", (1, columns), (COLUMNS, COLUMNS))
    client.replicate(futures_of(b))
    expected = a_here @ b_here
    unit = setting.unit * setting.workers / strategy.blocks
    delays = testing.delays(client, scenario.model, unit=unit, seed=seed, tasks=harness.is_product)
    found: list[np.ndarray] = []

    def job() -> None:
        if strategy.settings is None:
            found.append((a @ b).compute())
        else:
            with dc.coded(**strategy.settings):
                found.append((a @ b).compute())

    run = harness.timed(client, job, scenario.fault(client, setting.seconds), delays)
    np.testing.assert_allclose(found[0], expected, rtol=1e-8, atol=1e-8)
    return run


@dataclass(frozen=True)
class Sample:
    """A run beside the fault-free plain run of its round."""

    ratio: float
    extra_tasks: float
    moved: int
    bound: float | None


def sample(run: Run, base: float, setting: Setting, strategy: Strategy) -> Sample:
    """Return the figures of one run."""
    blocks = strategy.blocks * setting.waves
    bound = lower_bound(run.draws, blocks, strategy.copies, strategy.late) if setting.waves == 1 else None
    scale = setting.workers / strategy.blocks
    extra = len(run.draws) / blocks - 1
    return Sample(run.seconds / base, extra, run.moved, None if bound is None else bound * scale)


def rounds(
    client: Client, setting: Setting, chosen: list[Strategy], scenario: Scenario, number: int, seed: int
) -> Iterator[tuple[Strategy, Run]]:
    """Yield the runs of one round: plain without fault, then every strategy, in turning order."""
    plain = strategies(setting.workers)["plain"]
    yield Strategy("base", plain.grid), once(client, setting, plain, SCENARIOS["none"], seed)
    turn = number % len(chosen)
    for strategy in chosen[turn:] + chosen[:turn]:
        if strategy.settings is not None or scenario.plain_ends:
            yield strategy, once(client, setting, strategy, scenario, seed)


def measure(
    client: Client, setting: Setting, chosen: list[Strategy], scenario: Scenario, number: int, seed: int
) -> dict[str, list[Sample]]:
    """Return the samples of each strategy over all rounds of a scenario.

    The base is the median of all fault-free plain runs of the scenario.
    """
    runs: dict[str, list[tuple[Strategy, Run]]] = {}
    for i in range(number):
        for strategy, run in rounds(client, setting, chosen, scenario, i, seed + i):
            runs.setdefault(strategy.name, []).append((strategy, run))
        print(f"\r{scenario.name}: round {i + 1} of {number}", end="", file=sys.stderr, flush=True)
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    base = float(np.median([run.seconds for _, run in runs.pop("base")]))
    print(f"{scenario.name}: plain Dask without a fault takes {base:.2f} s")
    return {name: [sample(run, base, setting, s) for s, run in found] for name, found in runs.items()}


def summary(samples: list[Sample]) -> dict[str, float | None]:
    """Return what is printed of a strategy's samples."""
    ratios = [s.ratio for s in samples]
    bounds = [s.bound for s in samples if s.bound is not None]
    return {
        "median": float(np.median(ratios)),
        "p99": float(np.percentile(ratios, 99)),
        "bound_median": float(np.median(bounds)) if bounds else None,
        "bound_p99": float(np.percentile(bounds, 99)) if bounds else None,
        "extra_tasks": float(np.mean([s.extra_tasks for s in samples])),
        "moved_bytes": float(np.mean([s.moved for s in samples])),
    }


HEADER = f"{'':22}{'median':>8}{'p99':>8}{'bound':>8}{'p99':>8}{'extra tasks':>13}{'bytes moved':>13}"


def row(name: str, figures: dict[str, float | None] | None) -> str:
    """Return a line of the table."""
    if figures is None:
        return f"{name:22}{'never':>8}{'never':>8}"
    bound, worst = (
        f"{v:8.2f}" if v is not None else f"{'':8}" for v in (figures["bound_median"], figures["bound_p99"])
    )
    moved = f"{figures['moved_bytes'] / 2**20:9.2f} MiB"
    return (
        f"{name:22}{figures['median']:8.2f}{figures['p99']:8.2f}{bound}{worst}"
        f"{figures['extra_tasks']:12.1%} {moved:>13}"
    )


def choose(names: str, known: dict[str, Any], argument: str) -> list[Any]:
    """Return the entries called `names` (comma-separated)."""
    wanted = list(known) if names == "all" else names.split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"error: {argument}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    return [known[name] for name in wanted]


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., Any] = parser.add_argument
    add("--workers", type=int, default=20, help="worker processes of one thread (default: 20)")
    add("--waves", type=int, default=1, help="block products of a worker (default: 1)")
    add("--unit", type=float, default=1.0, help="seconds of a block product of plain Dask (default: 1)")
    add("--rounds", type=int, default=10, help="runs of each strategy (default: 10)")
    add("--seed", type=int, default=0, help="of the delays that are drawn")
    add("--scenarios", default="all", help=f"some of {','.join(SCENARIOS)}")
    add("--strategies", default="all", help=f"some of {','.join(strategies(20))}")
    add("--json", type=Path, help="write all samples to this file")
    options = parser.parse_args(argv)
    if options.workers < 6 or options.rounds < 1 or options.waves < 1 or not options.unit > 0:
        parser.error("--workers must be at least 6, --rounds and --waves at least 1, --unit above 0")
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    setting = Setting(options.workers, options.waves, options.unit)
    chosen = choose(options.strategies, strategies(options.workers), "--strategies")
    scenarios = choose(options.scenarios, SCENARIOS, "--scenarios")
    print(f"{setting}, {options.rounds} rounds; ratios to the median fault-free run of plain Dask\n{HEADER}")
    results: dict[str, Any] = {}
    with harness.cluster(options.workers) as client:
        dc.install(client)
        for scenario in scenarios:
            found = measure(client, setting, chosen, scenario, options.rounds, options.seed)
            for strategy in chosen:
                samples = found.get(strategy.name)
                print(row(f"  {strategy.name}", summary(samples) if samples else None), flush=True)
            results[scenario.name] = {name: [vars(s) for s in samples] for name, samples in found.items()}
    if options.json:
        record = {"setting": vars(setting), "machine": harness.machine(), "samples": results}
        options.json.write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
