"""What is computed again does not mix with what was computed before, however ill-posed it is."""

from __future__ import annotations

import asyncio
import logging
import pickle
import random
from collections.abc import Iterator
from threading import Event
from time import sleep
from typing import Any

import dask.array as da
import numpy as np
import pytest
from dask import delayed
from dask._task_spec import List, Task, TaskRef
from distributed.utils_test import gen_cluster

import dask_coded as dc
from dask_coded.runtime import machine
from dask_coded.runtime.group import Lateness
from dask_coded.runtime.scheduler_plugin.versions import Versions

from .problems import graph
from .test_vault import until

pytestmark = pytest.mark.cluster

#: Workers are threads of this process.
go = Event()
NUMBERS = np.random.default_rng(0).normal(size=(40, 8))
#: Up to two tasks are stuck: a thread more, for what would wait behind them.
SIX, NINE = [("127.0.0.1", 3)] * 6, [("127.0.0.1", 1)] * 9


@pytest.fixture(autouse=True)
def nothing_stays_stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Decode nothing but what was lost: the rest of a group is stuck for as long as a test likes."""
    monkeypatch.setattr(machine, "LEAST_PATIENCE", 1000.0)
    go.clear()
    yield
    go.set()


def fingerprint(block: np.ndarray) -> int:
    """Return something that the last bit of any number changes altogether."""
    return hash(block.tobytes())


def seen(all_of_them: list[int], mine: int, index: int) -> tuple[list[int], int, int]:
    if index == 1:
        go.wait(30)
    return all_of_them, mine, index


def fit(found: list[tuple[list[int], int, int]]) -> bool:
    """Tell whether what was seen comes from one version of each block."""
    return all(prints == found[0][0] and prints[index] == mine for prints, mine, index in found)


def together(blocks: list[Any]) -> list[Any]:
    """Return what is seen of each block: its fingerprint, and those of all."""
    prints = [delayed(fingerprint)(block) for block in blocks]
    collected = delayed(list)(prints)
    return [delayed(seen)(collected, one, index) for index, one in enumerate(prints)]


async def lose_what_was_read(s: Any, client: Any, name: str, results: list[Any]) -> bool:
    """Lose the worker that holds the second block once the first result is there; tell whether all fit."""
    futures = client.compute(results, optimize_graph=False)
    await futures[0]
    await client.replicate(futures[:1])  # whichever workers are lost
    states = await until(lambda: [ts for ts in s.tasks.values() if is_block_of(ts.key, name) and ts.who_has])
    lost = next(ts for ts in states if ts.key[1] == 1)
    readers = [ts for ts in lost.dependents if str(ts.key).startswith("fingerprint")]
    await lose_holders(s, lost, *readers)
    go.set()
    return fit(await client.gather(futures))


async def lose_holders(s: Any, *states: Any) -> None:
    """Lose all workers that hold one of these results, at one time."""
    holders = {ws.address for ts in states for ws in ts.who_has or ()}
    await asyncio.gather(*(s.remove_worker(address, stimulus_id="test") for address in holders))


def is_block_of(key: Any, name: str) -> bool:
    return isinstance(key, tuple) and key[0] == name


async def encoded(s: Any, client: Any) -> da.Array:
    await dc.install(client)
    x = dc.encode(da.from_array(NUMBERS, chunks=(10, -1)), parity=2)
    x = client.persist(x)
    vault = s.plugins["dask-coded"].vault

    def is_whole() -> bool:
        parity = [key for group in vault.shelf.groups.values() for key in (*group.parity, *group.extras)]
        return bool(parity) and all(key in s.tasks and s.tasks[key].who_has for key in parity)

    await until(is_whole)
    return x


@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_block_that_others_have_read_has_the_bits_that_it_had(c: Any, s: Any, *workers: Any) -> None:
    x = await encoded(s, c)
    blocks = list(x.to_delayed(optimize_graph=False).ravel())
    assert await lose_what_was_read(s, c, x.name, together(blocks))
    assert s.plugins["dask-coded"].counters.recomputed >= 1
    assert s.plugins["dask-coded"].counters.errors == 0


@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_two_versions_would_be_mixed(c: Any, s: Any, *workers: Any) -> None:
    """The test above can fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Versions, "changes", lambda *args: None)
        x = await encoded(s, c)
        blocks = list(x.to_delayed(optimize_graph=False).ravel())
        assert not await lose_what_was_read(s, c, x.name, together(blocks))
        assert s.plugins["dask-coded"].counters.rebuilt >= 1


