"""What was coded goes on as plain Dask's when the plugin gives up, whatever is under way."""

from __future__ import annotations

import asyncio
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import SchedulerPlugin, futures_of, wait
from distributed.utils_test import gen_cluster

import dask_coded as dc
from dask_coded.runtime.byte_tasks import rebuild
from dask_coded.runtime.scheduler_plugin import CodedPlugin
from dask_coded.runtime.scheduler_plugin.acts import CLIENT
from dask_coded.runtime.tasks import decode

from .problems import STUCK, answer, go_on, graph
from .test_versions import NUMBERS, SIX, encoded, lose_holders, until

pytestmark = pytest.mark.cluster


async def lose(s: Any, key: Any) -> asyncio.Task[None]:
    """Lose a result; return as soon as the scheduler knows, before anything has come of it."""
    losing = asyncio.ensure_future(lose_holders(s, s.tasks[key]))
    while s.tasks[key].who_has:
        await asyncio.sleep(0)
    return losing


@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_block_that_is_being_rebuilt_has_its_own_task_again(c: Any, s: Any, *workers: Any) -> None:
    x = await encoded(s, c)
    plugin = s.plugins["dask-coded"]
    key = (x.name, 1, 0)
    ts, (group,) = s.tasks[key], plugin.vault.shelf.groups_of[key]
    own, neighbour = ts.run_spec, (x.name, 0, 0)
    losing = await lose(s, key)
    assert ts.state == "processing" and key in plugin.vault.rebuilding.lent
    plugin.give_up()
    assert ts.run_spec is own
    await losing
    # Its parity would wait for all blocks, and a block for its parity.
    await lose_holders(s, s.tasks[neighbour])
    assert np.allclose(await c.compute(x), NUMBERS)
    assert ts.run_spec is own and not any(parity in s.tasks for parity in group.parity)
    assert CLIENT not in s.clients and plugin.counters.errors == 0


async def kept(s: Any, client: Any) -> da.Array:
    await dc.install(client)
    x = client.persist(da.from_array(NUMBERS, chunks=(10, -1)))
    await wait(x)
    plugin = s.plugins[CodedPlugin.name]
    await plugin.protect([future.key for future in futures_of(x)], parity=1)
    await until(lambda: not plugin.vault.shelf.request_of and not plugin.vault.encoding.awaited)
    return x


class GivesUpOnceRebuilt(SchedulerPlugin):  # type: ignore[misc]
    """Has the plugin give up when a rebuilt block is in memory, before its task is again what it was."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.found: list[bool] = []

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        ts = self.scheduler.tasks[key]
        if finish == "memory" and getattr(ts.run_spec, "func", None) in (rebuild, decode):
            self.scheduler.loop.add_callback(self.give_up, key)

    def give_up(self, key: Any) -> None:
        plugin = self.scheduler.plugins[CodedPlugin.name]
        self.found.append(key in plugin.vault.rebuilding.lent)
        plugin.give_up()


@pytest.mark.parametrize("bytewise", [True, False], ids=["persist", "encode"])
@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_nothing_is_left_of_what_a_block_was_rebuilt_from(
    c: Any, s: Any, *workers: Any, bytewise: bool
) -> None:
    watcher = GivesUpOnceRebuilt(s)
    s.add_plugin(watcher, name="gives-up")  # first, so that it is told first
    x = await (kept(s, c) if bytewise else encoded(s, c))
    key = (x.name, 1, 0)
    (group,) = s.plugins[CodedPlugin.name].vault.shelf.groups_of[key]
    await lose_holders(s, s.tasks[key])
    while not watcher.found:
        await asyncio.sleep(0.01)
    assert watcher.found == [True]
    assert np.allclose(await c.compute(x), NUMBERS)
    assert not any(parity in s.tasks for parity in group.parity)
    del x
    while s.tasks:
        await asyncio.sleep(0.01)
    assert CLIENT not in s.clients


class GivesUp(SchedulerPlugin):  # type: ignore[misc]
    """Has the plugin give up while a target is being decoded."""

    def __init__(self, scheduler: Any, plugin: CodedPlugin) -> None:
        self.scheduler, self.plugin = scheduler, plugin
        #: What was to be decoded, and its task once coding was given up.
        self.found: list[tuple[Any, Any]] = []

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        ts = self.scheduler.tasks[key]
        if finish == "processing" and getattr(ts.run_spec, "func", None) is decode:
            self.scheduler.loop.add_callback(self.give_up, ts)

    def give_up(self, ts: Any) -> None:
        assert ts.state == "processing"
        self.plugin.give_up()
        self.found.append((ts.key, ts.run_spec))
        go_on.set()


@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_target_that_is_being_decoded_is_its_own_piece(c: Any, s: Any, *workers: Any) -> None:
    go_on.clear()
    await c.register_plugin(CodedPlugin())
    plugin = s.plugins[CodedPlugin.name]
    tasks = graph("given-up", slow={2: STUCK})
    watcher = GivesUp(s, plugin)
    s.add_plugin(watcher, name="gives-up")
    assert await c.get(tasks, "total-given-up", sync=False) == answer(4)
    ((key, spec),) = watcher.found
    group = tasks[key].group
    assert spec.dependencies == {group.pieces[group.targets.index(key)]}
    assert plugin.counters.decoded == plugin.counters.errors == 0
    assert CLIENT not in s.clients
