"""A worker that hears twice in a row that another one is gone goes on."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from distributed import Status
from distributed.utils_test import gen_cluster

import dask_coded as dc
from dask_coded.runtime.farewell_plugin import OPERATION, SOON, FarewellPlugin


async def tell_often_while_it_connects(worker: Any) -> None:
    with socket.socket() as deaf:  # takes connections and never answers
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        attempt = asyncio.ensure_future(worker.rpc.connect(address))
        while address not in worker.rpc._connecting:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        for number in range(4):  # as from one message to the next in `Server.handle_stream`
            worker.stream_handlers[OPERATION](worker=address, stimulus_id=f"test-{number}")
            await asyncio.sleep(0)
        with pytest.raises(OSError):
            await attempt
        await asyncio.sleep(4 * SOON)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2)
async def test_told_several_times_at_once(c: Any, s: Any, a: Any, b: Any) -> None:
    await dc.install(c)
    while FarewellPlugin.name not in a.plugins:
        await asyncio.sleep(0.01)
    await tell_often_while_it_connects(a)
    assert a.status == Status.running and len(s.workers) == 2
    assert await c.submit(lambda: 1, workers=[a.address]) == 1


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)])
async def test_without_it_the_worker_fails(c: Any, s: Any, a: Any) -> None:
    """If this passes no more, distributed has been mended, and the plugin can go."""
    with pytest.raises(RuntimeError, match="Timeout"):
        await tell_often_while_it_connects(a)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)])
async def test_left_as_it_was(c: Any, s: Any, a: Any) -> None:
    before, plugin = a.stream_handlers[OPERATION], FarewellPlugin()
    plugin.setup(a)
    assert a.stream_handlers[OPERATION] != before
    plugin.teardown(a)
    assert a.stream_handlers[OPERATION] == before
