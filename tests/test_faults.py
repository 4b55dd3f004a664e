"""Products on real worker processes that are really slowed, stopped and killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from threading import Event, Thread
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, wait

import dask_coded as dc
from dask_coded import testing

WORKERS = 5
UNIT = 0.3  # seconds of a block product


def operands(waves: int = 2) -> tuple[da.Array, da.Array]:
    """Return persisted operands: `waves` block rows for each worker."""
    rng = da.random.default_rng(0)
    rows = 40 * WORKERS * waves
    a = rng.normal(size=(rows, 30), chunks=(40, 30)).persist()
    b = rng.normal(size=(30, 20), chunks=(30, 20)).persist()
    wait([a, b])
    return a, b


def is_product(name: str) -> bool:
    return name.startswith(("matmul", "piece", "parity"))


def last(client: Client) -> str:
    return sorted(client.nthreads())[-1]


def busiest(client: Client) -> str:
    """Return the worker with the most block products to do, while there are any."""

    def find(dask_scheduler: Any) -> str:
        def products(worker: Any) -> int:
            return sum(is_product(str(ts.key)) or is_product(str(ts.key[0])) for ts in worker.processing)

        return max(dask_scheduler.workers.values(), key=products).address

    return client.run_on_scheduler(find)


def delayed(client: Client) -> Any:
    return testing.delays(client, testing.Constant(), unit=UNIT, tasks=is_product)


async def stealing(change: str, dask_scheduler: Any) -> None:
    await getattr(dask_scheduler.extensions["stealing"], change)()


def left_over(dask_scheduler: Any) -> dict[str, Any]:
    """Return everything on the scheduler that is not there when it is idle."""
    plugin = dask_scheduler.plugins["dask-coded"]
    dask_scheduler.validate_state()
    found = {
        "tasks": sorted(map(str, dask_scheduler.tasks)),
        "client": "dask-coded" in dask_scheduler.clients,
        "books": list(plugin.machine.books),
        "lingering": list(plugin.hands.lingering),
        "held": [*plugin.machine.held, *plugin.hands.held.paused],
        "placed": list(plugin.hands.placement.where),
        "data": [ws.address for ws in dask_scheduler.workers.values() if ws.has_what],
    }
    return {name: value for name, value in found.items() if value}


def assert_nothing_left(client: Client, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while (left := client.run_on_scheduler(left_over)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    deadline = time.monotonic() + 60
    while (data := client.run(lambda dask_worker: list(dask_worker.data))) and time.monotonic() < deadline:
        if not any(data.values()):
            break
        time.sleep(0.1)
    assert not any(data.values())


def prefixes(dask_scheduler: Any) -> Counter[str]:
    """Return how many tasks of each kind have finished."""
    return Counter(
        {name: prefix.state_counts["memory"] for name, prefix in dask_scheduler.task_prefixes.items()}
    )


def finished(client: Client, kind: str) -> int:
    return sum(n for name, n in client.run_on_scheduler(prefixes).items() if name.startswith(kind))


During = Callable[[ExitStack, testing.Delays], None]


def nothing(stack: ExitStack, delays: testing.Delays) -> None:
    """Let a product be undisturbed."""


def when_started(products: int, fault: Callable[[], AbstractContextManager[Any]]) -> During:
    """Let the fault begin once so many block products have begun, however long that takes."""

    def during(stack: ExitStack, delays: testing.Delays) -> None:
        over = Event()

        def act() -> None:
            while len(delays.drawn()) < products:
                if over.wait(0.02):
                    return
            stack.enter_context(fault())

        thread = Thread(target=act)
        stack.callback(thread.join)
        stack.callback(over.set)
        thread.start()

    return during


def product(client: Client, during: During, **settings: Any) -> dict[str, Any]:
    """Compute a coded product while something happens; check it, and return the report."""
    a, b = operands()
    expected = a.compute() @ b.compute()
    with delayed(client) as delays, ExitStack() as stack:
        during(stack, delays)
        with dc.coded(parity=1, force=True, late={"silence": "1.5s"}, **settings):
            c = (a @ b).compute()
    np.testing.assert_allclose(c, expected, rtol=1e-10, atol=1e-10)
    found: dict[str, Any] = dc.report(client).to_dict()
    return found


def helped(figures: dict[str, Any]) -> int:
    """Return how often the plugin did something about a late task or its worker."""
    return int(figures["decoded"] + figures["rerun"] + figures["workers_held"])


def test_frozen_worker_holds_nothing_but_results(shared: Client) -> None:
    """No task of a group is late then; Dask would wait for minutes."""
    client = shared
    a, b = operands()
    expected = (a.compute() @ b.compute()).sum(axis=1)
    with dc.coded(parity=1, force=True):
        c = (a @ b).persist()
    wait(c)
    holder = next(iter(client.who_has(c).values()))[0]
    with testing.freeze(client, holder):
        found = client.compute(c.sum(axis=1)).result(timeout=120)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert dc.report(client).to_dict()["errors"] == 0
    del a, b, c
    assert_nothing_left(client)


def test_slow_frozen_and_killed_worker(shared: Client) -> None:
    client = shared
    figures = product(client, nothing)
    assert figures["groups"] >= 2
    assert figures["errors"] == 0
    before_fault = helped(figures)

    client.run_on_scheduler(stealing, "stop")  # Dask must not be the one to take work off the slow worker
    figures = product(client, when_started(2, lambda: testing.slow(client, busiest(client), 10)))
    client.run_on_scheduler(stealing, "start")
    assert helped(figures) > before_fault

    before = set(client.nthreads())
    product(client, when_started(WORKERS + 1, lambda: testing.freeze(client, busiest(client))))
    assert_nothing_left(client)
    assert set(client.nthreads()) == before, "the worker survived its sleep"

    def killed() -> AbstractContextManager[None]:
        return nullcontext(testing.kill(client, busiest(client)))

    figures = product(client, when_started(WORKERS + 1, killed))
    assert figures["errors"] == 0
    client.wait_for_workers(WORKERS, timeout=120)
    assert_nothing_left(client)


def make_block(block_id: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Take longer than a product does."""
    time.sleep(6 * UNIT)
    return np.full((40, 30), float(block_id[0]))


