"""Tasks left out on the scheduler: decoded, or run after all, whatever becomes of coding meanwhile."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from dask.utils import key_split

from dask_coded import codes
from dask_coded.kernels import encode_block
from dask_coded.runtime import machine
from dask_coded.runtime.group import Lateness
from dask_coded.runtime.scheduler_plugin.hands import Hands

from .problems import STUCK, answer, go_on, graph, load
from .test_scheduler_plugin import coded_cluster, nothing_left, plugin_on

pytestmark = pytest.mark.cluster


async def shared_out(c, s, workers, **kwargs):
    """Begin a graph whose blocks lie on the workers in turn; the first worker is known to be slow."""
    plugin = await plugin_on(c, s)
    patient = Lateness(
        min_task_runtime=5.0, interval=0.02
    )  # on a busy machine, too, nothing is late in the first
    await c.get(graph("1", seconds=0.05, late=patient), "total-1", sync=False)
    await nothing_left(s, plugin)
    addresses = [worker.address for worker in workers]
    loads = [
        c.submit(load, i, key=("load-2", i), workers=[addresses[i]], allow_other_workers=True)
        for i in range(4)
    ]
    encode = {"axis": 0, "length": 8, "dtype": "float64"}
    code = codes.parity(4, 2, sub_blocks=1)
    blocks = [load(i) for i in range(4)]  # not the futures: their blocks would be copied
    inputs = [
        c.submit(encode_block, code.coefficients(t), blocks, key=("encode-2", t), workers=[where], **encode)
        for t, where in zip(code.parity, addresses[4:], strict=True)
    ]
    await c.gather([*loads, *inputs])
    for _ in range(10):
        plugin.machine.shares.finished(addresses[0], 2.0, 1.0)
    future = c.get(graph("2", launch="adaptive", **kwargs), "total-2", sync=False)
    while not plugin.counters.omitted and not future.done():
        await asyncio.sleep(0.01)
    assert plugin.counters.omitted == 1
    if not plugin.counters.errors:
        own = s.tasks["piece-2", 0]
        assert own.worker_restrictions and not own.processing_on
    return plugin, future, [*loads, *inputs]


SIX = [("127.0.0.1", 1)] * 6


@pytest.fixture
def patient(monkeypatch):
    """Wait for what takes the place of a task that was left out, however busy the machine is."""
    monkeypatch.setattr(machine, "LEAST_PATIENCE", 60.0)


@pytest.mark.usefixtures("patient")
@coded_cluster(nthreads=SIX)
async def test_a_task_is_left_out_and_its_result_decoded(c, s, *workers):
    late = Lateness(min_task_runtime=5.0, interval=0.02)  # no busy machine takes so long
    plugin, future, kept = await shared_out(c, s, workers, late=late)
    assert await future == pytest.approx(answer(4), rel=1e-12)
    ran = {key for worker in workers for key in worker.state.tasks if key_split(key) == "piece"}
    assert ("piece-2", 0) not in ran
    assert (plugin.counters.decoded, plugin.counters.late, plugin.counters.errors) == (1, 0, 0)
    kept.clear()
    del future
    await nothing_left(s, plugin)
    assert not plugin.hands.placement.staying


@coded_cluster(nthreads=SIX, config={"distributed.scheduler.no-workers-timeout": "60s"})
async def test_nothing_is_left_out_where_that_would_fail(c, s, *workers):
    with pytest.raises(AssertionError, match="omitted"):
        await shared_out(c, s, workers)
    counters = s.plugins["dask-coded"].counters
    assert counters.omitted == counters.errors == 0
    ((_, told),) = s.get_events("warn")
    assert "no-workers-timeout" in pickle.loads(told["message"])


@coded_cluster(nthreads=SIX)
async def test_uninstalled_meanwhile_the_task_runs(c, s, *workers):
    plugin, future, kept = await shared_out(c, s, workers, slow={4: STUCK, 5: STUCK})
    await plugin.uninstall()
    assert await asyncio.wait_for(future, 60) == pytest.approx(answer(4), rel=1e-12)
    go_on.set()


@pytest.mark.parametrize("method", ["launch", "narrow", "close"])
def test_after_a_bug_the_task_runs(method, monkeypatch):
    def broken(self, *args, **kwargs):
        raise ZeroDivisionError("planted")

    @coded_cluster(nthreads=SIX)
    async def run(c, s, *workers):
        monkeypatch.setattr(Hands, method, broken)
        plugin, future, kept = await shared_out(c, s, workers)
        assert await asyncio.wait_for(future, 60) == pytest.approx(answer(4), rel=1e-12)
        monkeypatch.undo()
        assert plugin.counters.errors >= 1

    run()


@coded_cluster(nthreads=SIX)
async def test_cancelled_meanwhile_nothing_is_left(c, s, *workers):
    plugin, future, kept = await shared_out(c, s, workers, slow={4: STUCK, 5: STUCK})
    await c.cancel([future])
    go_on.set()
    kept.clear()
    del future
    await nothing_left(s, plugin)


@coded_cluster(nthreads=SIX)
async def test_the_worker_that_would_compute_parity_leaves(c, s, *workers):
    plugin, future, kept = await shared_out(c, s, workers, slow={4: STUCK, 5: STUCK})
    await asyncio.sleep(0.1)
    for worker in workers[4:]:
        await worker.close()
    go_on.set()
    assert await asyncio.wait_for(future, 60) == pytest.approx(answer(4), rel=1e-12)
    assert plugin.counters.errors == 0
