"""What the loss of a worker costs: plain persist, copies and parity side by side.

Three ways of keeping an array in the memory of a cluster, each run in turn on one cluster with Dask's own
settings: `dask.persist`, the same with `client.replicate` (one copy for each worker that may be lost, and
the active memory manager as it is), and `dask_coded.persist`. Workers are killed as by SIGKILL; nannies
start new ones. Loading and products sleep, so that only the schedule counts, but for the cases ``block``
and ``throughput``, where bytes are moved.

    python benchmarks/recovery.py                        # everything once
    python benchmarks/recovery.py --cases iteration,chain --rounds 5
    python benchmarks/recovery.py --cases replicas --watch 60
    python benchmarks/recovery.py --cases throughput --gb 2 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import median
from typing import Any

import harness
import keeping
import recovery_bytes
import recovery_cases
import recovery_genotypes
from recovery_cases import Case, Figures, Setting

CASES: dict[str, Case] = {**recovery_cases.CASES, **recovery_genotypes.CASES, **recovery_bytes.CASES}

#: Samples of each way, one for each round.
Samples = Mapping[str, Sequence[Figures]]


def measure(case: Case, setting: Setting, rounds: int) -> Samples:
    """Run all ways in turn, in turning order."""
    samples: dict[str, list[Figures]] = {name: [] for name in case.ways}
    with keeping.cluster(case.workers(setting)) as client:
        for number in range(-case.warm, rounds):
            turn = number % len(case.ways)
            ways = [keeping.WAYS[name] for name in (*case.ways[turn:], *case.ways[:turn])]
            found = case.play(client, setting, ways)
            if number >= 0:
                for name, figures in found.items():
                    samples[name].append(figures)
    return samples


def middle(found: Sequence[Figures]) -> Figures:
    """Return the median of each figure over the rounds."""
    return {name: median(figures[name] for figures in found) for name in found[0]}


def table(samples: Samples) -> list[str]:
    """Return a line for each way, with the medians."""
    names = list(next(iter(samples.values()))[0])
    lines = [f"  {'':10}" + "".join(f"   {name}" for name in names)]
    for way, found in samples.items():
        values = middle(found).items()
        lines.append(f"  {way:10}" + "".join(f"   {value:>{len(name)}.4g}" for name, value in values))
    return lines


def verdicts(case: Case, samples: Samples) -> list[str]:
    """Return what became of the targets."""
    coded = middle(samples["coded"])
    return [
        f"  target: coded, {name} at most {most:g}: {'met' if coded[name] <= most else 'MISSED'}"
        for name, most in case.targets.items()
    ]


def arguments(argv: list[str] | None) -> tuple[Setting, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., Any] = parser.add_argument
    add("--cases", default="all", help=f"some of {','.join(CASES)}")
    add("--rounds", type=int, default=1, help="runs of each way in each case (default: 1)")
    add("--workers", type=int, default=5, help="workers of the small cases (default: 5)")
    add("--parity", type=int, default=1, help="parity pieces, or copies, in the small cases (default: 1)")
    add(
        "--load", type=float, default=0.3, help="seconds that a chunk of the small cases takes (default: 0.3)"
    )
    add("--watch", type=float, default=10.0, help="replicas: seconds to watch (default: 10)")
    add("--machines", type=int, default=16, help="sgkit: workers (default: 16)")
    add("--unit", type=float, default=0.5, help="sgkit: seconds of a product; a load has 4 (default: 0.5)")
    add("--mib", type=int, default=32, help="block, throughput: MiB of a block (default: 32)")
    add("--gb", type=float, default=0.5, help="throughput: GB to persist (default: 0.5)")
    add(
        "--distribution",
        choices=("uniform", "normal"),
        default="uniform",
        help="block, throughput: of the random numbers; normal ones take longer (default: uniform)",
    )
    add("--json", type=Path, help="write all samples to this file")
    options = parser.parse_args(argv)
    options.cases = list(CASES) if options.cases == "all" else options.cases.split(",")
    for wrong in complaints(options):
        parser.error(wrong)
    return Setting(**{each.name: getattr(options, each.name) for each in fields(Setting)}), options


def complaints(options: argparse.Namespace) -> list[str]:
    """Return what is wrong with the options."""
    unknown = [name for name in options.cases if name not in CASES]
    rules = [
        (not unknown, f"--cases: unknown {', '.join(unknown)}; choose from {', '.join(CASES)}"),
        (options.rounds >= 1, f"--rounds {options.rounds}: give at least 1"),
        (options.parity >= 1, f"--parity {options.parity}: give at least 1"),
        (
            options.workers >= options.parity + 2,
            f"--workers {options.workers}: give at least {options.parity + 2}, two more than --parity",
        ),
        (options.load >= 0, f"--load {options.load}: give seconds, 0 or more"),
        (options.watch >= 0, f"--watch {options.watch}: give seconds, 0 or more"),
        (options.machines >= 4, f"--machines {options.machines}: give at least 4, as two are lost"),
        (options.unit > 0, f"--unit {options.unit}: give seconds above 0"),
        (options.mib >= 1, f"--mib {options.mib}: give at least 1"),
        (options.gb > 0, f"--gb {options.gb}: give a size above 0"),
    ]
    return [text for holds, text in rules if not holds]


def main(argv: list[str] | None = None) -> int:
    setting, options = arguments(argv)
    print(f"{setting}, {options.rounds} rounds, medians; {harness.machine()}")
    results: dict[str, Samples] = {}
    for name in options.cases:
        case = CASES[name]
        print(f"{name}: {case.title}; {case.workers(setting)} workers", flush=True)
        results[name] = measure(case, setting, options.rounds)
        print("\n".join([*table(results[name]), *verdicts(case, results[name])]), flush=True)
    if options.json:
        record = {"setting": asdict(setting), "machine": harness.machine(), "samples": results}
        options.json.write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
