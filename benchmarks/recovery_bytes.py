"""What rebuilding and protecting cost where bytes count: one lost block, and persisting a large array."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from typing import Any

import dask
import dask.array as da
import harness
import keeping
from distributed import Client, futures_of, wait
from keeping import Way
from recovery_cases import Case, Figures, Setting, fresh

__all__ = ["CASES"]

#: Blocks of a group, and the parity pieces that belong to them.
BLOCKS = 4
PARITY = 1
FLOATS_OF_A_MIB = 1 << 17


def random_rows(rows: int, setting: Setting) -> da.Array:
    """Return rows of `setting.mib` MiB each; normal numbers take several times as long as uniform ones."""
    size = (rows, setting.mib * FLOATS_OF_A_MIB)
    rng = da.random.default_rng(fresh())
    draw = rng.normal if setting.distribution == "normal" else rng.random
    return draw(size=size, chunks=(1, size[1]))


# ------------------------------------------------------------------ block


def nothing(*blocks: Any) -> None:
    """Be given blocks."""


def fetch(client: Client, worker: str, mib: int) -> float:
    """Return the seconds that one worker takes to get as many blocks as a rebuild reads from others."""
    others = [each for each in harness.addresses(client) if each != worker][:BLOCKS]
    rng = da.random.default_rng(fresh())
    columns = mib * FLOATS_OF_A_MIB
    blocks = []
    for other in others:
        with dask.annotate(workers=[other]):
            blocks += futures_of(dask.persist(rng.random(columns, chunks=columns), optimize_graph=False)[0])
    wait(blocks)
    began = time.perf_counter()
    wait(client.submit(nothing, *blocks, workers=[worker], pure=False))
    return time.perf_counter() - began


def free_worker(client: Client) -> str:
    """Return a worker that holds nothing: a rebuild goes there."""
    held: dict[str, list[Hashable]] = client.has_what()
    return next(worker for worker in sorted(held) if not held[worker])


def block(client: Client, setting: Setting, ways: Sequence[Way]) -> dict[str, Figures]:
    """Rebuild one block, between two fetches of as many blocks by the worker that rebuilds."""
    (way,) = ways
    keeping.clean(client, BLOCKS + PARITY + 1)
    x = way.keep(client, random_rows(BLOCKS, setting), PARITY, BLOCKS)
    keeping.wait_settled(client, x)
    rebuilder = free_worker(client)
    before = fetch(client, rebuilder, setting.mib)
    keeping.wait_settled(client, x, pause=1.0)
    loss = keeping.lose(client, keeping.fullest(client, x)[:1], x)
    client.wait_for_workers(BLOCKS + PARITY + 1)
    keeping.wait_settled(client, x)
    after = fetch(client, rebuilder, setting.mib)
    usual = (before + after) / 2
    return {
        way.name: {
            "fetch before, s": before,
            "fetch after, s": after,
            "known after, s": loss.known,
            "from the kill / fetch": loss.back / usual,
            "rebuild / fetch": (loss.back - loss.known) / usual,
        }
    }


# ------------------------------------------------------------- throughput


def persisted(client: Client, setting: Setting, way: Way) -> tuple[Figures, int]:
    """Persist a large array, and return the figures and its bytes."""
    rows = max(1, round(setting.gb * 1e9 / (setting.mib << 20)))
    pids = list(keeping.processes(client, harness.addresses(client)).values())
    idle = keeping.resident(pids)
    x = random_rows(rows, setting)
    began = time.perf_counter()
    kept = way.keep(client, x, PARITY, BLOCKS)
    keys: list[Hashable] = keeping.keys_of(kept)
    found = client.run_on_scheduler(keeping.until_settled, keys=keys, pids=pids)
    _, settled = client.run_on_scheduler(keeping.burden)
    return {
        "in memory, s": found.there - began,
        "settled, s": found.ended - began,
        "peak held / data": found.held / x.nbytes,
        "settled held / data": settled / x.nbytes,
        "peak process / data": (found.used - idle) / x.nbytes,
    }, x.nbytes


def throughput(client: Client, setting: Setting, ways: Sequence[Way]) -> dict[str, Figures]:
    """Persist a large array; a copy of it shows what moving every byte once takes, as encoding must."""
    found = {}
    for way in ways:
        keeping.clean(client, BLOCKS + PARITY)
        found[way.name], size = persisted(client, setting, way)
    for figures in found.values():
        figures["GB/s"] = size / 1e9 / figures["settled, s"]
        figures["in memory / plain"] = figures["in memory, s"] / found["plain"]["in memory, s"]
        figures["time / plain"] = figures["settled, s"] / found["plain"]["settled, s"]
    return found


CASES = {
    "block": Case(
        f"one of {BLOCKS} blocks is lost and rebuilt, beside a fetch of {BLOCKS} blocks by the same worker",
        lambda setting: BLOCKS + PARITY + 1,
        block,
        ways=("coded",),
        targets={"rebuild / fetch": 1.5},
        warm=True,
    ),
    "throughput": Case(
        f"persisting a large array, {BLOCKS} blocks of a group and {PARITY} parity piece",
        lambda setting: BLOCKS + PARITY,
        throughput,
        targets={"time / plain": 1.25, "settled held / data": 1.05 * (BLOCKS + PARITY) / BLOCKS},
        warm=True,
    ),
}