def test_dear_operands_are_not_computed_again_for_parity(shared: Client) -> None:
    """They are released once they are multiplied; the late product runs again instead."""
    client = shared
    dc.install(client)
    a = da.map_blocks(make_block, chunks=((40,) * 10, 30), dtype=float, meta=np.empty((0, 0)))
    b = da.ones((30, 20), chunks=(30, 20)).persist()
    with delayed(client), testing.slow(client, last(client), 20):
        with dc.coded(parity=1, force=True):
            c = (a @ b).compute()
    np.testing.assert_allclose(c, np.repeat(30.0 * np.arange(10), 40)[:, None] * np.ones(20))
    # Not by marks: a block that the slow worker takes too long for begins twice, and is done once.
    assert finished(client, "make_block") == 10
    figures = dc.report(client).to_dict()
    assert helped(figures) and figures["errors"] == 0
    del b
    assert_nothing_left(client)


def test_eager_parity_and_copies_with_a_slow_worker(shared: Client) -> None:
    client = shared
    before = 0
    for settings in ({"launch": "eager"}, {"code": "replication"}):
        figures = product(
            client,
            lambda stack, _: stack.enter_context(testing.slow(client, last(client), 10)),
            **settings,
        )
        assert figures["errors"] == 0
        assert helped(figures) > before, settings
        before = helped(figures)
        assert_nothing_left(client)  # a worker that is still held back would not be late again


def future_of(client: Client) -> Any:
    a, b = operands()
    with dc.coded(parity=1, force=True):
        return client.compute(a @ b)


def test_nothing_is_left_after_cancelling_leaving_restarting_and_retiring(cluster) -> None:
    client = cluster(WORKERS)
    dc.install(client)

    with delayed(client), testing.slow(client, last(client), 10):
        future = future_of(client)
        time.sleep(2 * UNIT)
        future.cancel()
        del future
    assert_nothing_left(client)

    with delayed(client), testing.slow(client, last(client), 10):
        with Client(client.scheduler.address, set_as_default=True) as other:
            future = future_of(other)
            time.sleep(2 * UNIT)
            del future
    client.as_current()
    assert_nothing_left(client)

    with delayed(client):
        future = future_of(client)
        time.sleep(2 * UNIT)
        client.retire_workers([last(client)])
        client.cluster.scale(WORKERS + 1)
        assert future.result().shape == (40 * WORKERS * 2, 20)
        del future
    assert_nothing_left(client)

    with delayed(client):
        future = future_of(client)
        time.sleep(2 * UNIT)
        client.restart(timeout=120)
        del future
    assert_nothing_left(client)
    assert product(client, nothing)["errors"] == 0
