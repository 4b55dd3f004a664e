"""Relationships between genomes on many workers of which some are lost half-way.

A genotype matrix (variants by samples: 0, 1, 2, or -1 where it is missing) is expensive to load,
persisted, and multiplied with itself, as for a genetic relationship matrix or principal components.
On spot machines a user of plain Dask measured 102 s without a loss, 124 s after one and 162 s after two
(sgkit issue 453): 1.00, 1.22, 1.59.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import dask.array as da
import keeping
import numpy as np
from distributed import Client, wait
from keeping import Way
from recovery_cases import Case, Figures, Setting, fresh

__all__ = ["CASES", "dosages"]

#: 50 products for each of 16 workers: many more burden the scheduler, fewer cost a lot each.
VARIANT_BLOCKS, SAMPLE_BLOCKS = 50, 4
PRODUCTS = VARIANT_BLOCKS * SAMPLE_BLOCKS**2
VARIANTS, SAMPLES = 256, 64
#: Units that a block takes to load: reading, decompressing and filtering, all slept.
LOAD = 4
#: Workers that are lost at most, and may be.
LOSSES = 2


def dosages(calls: np.ndarray) -> np.ndarray:
    """Return centred float32 dosages of int8 calls; what is missing counts as the variant's mean."""
    missing = calls < 0
    known = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
    mean = np.where(missing, 0, calls).sum(axis=1, keepdims=True, dtype=np.float32) / known
    return np.where(missing, 0, calls - mean).astype(np.float32)


def load(file: str, seconds: float, seed: int, block_info: Any = None) -> np.ndarray:
    time.sleep(seconds)
    keeping.count(file)
    rng = np.random.default_rng([seed, *block_info[None]["chunk-location"]])
    return dosages(rng.integers(-1, 3, block_info[None]["chunk-shape"], dtype=np.int8))


def product(a: np.ndarray, b: np.ndarray, file: str, seconds: float) -> np.ndarray:
    time.sleep(seconds)
    keeping.count(file)
    block: np.ndarray = (a.T @ b)[None]
    return block


def relationships(x: da.Array, file: Path, seconds: float) -> da.Array:
    """Return ``x.T @ x``, as Dask computes it, with block products that take so many seconds."""
    settings = {"file": str(file), "seconds": seconds, "adjust_chunks": {"i": lambda _: 1}}
    settings["meta"] = np.empty((0, 0, 0), x.dtype)
    return da.blockwise(product, "ijl", x, "ij", x, "il", **settings).sum(axis=0)


@dataclass(frozen=True)
class Outcome:
    """One run: its seconds, and how much was loaded and multiplied again."""

    seconds: float
    loads: int
    products: int


@contextmanager
def losing(pids: Sequence[int], file: Path) -> Iterator[None]:
    """Kill processes once half of the products are done: at the same point of every run, however long."""
    over, killed = Event(), Event()

    def watch() -> None:
        while not over.wait(0.01):
            if keeping.marks(file) >= PRODUCTS // 2:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                killed.set()
                return

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    if not killed.is_set():
        raise RuntimeError("the run ended before its workers could be killed")


def once(client: Client, setting: Setting, way: Way, losses: int) -> Outcome:
    """Keep the matrix, and multiply; the workers with the most blocks are killed half-way."""
    keeping.clean(client, setting.machines)
    chunks = ((VARIANTS,) * VARIANT_BLOCKS, (SAMPLES,) * SAMPLE_BLOCKS)
    with TemporaryDirectory() as folder:
        loads, products = Path(folder) / "loads", Path(folder) / "products"
        arguments = (str(loads), LOAD * setting.unit, fresh())
        # Without both types Dask calls the function itself, which leaves marks.
        types = {"dtype": np.float32, "meta": np.empty((0, 0), np.float32)}
        source = da.map_blocks(load, *arguments, chunks=chunks, **types)
        x = way.keep(client, source, LOSSES, None)
        wait(x)
        keeping.wait_settled(client, x)
        doomed = list(keeping.processes(client, keeping.fullest(client, x)[:losses]).values())
        with losing(doomed, products):
            began = time.perf_counter()
            found = relationships(x, products, setting.unit).compute()
            seconds = time.perf_counter() - began
        here = x.compute()
        np.testing.assert_allclose(found, here.T @ here, rtol=1e-3, atol=1e-2)
        again = keeping.marks(loads) - VARIANT_BLOCKS * SAMPLE_BLOCKS
        return Outcome(seconds, again, keeping.marks(products) - PRODUCTS)


def genotypes(client: Client, setting: Setting, ways: Sequence[Way]) -> dict[str, Figures]:
    """Run each way without a loss, with one and with two, close together: machines change their speed."""
    slept = PRODUCTS * setting.unit / setting.machines
    found: dict[str, Figures] = {}
    for way in ways:
        figures = found[way.name] = {}
        base = once(client, setting, way, 0).seconds
        figures["no loss, s"], figures["no loss / slept"] = base, base / slept
        for losses, name in ((1, "one loss"), (LOSSES, "two losses")):
            outcome = once(client, setting, way, losses)
            figures[name] = outcome.seconds / base
            figures[f"loads again ({losses})"] = outcome.loads
            figures[f"products again ({losses})"] = outcome.products
    return found


CASES = {
    "sgkit": Case(
        f"a genotype matrix by itself, up to {LOSSES} workers killed half-way, ratios to no loss",
        lambda setting: setting.machines,
        genotypes,
        targets={"one loss": 1.05, "two losses": 1.10},
    )
}
