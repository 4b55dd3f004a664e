"""The adapter on a scheduler that checks its own books after every transition."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from time import time

import pytest
from distributed import Nanny
from distributed.utils_test import gen_cluster
from distributed.worker_state_machine import UnpauseEvent

from dask_coded.runtime import machine as machine_module
from dask_coded.runtime.group import Lateness
from dask_coded.runtime.scheduler_plugin import CodedPlugin
from dask_coded.runtime.scheduler_plugin.acts import CLIENT
from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.held import TELL_AGAIN, HeldWorkers
from dask_coded.runtime.scheduler_plugin.versions import Versions

from .problems import STUCK, answer, fail, go_on, graph, poison, take_time

pytestmark = pytest.mark.cluster
FOUR = [("127.0.0.1", 1)] * 4


@pytest.fixture(autouse=True)
def nothing_stays_stuck() -> Iterator[None]:
    go_on.clear()
    yield
    go_on.set()


def coded_cluster(**kwargs):
    return gen_cluster(client=True, nthreads=kwargs.pop("nthreads", FOUR), timeout=200, **kwargs)


async def plugin_on(client, scheduler) -> CodedPlugin:
    await client.register_plugin(CodedPlugin())
    return scheduler.plugins[CodedPlugin.name]


async def compute(client, name, **kwargs):
    return await client.get(graph(name, **kwargs), f"total-{name}", sync=False)


async def nothing_left(scheduler, plugin, seconds=60.0) -> None:
    deadline = time() + seconds
    while time() < deadline and (scheduler.tasks or CLIENT in scheduler.clients or plugin.hands.held.paused):
        await asyncio.sleep(0.02)
    assert not scheduler.tasks
    assert CLIENT not in scheduler.clients
    assert not plugin.machine.books
    assert not plugin.hands.lingering
    assert not plugin.hands.held.paused
    assert not plugin.machine.held
    assert all(not worker.has_what for worker in scheduler.workers.values())
    scheduler.validate_state()


@coded_cluster()
async def test_no_fault_takes_every_block_as_it_is(c, s, *workers):
    plugin = await plugin_on(c, s)
    value = await compute(c, "plain")
    assert value == answer(4)
    assert plugin.counters.groups == 1
    assert plugin.counters.parity_tasks == plugin.counters.decoded == plugin.counters.errors == 0
    await nothing_left(s, plugin)


@coded_cluster()
async def test_worker_that_does_not_begin_is_late(c, s, *workers):
    """It answers, and executes nothing."""
    plugin = await plugin_on(c, s)
    tasks = graph("idle", seconds=0.3)  # heartbeats tell before that is over
    loads = [key for key in tasks if key[0] == "load-idle"]
    held = c.get(tasks, loads, sync=False)
    await c.gather(held)
    idle = next(worker for worker in workers if loads[2] in worker.data)
    idle.state.nthreads = 0
    future = c.get(tasks, "total-idle", sync=False)
    while not s.workers[idle.address].processing:
        await asyncio.sleep(0.001)
    beats = asyncio.ensure_future(beat(idle))
    assert await asyncio.wait_for(future, 20) == pytest.approx(answer(4), rel=1e-12)
    assert plugin.counters.decoded == 1
    beats.cancel()
    idle.state.nthreads = 1
    idle.handle_stimulus(UnpauseEvent(stimulus_id="test"))
    del held, future
    await nothing_left(s, plugin)


async def beat(worker) -> None:
    """Let the scheduler know at any time what a worker executes."""
    while True:
        await worker.heartbeat()
        await asyncio.sleep(0.01)


@coded_cluster()
async def test_queues_of_work_are_no_fault(c, s, *workers):
    plugin = await plugin_on(c, s)
    # Tasks wait for three seconds: late if that counted, and no busy machine takes so long for a task.
    value = await compute(c, "queues", k=48, seconds=0.25, late=Lateness(min_task_runtime=2.0, interval=0.02))
    assert value == answer(48)
    assert plugin.counters.workers_held == plugin.counters.parity_tasks == 0
    await nothing_left(s, plugin)


@coded_cluster()
async def test_straggler_is_decoded_from_late_parity(c, s, *workers):
    plugin = await plugin_on(c, s)
    value = await compute(c, "late", slow={2: STUCK})
    assert value == pytest.approx(answer(4), rel=1e-12)
    assert plugin.counters.decoded == 1
    assert plugin.counters.errors == 0
    await asyncio.sleep(1.0)
    go_on.set()
    await nothing_left(s, plugin)
    assert plugin.counters.seconds_saved > 0.9


@coded_cluster()
async def test_straggler_is_decoded_from_eager_parity(c, s, *workers):
    plugin = await plugin_on(c, s)
    value = await compute(c, "eager", slow={1: STUCK}, launch="eager")
    assert value == pytest.approx(answer(4), rel=1e-12)
    assert plugin.counters.decoded == 1
    go_on.set()
    await nothing_left(s, plugin)


@coded_cluster()
async def test_eager_without_fault_decodes_nothing(c, s, *workers):
    plugin = await plugin_on(c, s)
    value = await compute(c, "eager", launch="eager")
    assert value == answer(4)
    assert plugin.counters.decoded == 0
    await nothing_left(s, plugin)


@coded_cluster()
async def test_stage_after_a_straggler_does_not_queue_behind_it(c, s, *workers):
    plugin = await plugin_on(c, s)
    await compute(c, "first", slow={2: STUCK})
    value = await compute(c, "second", seconds=0.2)
    assert value == pytest.approx(answer(4), rel=1e-12)
    go_on.set()
    await nothing_left(s, plugin)


@coded_cluster()
async def test_work_does_not_queue_behind_a_cancelled_task(c, s, *workers):
    plugin = await plugin_on(c, s)
    stuck = c.submit(take_time, STUCK, workers=[workers[0].address])
    await asyncio.sleep(0.3)
    await stuck.cancel()
    value = await compute(c, "cancelled", k=8, seconds=0.2)
    assert value == pytest.approx(answer(8), rel=1e-12)
    assert workers[0].address in plugin.hands.held.paused
    go_on.set()
    await nothing_left(s, plugin)


@coded_cluster()
async def test_parity_that_fails_fails_nothing(c, s, *workers):
    plugin = await plugin_on(c, s)
    value = await compute(c, "bad", slow={2: 1.0}, parity_work=fail)
    assert value == answer(4)
    assert plugin.counters.decoded == 0
    await nothing_left(s, plugin)


@coded_cluster()
async def test_decode_that_is_not_finite_is_refused(c, s, *workers):
    plugin = await plugin_on(c, s)
    future = asyncio.ensure_future(compute(c, "nan", slow={2: STUCK}, work=poison))
    while not plugin.counters.refused and not future.done():
        await asyncio.sleep(0.02)
    go_on.set()
    assert await future == answer(4)
    assert plugin.counters.refused >= 1
    assert plugin.counters.decoded == 0
    await nothing_left(s, plugin)


@coded_cluster()
async def test_failing_task_fails_as_with_plain_dask(c, s, *workers):
    plugin = await plugin_on(c, s)
    future = c.get(graph("error", work=fail), "total-error", sync=False)
    with pytest.raises(RuntimeError, match="on purpose"):
        await future
    assert plugin.counters.errors == 0
    deadline = time() + 60
    while CLIENT in s.clients and time() < deadline:
        await asyncio.sleep(0.02)
    assert CLIENT not in s.clients


@coded_cluster()
async def test_cancelled_half_way_leaves_nothing(c, s, *workers):
    plugin = await plugin_on(c, s)
    (future,) = c.get(graph("cancel", slow={2: 2.0}), ["total-cancel"], sync=False)
    await asyncio.sleep(0.6)
    await future.cancel()
    del future
    await nothing_left(s, plugin)


@coded_cluster()
async def test_client_that_leaves_takes_everything_along(c, s, *workers):
    plugin = await plugin_on(c, s)
    from distributed import Client

    other = await Client(s.address, asynchronous=True)
    future = other.get(graph("leave", slow={2: 2.0}), "total-leave", sync=False)
    await asyncio.sleep(0.4)
    await other.close()
    del future
    await nothing_left(s, plugin)


@coded_cluster(Worker=Nanny, nthreads=[("127.0.0.1", 1)] * 2)
async def test_restart_forgets_everything(c, s, *workers):
    plugin = await plugin_on(c, s)
    future = c.get(graph("restart", slow={2: 3.0}), "total-restart", sync=False)
    await asyncio.sleep(0.5)
    await c.restart(timeout=120)
    del future
    await nothing_left(s, plugin)
    value = await compute(c, "again")
    assert value == answer(4)
    await nothing_left(s, plugin)


@coded_cluster()
async def test_worker_retired_and_worker_added_half_way(c, s, *workers):
    from distributed import Worker

    plugin = await plugin_on(c, s)
    future = c.get(graph("retire", k=8, seconds=0.3), "total-retire", sync=False)
    await asyncio.sleep(0.4)
    async with Worker(s.address, nthreads=1):
        await c.retire_workers([workers[0].address])
        assert await future == answer(8)
        del future
        await nothing_left(s, plugin)


@coded_cluster()
async def test_same_graph_again_while_its_result_is_alive(c, s, *workers):
    plugin = await plugin_on(c, s)
    keys = [("work-twice", w) for w in range(4)]
    first = c.get(graph("twice", slow={2: 1.0}), keys, sync=False)
    await c.gather(first)
    again = c.get(graph("twice", slow={2: 1.0}), "total-twice", sync=False)
    assert await again == pytest.approx(answer(4), rel=1e-12)
    del first, again
    await nothing_left(s, plugin)


@coded_cluster()
async def test_a_task_is_taken_from_a_frozen_worker_each_time_it_is_submitted(c, s, *workers):
    plugin = await plugin_on(c, s)
    for _ in range(2):
        future = c.get(graph("again", seconds=0.5), "total-again", sync=False)
        while ("piece-again", 0) not in s.tasks or not s.tasks["piece-again", 0].processing_on:
            await asyncio.sleep(0.01)
        frozen = s.tasks["piece-again", 0].processing_on.address
        plugin.hands.held.hold(frozen, True, "test")
        assert ("piece-again", 0) in plugin.hands.held.taken
        assert all(ws.address != frozen for ws in [s.tasks["piece-again", 0].processing_on] if ws)
        assert await future == pytest.approx(answer(4), rel=1e-12)
        plugin.hands.held.free(frozen)
        del future
        await nothing_left(s, plugin)
        assert not plugin.hands.held.taken


@coded_cluster()
async def test_others_are_told_of_a_frozen_worker_once_at_a_time(c, s, *workers):
    """Told twice while it ends an attempt to connect, a worker fails and closes."""
    plugin = await plugin_on(c, s)
    send, told = s.worker_send, []

    def watched(address, message):
        if message["op"] == "remove-worker":
            told.append((message["worker"], address))
        send(address, message)

    s.worker_send = watched
    frozen, *others = (worker.address for worker in workers)
    plugin.hands.held.hold(frozen, True, "test")
    assert sorted(told) == sorted((frozen, other) for other in others)
    while len(told) < 3 * len(others):  # what began to read from it meanwhile would wait for ever
        await asyncio.sleep(TELL_AGAIN)
    plugin.hands.held.free(frozen)
    number = len(told)
    plugin.hands.held.hold(frozen, True, "test")
    plugin.hands.held.free(frozen)
    await asyncio.sleep(3 * TELL_AGAIN)
    assert len(told) == number + len(others)


@coded_cluster()
async def test_uninstalled_half_way_goes_on_plain(c, s, *workers):
    plugin = await plugin_on(c, s)
    future = c.get(graph("gone", slow={2: 1.5}), "total-gone", sync=False)
    await asyncio.sleep(0.4)
    await plugin.uninstall()
    assert await future == pytest.approx(answer(4), rel=1e-12)
    assert CodedPlugin.name not in s.plugins
    del future
    deadline = time() + 60
    while s.tasks and time() < deadline:
        await asyncio.sleep(0.02)
    assert not s.tasks


EVENTS = ["_add", "_finished", "_released", "_ticked", "_forgotten"]
ACTS = ["register", "want", "launch", "narrow", "close", "settle", "let_go"]
TOLD = ["on_waiting", "on_memory", "on_target", "on_forgotten"]


@pytest.mark.parametrize(
    "owner, method",
    [
        *((machine_module.Machine, m) for m in EVENTS),
        *((Hands, m) for m in ACTS),
        *((HeldWorkers, m) for m in ("hold", "_move_queued")),
        *((Versions, m) for m in TOLD),
    ],
)
def test_bug_in_any_hook_is_logged_and_harms_nothing(owner, method, monkeypatch, caplog):
    def broken(self, *args, **kwargs):
        raise ZeroDivisionError("planted")

    @coded_cluster()
    async def run(c, s, *workers):
        plugin = await plugin_on(c, s)
        monkeypatch.setattr(owner, method, broken)
        future = asyncio.ensure_future(compute(c, f"broken-{method}", slow={2: STUCK}))
        # What is called only in the end fails only after the decode.
        while not plugin.counters.errors and not future.done():
            await asyncio.sleep(0.02)
        go_on.set()
        assert await future == pytest.approx(answer(4), rel=1e-12)
        deadline = time() + 60
        while (s.tasks or CLIENT in s.clients) and time() < deadline:
            await asyncio.sleep(0.05)
        monkeypatch.undo()
        assert plugin.counters.errors >= 1
        assert not s.tasks
        assert CLIENT not in s.clients

    with caplog.at_level(logging.ERROR, logger="distributed.scheduler.coded"):
        run()
    assert any("coding is given up" in record.message for record in caplog.records)
