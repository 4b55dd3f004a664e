"""What was coded goes on as plain Dask's when the plugin gives up, whatever is under way."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from distributed.utils_test import gen_cluster

from dask_coded.runtime.scheduler_plugin.hands import CLIENT

from .test_versions import NUMBERS, SIX, encoded

pytestmark = pytest.mark.cluster


async def lose(s: Any, keys: list[Any]) -> None:
    addresses = {ws.address for key in keys for ws in s.tasks[key].who_has}
    asyncio.ensure_future(
        asyncio.gather(*(s.remove_worker(address, stimulus_id="test") for address in addresses))
    )
    for _ in range(2):
        await asyncio.sleep(0)


@gen_cluster(client=True, nthreads=SIX, timeout=100)
async def test_block_that_is_being_rebuilt_has_its_own_task_again(c: Any, s: Any, *workers: Any) -> None:
    x = await encoded(s, c)
    plugin = s.plugins["dask-coded"]
    key = (x.name, 1, 0)
    ts, (group,) = s.tasks[key], plugin.vault.shelf.groups_of[key]
    own, neighbour = ts.run_spec, (x.name, 0, 0)
    await lose(s, [key])
    assert ts.state == "processing" and key in plugin.vault.rebuilding.lent
    plugin.give_up()
    assert ts.run_spec is own
    # Its parity would wait for all blocks, and a block for its parity.
    await lose(s, [neighbour])
    assert np.allclose(await c.compute(x), NUMBERS)
    assert ts.run_spec is own and not any(parity in s.tasks for parity in group.parity)
    assert CLIENT not in s.clients and plugin.counters.errors == 0