@pytest.mark.parametrize("method", ["changes", "check", "_provide"])
def test_bug_is_logged_and_harms_nothing(method: str, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, *args: Any) -> None:
        raise ZeroDivisionError("planted")

    @gen_cluster(client=True, nthreads=SIX, timeout=100)
    async def run(c: Any, s: Any, *workers: Any) -> None:
        x = await encoded(s, c)
        monkeypatch.setattr(Versions, method, broken)
        blocks = list(x.to_delayed(optimize_graph=False).ravel())
        await lose_what_was_read(s, c, x.name, together(blocks))
        assert s.plugins["dask-coded"].counters.errors >= 1
        assert np.allclose(await c.compute(x), NUMBERS)

    with caplog.at_level(logging.ERROR, logger="distributed.scheduler.coded"):
        run()
    assert any("coding is given up" in record.message for record in caplog.records)
    assert not [record for record in caplog.records if "Error transitioning" in record.message]


def merge(name: str, *sources: Any) -> dict[str, int]:
    """Return the fingerprints of all results before this one; MIXED stands for two of the same."""
    sleep(0.02)
    found: dict[str, int] = {}
    for source in sources:
        for one, seen in source.items() if isinstance(source, dict) else ():
            found[one] = seen if found.get(one, seen) == seen else MIXED
    mine = hash(tuple(fingerprint(x) if isinstance(x, np.ndarray) else tuple(x.items()) for x in sources))
    return {**found, name: mine}


MIXED = -1
LAYERS, WIDTH = 7, 6


def random_program(blocks: list[Any], rng: random.Random) -> list[Any]:
    """Return what is computed in the end by steps of which each is as ill-posed as can be."""
    layers = [blocks]
    for layer in range(LAYERS):
        nodes = [node for nodes in layers[-2:] for node in nodes]
        new = []
        for number in range(WIDTH):
            name = f"merge-{layer}-{number}"
            sources = rng.sample(nodes, rng.choice([1, 2, 2, 3]))
            new.append(delayed(merge)(name, *sources, dask_key_name=name))
        layers.append(new)
    return layers[-1] + layers[-3]


def told_of_mixing(scheduler: Any) -> bool:
    """Tell whether users were warned: after several losses it may be that nothing yields the same bits."""
    messages = [pickle.loads(event["message"]) for _, event in scheduler.get_events("warn")]
    return any("computed again from numbers that differ by rounding" in message for message in messages)


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_mix_nothing_when_workers_are_lost(seed: int) -> None:
    rng = random.Random(seed)

    # A task that loses its worker four times has bad luck only.
    @gen_cluster(
        client=True, nthreads=NINE, config={"distributed.scheduler.allowed-failures": 10}, timeout=100
    )
    async def run(c: Any, s: Any, *workers: Any) -> None:
        x = await encoded(s, c)
        program = random_program(list(x.to_delayed(optimize_graph=False).ravel()), rng)
        futures = c.compute(program, optimize_graph=False)
        for _ in range(4):
            await asyncio.sleep(rng.uniform(0.02, 0.12))
            held = {
                ws.address
                for ts in s.tasks.values()
                if is_block_of(ts.key, x.name)
                for ws in ts.who_has or ()
            }
            await s.remove_worker(rng.choice(sorted(held or s.workers)), stimulus_id="test")
        found = [*(await c.gather(futures)), *(await c.gather(futures[:1]))]
        assert MIXED not in merge("", *found).values() or told_of_mixing(s)
        assert s.plugins["dask-coded"].counters.errors == 0
        assert np.allclose(await c.compute(x), NUMBERS)

    run()


