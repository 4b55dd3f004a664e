"""Principal components of image patches on a cluster with a slow, a killed and a frozen worker.

The input is a tall matrix X: the overlapping patches of the two photographs that come with
scikit-learn, or any tall matrix given with ``--input``. Its rows are projected on its principal
components: the Gram matrix ``X.T @ X``, its eigenvectors V, then the tall product ``X @ V``. The job
runs on a cluster of worker processes, as plain Dask and inside ``dask_coded.coded(parity=1)``, first
undisturbed and then with one worker at fault. Every result is compared with NumPy's.

    python examples/matmul_with_stragglers.py [--quick] [--input FILE] [--output PLOT.png]
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from tall_matrix import BadInput, Matrix, open_matrix, sample_patches

import dask_coded as dc
from dask_coded import testing

COLUMN_BLOCKS = 4
ROW_BLOCKS_PER_WORKER = 2
HEADER = f"{'':27}{'plain':>9}{'coded':>9}{'ratio':>8}{'error':>10}  what the coded run did"
COUNTS = ("late", "rerun", "decoded", "parity_tasks")


@dataclass(frozen=True)
class Job:
    """The input and how it is cut into blocks."""

    matrix: Matrix
    components: int
    workers: int
    seconds: float

    @property
    def chunks(self) -> tuple[int, int]:
        rows, columns = self.matrix.shape
        return -(-rows // (ROW_BLOCKS_PER_WORKER * self.workers)), -(-columns // COLUMN_BLOCKS)

    @property
    def products(self) -> int:
        """Number of block products in both steps together."""
        rows, columns = (-(-n // c) for n, c in zip(self.matrix.shape, self.chunks, strict=True))
        return rows * columns * columns + rows * columns

    @property
    def pause(self) -> float:
        """Seconds that each block product sleeps on top of its own work."""
        return self.seconds * self.workers / self.products


@dataclass(frozen=True)
class Scenario:
    """One fault, and how long it lasts: a context manager around the run."""

    name: str
    fault: Callable[[Client, float], AbstractContextManager[Any]]
    plain: bool = True


@dataclass(frozen=True)
class Outcome:
    """What one run took and gave."""

    seconds: float
    error: float
    report: dict[str, Any]


Outcomes = dict[tuple[str, bool], Outcome]


def project(x: da.Array, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the leading principal axes of `x` and its rows' coordinates along them: the user's code."""
    gram = (x.T @ x).compute()
    _, vectors = np.linalg.eigh(gram)
    axes = np.ascontiguousarray(vectors[:, -components:])
    return axes, (x @ axes).compute()


def slowed(client: Client, half: float) -> AbstractContextManager[Any]:
    return testing.slow(client, last_worker(client), factor=10)


@contextmanager
def killed(client: Client, half: float) -> Iterator[None]:
    timer = Timer(half, testing.kill, (client, last_worker(client)))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def frozen(client: Client, half: float) -> AbstractContextManager[Any]:
    return testing.freeze(client, last_worker(client))


SCENARIOS = [
    Scenario("no fault", lambda client, half: nullcontext()),
    Scenario("one worker 10x slower", slowed),
    Scenario("one worker killed half-way", killed),
    Scenario("one worker frozen", frozen, plain=False),
]


def last_worker(client: Client) -> str:
    return sorted(client.nthreads())[-1]


def is_block_product(name: str) -> bool:
    """Tell the block products, each fused with the first step of its sum, from the rest."""
    return name.replace("_", "-").endswith("chunk-sum")


def run(
    client: Client, job: Job, reference: np.ndarray, fault: AbstractContextManager[Any], coded: bool
) -> Outcome:
    """Run the job once: warm up, read the input onto the workers, start the fault and the clock, project."""
    project(da.ones((64, 16), chunks=(4, 4)), 4)
    x = da.from_array(job.matrix, chunks=job.chunks, name=False).astype(np.float64).persist()
    wait(x)
    stretch = testing.delays(client, testing.Constant(), unit=job.pause, tasks=is_block_product)
    # The estimate of what pays knows the arithmetic only, not the sleep: hence `force`.
    with stretch, fault, dc.coded(parity=1, force=job.pause > 0) if coded else nullcontext():
        began = perf_counter()
        axes, projected = project(x, job.components)
        seconds = perf_counter() - began
    expected = reference @ axes
    error = float(np.abs(projected - expected).max() / np.abs(expected).max())
    return Outcome(seconds, error, dc.report(client).to_dict() if coded else {})


