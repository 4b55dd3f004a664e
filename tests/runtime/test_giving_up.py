"""What was coded goes on as plain Dask's when the plugin gives up, whatever is under way."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from distributed import SchedulerPlugin
from distributed.utils_test import gen_cluster

from dask_coded.runtime.scheduler_plugin import CodedPlugin
from dask_coded.runtime.scheduler_plugin.hands import CLIENT
from dask_coded.runtime.tasks import decode

from .problems import STUCK, answer, go_on, graph
from .test_versions import NUMBERS, SIX, encoded, lose_holders

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
