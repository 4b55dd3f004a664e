"""What the loss of a worker costs: in an iteration, behind slow loads, and what is left of copies."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count as counting
from pathlib import Path
from tempfile import TemporaryDirectory

import dask.array as da
import keeping
import numpy as np
from distributed import Client, wait
from keeping import Way

__all__ = ["CASES", "Case", "Figures", "Setting", "fresh"]

#: What was measured of one way in one round, by name.
Figures = dict[str, float]
STEPS = 15
CHUNKS = 40
#: Seconds that a block product of the iteration sleeps.
PRODUCT = 0.1
ROWS = 60
_serial = counting(1)


def fresh() -> int:
    """Return a seed that no array had before: nothing is shared with the runs before."""
    return next(_serial)


@dataclass(frozen=True)
class Setting:
    """How large the runs are; see the options."""

    workers: int
    parity: int
    load: float
    watch: float
    machines: int
    unit: float
    mib: int
    gb: float
    distribution: str


@dataclass(frozen=True)
class Case:
    """One comparison.

    Parameters
    ----------
    title : str
        What the table is about.
    workers : callable
        Gives the number of workers for a setting.
    play : callable
        Runs all ways once, and returns the figures of each.
    ways : tuple of str
        Those that make sense here.
    targets : dict of str to float
        The most that a figure of the coded way may be.
    warm : bool
        A first round does not count: new workers import and ask for memory.
    """

    title: str
    workers: Callable[[Setting], int]
    play: Callable[[Client, Setting, Sequence[Way]], dict[str, Figures]]
    ways: tuple[str, ...] = tuple(keeping.WAYS)
    targets: dict[str, float] = field(default_factory=dict)
    warm: bool = False


def each_alone(
    once: Callable[[Client, Setting, Way, Path], Figures],
) -> Callable[[Client, Setting, Sequence[Way]], dict[str, Figures]]:
    """Return a function that runs the ways one after the other, each on a clean cluster."""

    def play(client: Client, setting: Setting, ways: Sequence[Way]) -> dict[str, Figures]:
        found = {}
        for way in ways:
            keeping.clean(client, setting.workers)
            with TemporaryDirectory() as folder:
                found[way.name] = once(client, setting, way, Path(folder))
        return found

    return play


# -------------------------------------------------------------- iteration


def worked(block: np.ndarray, file: str) -> np.ndarray:
    """Take longer, as if the block were larger, and leave a mark."""
    time.sleep(PRODUCT)
    keeping.count(file)
    return block


def next_iterate(a: da.Array, v: da.Array, steps: Path) -> da.Array:
    """Return the next step, unevaluated; nothing but it may refer to the last one, or that is kept too."""
    w = (a @ v.rechunk((-1, 1))).map_blocks(worked, str(steps), dtype=float, meta=np.empty((0, 0)))
    return w / da.sqrt((w * w).sum())


def iteration(client: Client, setting: Setting, way: Way, folder: Path) -> Figures:
    """Lose the worker that holds the newest block after some persisted steps of a power iteration."""
    loads, steps = folder / "loads", folder / "steps"
    blocks = 3 * setting.workers
    rows = ROWS * blocks
    source = loaded(loads, setting.load, ((ROWS,) * blocks, (rows,)))
    a = way.keep(client, abs(source), setting.parity, None)
    keeping.wait_settled(client, a, pause=0.0)
    v = way.keep(client, da.ones((rows, 1), chunks=(ROWS, 1)), setting.parity, None)
    began = time.perf_counter()
    for _ in range(STEPS):
        v = way.keep(client, next_iterate(a, v, steps), setting.parity, None)
        wait(v)
    step = (time.perf_counter() - began) / STEPS
    keeping.wait_settled(client, a, v)
    expected = keeping.blocks_of(client, v)
    before = keeping.marks(loads), keeping.marks(steps)
    loss = keeping.lose(client, keeping.fullest(client, v.blocks[-1])[:1], a, v)
    again = keeping.marks(loads) - before[0], keeping.marks(steps) - before[1]
    np.testing.assert_allclose(keeping.blocks_of(client, v), expected, rtol=1e-12)
    return {
        "step, s": step,
        "recovery / step": loss.back / step,
        "loads again": again[0],
        f"of {STEPS * blocks} products again": again[1],
    }


def loaded(file: Path, seconds: float, chunks: tuple[tuple[int, ...], ...]) -> da.Array:
    """Return an array whose blocks take so many seconds to load."""
    meta = np.empty((0,) * len(chunks))
    return da.map_blocks(keeping.load, str(file), seconds, fresh(), chunks=chunks, dtype=float, meta=meta)


# ------------------------------------------------------------------ chain


def chain(client: Client, setting: Setting, way: Way, folder: Path) -> Figures:
    """Lose a worker that holds a share of chunks that took long to load."""
    source = loaded(folder / "loads", setting.load, ((100,) * CHUNKS, (100,)))
    began = time.perf_counter()
    x = way.keep(client, source.map_blocks(np.tanh, dtype=float), setting.parity, None)
    wait(x)
    seconds = time.perf_counter() - began
    keeping.wait_settled(client, x)
    expected, before = keeping.blocks_of(client, x), keeping.marks(folder / "loads")
    loss = keeping.lose(client, keeping.fullest(client, x)[:1], x)
    again = keeping.marks(folder / "loads") - before
    np.testing.assert_array_equal(keeping.blocks_of(client, x), expected)
    return {"original, s": seconds, "recovery / original": loss.back / seconds, "loads again": again}


# --------------------------------------------------------------- replicas


def replicas(client: Client, setting: Setting, way: Way, folder: Path) -> Figures:
    """See what the memory manager leaves of copies and of parity."""
    x = way.keep(client, loaded(folder / "loads", 0.0, ((128,) * CHUNKS, (1024,))), setting.parity, None)
    keeping.wait_settled(client, x, pause=0.0)
    then = client.run_on_scheduler(keeping.burden)
    time.sleep(setting.watch)
    now = client.run_on_scheduler(keeping.burden)
    return {
        "extra pieces": then[0] - CHUNKS,
        f"after {setting.watch:g} s": now[0] - CHUNKS,
        "memory / data": then[1] / x.nbytes,
        "memory / data later": now[1] / x.nbytes,
    }


def workers(setting: Setting) -> int:
    return setting.workers


CASES = {
    "iteration": Case(
        f"{STEPS} persisted steps of a power iteration, then the holder of the newest block is killed",
        workers,
        each_alone(iteration),
    ),
    "chain": Case(
        f"{CHUNKS} persisted chunks behind slow loads, then one worker is killed", workers, each_alone(chain)
    ),
    "replicas": Case(
        "what the active memory manager leaves of copies and of parity", workers, each_alone(replicas)
    ),
}