@contextmanager
def cluster(job: Job, dashboard: str) -> Iterator[Client]:
    """Start worker processes of one thread each; their BLAS has one thread too (Dask's nanny sees to it)."""
    settings = {"threads_per_worker": 1, "dashboard_address": dashboard, "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=job.workers, **settings) as local, Client(local) as client:
        yield client


def run_all(job: Job) -> tuple[Outcomes, str]:
    """Run every scenario, plain and coded, each on a cluster of its own, and print a row for each.

    Returns the outcomes and the report of the run with a slow worker.
    """
    reference = job.matrix[:, :].astype(np.float64)
    if not np.isfinite(reference).all():
        raise BadInput("the input has values that are not finite")
    outcomes: Outcomes = {}
    report, dashboard = "", ":0"
    for scenario in SCENARIOS:
        for coded in (False, True) if scenario.plain else (True,):
            half = outcomes["no fault", False].seconds / 2 if outcomes else 0.0
            with cluster(job, dashboard) as client:
                if not outcomes:
                    print(f"Dashboard: {client.dashboard_link}\n\n{HEADER}", flush=True)
                    dashboard = f":{urlsplit(client.dashboard_link).port or 0}"
                outcome = run(client, job, reference, scenario.fault(client, half), coded)
                outcomes[scenario.name, coded] = outcome
                if coded and scenario.fault is slowed:
                    report = repr(dc.report(client))
        print(row(scenario.name, outcomes.get((scenario.name, False)), outcome), flush=True)
    return outcomes, report


def row(name: str, plain: Outcome | None, coded: Outcome) -> str:
    before = f"{plain.seconds:7.1f} s" if plain else f"{'never':>9}"
    ratio = f"{plain.seconds / coded.seconds:.1f}x" if plain else ""
    worst = max(outcome.error for outcome in (plain, coded) if outcome)
    did = ", ".join(f"{coded.report[what]} {what.replace('_', ' ')}" for what in COUNTS)
    return f"{name:27}{before}{coded.seconds:7.1f} s{ratio:>8}{worst:10.0e}  {did}"


def plot(outcomes: Outcomes, title: str, path: Path) -> None:
    """Draw a pair of bars for each scenario."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
    longest = max(outcome.seconds for outcome in outcomes.values())
    for at, scenario in enumerate(reversed(SCENARIOS)):
        for coded, colour in ((False, "#b8b8b8"), (True, "#20a585")):
            where = at + (-0.2 if coded else 0.2)
            outcome = outcomes.get((scenario.name, coded))
            label = ("dask_coded, parity=1" if coded else "plain Dask") if scenario is SCENARIOS[0] else ""
            if outcome:
                bar = axes.barh(where, outcome.seconds, 0.38, color=colour, label=label)
                axes.bar_label(bar, [f"{outcome.seconds:.1f} s"], padding=4)
            else:
                axes.barh(where, longest, 0.38, color="none", edgecolor=colour, hatch="////")
                style = {"ha": "center", "va": "center", "backgroundcolor": "white"}
                axes.text(longest / 2, where, "stalls: not run", **style)
    axes.set_yticks(range(len(SCENARIOS)), [scenario.name for scenario in reversed(SCENARIOS)])
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, title=title)
    figure.savefig(path, dpi=120)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--input", type=Path, help="a .npy file or a Zarr array: a tall matrix of real numbers")
    add("--components", type=int, help="number of principal components (default: a quarter of the columns)")
    add("--workers", type=int, help="worker processes of one thread each (default: 6; 4 with --quick)")
    add(
        "--seconds",
        type=float,
        help="sleep added to the block products, in seconds of an undisturbed run; 0: none",
    )
    add("--quick", action="store_true", help="smaller patches and shorter tasks")
    add("--output", type=Path, default=Path("matmul_with_stragglers.png"), help="where to write the plot")
    options = parser.parse_args(argv)
    if options.seconds is None:
        options.seconds = 1.0 if options.quick else 3.0
    if options.workers is None:
        options.workers = 4 if options.quick else 6
    return options


def check(options: argparse.Namespace) -> Job:
    """Return the job that the arguments ask for, or raise BadInput."""
    from matplotlib.figure import Figure

    if not 3 <= options.workers <= 64:
        raise BadInput(f"--workers: must be from 3 to 64, is {options.workers}")
    if not 0 <= options.seconds <= 600:
        raise BadInput(f"--seconds: must be from 0 to 600, is {options.seconds}")
    if not options.output.absolute().parent.is_dir():
        raise BadInput(f"--output: no such directory: {options.output.absolute().parent}")
    if options.output.suffix[1:] not in Figure().canvas.get_supported_filetypes():
        raise BadInput(f"--output: not a kind of picture that Matplotlib writes: {options.output.name}")
    if options.input:
        matrix = open_matrix(options.input, min_rows=ROW_BLOCKS_PER_WORKER * options.workers)
    else:
        matrix = sample_patches(*(8, 8) if options.quick else (20, 4))
    columns = matrix.shape[1]
    components = columns // 4 if options.components is None else options.components
    if not 1 <= components <= columns:
        raise BadInput(f"--components: must be from 1 to {columns}, is {components}")
    return Job(matrix, components, options.workers, options.seconds)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    try:
        job = check(options)
        rows, columns = job.matrix.shape
        print(
            f"X: {rows:,} x {columns:,} ({rows * columns * 8 / 2**20:.0f} MiB) in blocks of {job.chunks}, "
            f"{job.components} components, {job.products} block products, {job.workers} workers."
        )
        if job.pause:
            print(f"Every block product also sleeps {job.pause * 1000:.0f} ms, as on machines of their own:")
            print(f"here {os.cpu_count()} cores serve {job.workers} workers. --seconds 0 leaves it out.")
        outcomes, report = run_all(job)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\nPlain Dask was not run with a frozen worker: it waits until the worker is given up (5 minutes).")
    print(f"The report of the run with a slow worker, dc.report(client):\n{report}")
    plot(outcomes, f"Principal components of {rows:,} patches, {job.workers} workers", options.output)
    print(f"Plot: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