NOISE = np.random.default_rng(1).normal(size=(8, 3))


def weigh(block: np.ndarray, piece: int, seconds: float, slow: Any) -> np.ndarray:
    """A linear step; its last piece is stuck."""
    if piece == 3:
        go.wait(30)
    return block * NOISE


def numbers(block: int) -> np.ndarray:
    return np.random.default_rng(block).normal(size=(8, 3))


def product_whose_blocks_are_read(name: str, blocks: tuple[int, int] = (0, 1)) -> dict[Any, Any]:
    """Return the graph of a coded product, two of whose blocks are read; the last one is stuck."""
    tasks = graph(name, work=weigh, launch="eager", late=Lateness(min_task_runtime=1000.0))
    tasks.update({key: Task(key, numbers, key[1]) for key in tasks if key[0] == f"load-{name}"})
    prints = [f"print-{i}" for i in range(2)]
    for i, key in enumerate(prints):
        tasks[key] = Task(key, fingerprint, TaskRef((f"work-{name}", blocks[i])))
        tasks[f"seen-{i}"] = Task(f"seen-{i}", seen, TaskRef("all"), TaskRef(key), i)
    tasks["all"] = Task("all", list, List(*map(TaskRef, prints)))
    return tasks


async def lose_a_block_that_was_read(s: Any, c: Any, name: str) -> list[Any]:
    """Lose it while it is decodable; return the product's sum, and what was seen."""
    futures = c.get(product_whose_blocks_are_read(name), [f"total-{name}", "seen-0", "seen-1"], sync=False)
    awaited = [
        "seen-0",
        "all",
        *((f"work-{name}", i) for i in (0, 2)),
        *((f"parity-{name}", t) for t in (4, 5)),
    ]
    await until(lambda: all(key in s.tasks and s.tasks[key].who_has for key in awaited), 10)
    await s.replicate(keys=awaited, n=len(s.workers))  # whichever workers are lost
    await lose_holders(s, s.tasks[f"work-{name}", 1], s.tasks["print-1"])
    await until(lambda: s.plugins["dask-coded"].counters.decoded, 10)
    go.set()
    found: list[Any] = await c.gather(futures)
    return found


@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_target_that_others_have_read_is_its_own_piece_again(c: Any, s: Any, *workers: Any) -> None:
    await dc.install(c)
    total, *found = await lose_a_block_that_was_read(s, c, "own")
    assert fit(found) and np.isclose(total, sum((numbers(i) * NOISE).sum() for i in range(4)))
    assert s.plugins["dask-coded"].counters.errors == 0


@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_two_versions_of_a_target_would_be_mixed(c: Any, s: Any, *workers: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Versions, "changes", lambda *args: None)
        await dc.install(c)
        _, *found = await lose_a_block_that_was_read(s, c, "mixed")
        assert not fit(found)


@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_what_is_not_there_any_more_is_told(c: Any, s: Any, *workers: Any) -> None:
    """Nothing yields the bits of what was decoded at first once its own piece has come."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "LEAST_PATIENCE", 0.1)
        await dc.install(c)
        tasks = product_whose_blocks_are_read("first", blocks=(2, 3))
        futures = c.get(tasks, ["total-first", "seen-0", "seen-1"], sync=False)
        await futures[1]
        await s.replicate(keys=["seen-0", "all"], n=len(s.workers))
    counters = s.plugins["dask-coded"].counters
    assert counters.decoded == 1
    with pytest.warns(
        dc.CodedWarning, match=r"'print-1' was computed again .* nothing yields those any more"
    ):
        await lose_holders(s, s.tasks["work-first", 3], s.tasks["print-1"])
        go.set()
        total, *_ = await c.gather(futures)
    assert np.isclose(total, sum((numbers(i) * NOISE).sum() for i in range(4)))
    assert counters.errors == 0
