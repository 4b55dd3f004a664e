"""The vault on a scheduler that checks its own books, where workers come and go as the test likes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from time import time
from typing import Any

import numpy as np
import pytest
from distributed import Worker
from distributed.utils_test import gen_cluster

from dask_coded.runtime.scheduler_plugin import CodedPlugin

pytestmark = pytest.mark.cluster

#: Workers are threads of this process, so what a task waits for can be global.
go = Event()


def make(number: int) -> np.ndarray:
    go.wait(10)
    return np.full(1000, number)


async def until(done: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time() + seconds
    while not (found := done()):
        assert time() < deadline
        await asyncio.sleep(0.01)
    return found


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 4, timeout=200)
async def test_block_that_no_worker_was_left_for_runs_on_one_that_comes(c, s, *workers):
    """Dask tries what waits for a worker only on new ones that it is restricted to, however loosely."""
    await c.register_plugin(CodedPlugin())
    vault = s.plugins[CodedPlugin.name].vault
    go.set()
    blocks = c.map(make, range(2))
    sizes = c.map(len, blocks)
    await c.scheduler.coded_protect(keys=[block.key for block in blocks], parity=1, group=2)
    assert await c.gather(sizes) == [1000, 1000]
    await until(lambda: [g for g in vault.shelf.groups.values() if s.tasks[g.parity[0]].state == "memory"])

    async def lose(addresses: set[str]) -> None:
        """At one time: nothing is rebuilt between the first and the last."""
        await asyncio.gather(*(s.remove_worker(address, stimulus_id="test") for address in addresses))

    states = [s.tasks[block.key] for block in blocks]
    go.clear()
    await lose({ws.address for ts in states for ws in ts.who_has})
    # The first to be lost was to be rebuilt from the other one and parity.
    assert [bool(ts.worker_restrictions) for ts in states].count(True) == len(vault.restricted) == 1
    await lose(set(s.workers))
    assert {ts.state for ts in states} == {"no-worker", "queued"}
    go.set()
    async with Worker(s.address, nthreads=1):
        found = await asyncio.wait_for(c.gather(blocks), 10)
        assert all((block == number).all() for number, block in enumerate(found))
        assert not vault.restricted and not any(ts.worker_restrictions for ts in states)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 4, timeout=200)
async def test_blocks_of_a_worker_without_work_are_lent_to_another(c, s, *workers):
    """Wherever its blocks are read would be left to chance; here they are where least else is."""
    await c.register_plugin(CodedPlugin())
    plugin = s.plugins[CodedPlugin.name]
    go.set()
    blocks = [c.submit(make, number, workers=[workers[number].address]) for number in range(3)]
    await c.gather(blocks)
    await c.scheduler.coded_protect(keys=[block.key for block in blocks], parity=1, group=3)
    (group,) = await until(lambda: list(plugin.vault.shelf.groups.values()))
    parity = await until(lambda: s.tasks[group.parity[0]].who_has)
    assert {ws.address for ws in parity} == {workers[3].address}
    ts, held = s.tasks[blocks[0].key], workers[0].address

    plugin.hands.held.hold(held, False, "for the test")
    await until(lambda: len(ts.who_has) == 2)
    assert {ws.address for ws in ts.who_has} == {held, workers[3].address}
    s.extensions["amm"].run_once()
    plugin.vault.tend()
    assert not plugin.vault.spreading.moves and set(plugin.vault.spreading.lent) == {ts.key}
    await asyncio.sleep(0.1)
    assert len(ts.who_has) == 2

    plugin.hands.held.free(held)
    await until(lambda: len(ts.who_has) == 1)
    assert {ws.address for ws in ts.who_has} == {held}
    assert not plugin.vault.spreading.lent
