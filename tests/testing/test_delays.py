"""Delays on a real cluster: slept, reported, reproducible, and gone afterwards."""

from __future__ import annotations

import time

import pytest
from distributed import Client, Scheduler, Worker

from dask_coded import testing
from dask_coded.testing.delays import DelayingThreadPoolExecutor

WORKERS = 2


def twice(x: int) -> int:
    return 2 * x


def busy(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def duration(dask_scheduler: Scheduler) -> float:
    return dask_scheduler.task_prefixes["twice"].duration_average


def executors(dask_worker: Worker) -> tuple[str, ...]:
    """Return the kinds of executors that a task goes through."""
    found = [dask_worker.executors["default"]]
    while isinstance(found[-1], DelayingThreadPoolExecutor):
        found.append(found[-1].inner)
    return tuple(type(executor).__name__ for executor in found)


def drawn_factors(client: Client, seed: int) -> dict[str, list[float]]:
    """Run ten tasks on each worker and return what they drew."""
    with testing.delays(client, testing.ShiftedExponential(1.0), unit=0.001, seed=seed) as delays:
        for worker in client.nthreads():
            client.gather([client.submit(twice, i, workers=[worker], pure=False) for i in range(10)])
        found: dict[str, list[float]] = {}
        for draw in delays.drawn():
            found.setdefault(draw.worker, []).append(draw.factor)
    return found


def test_delays_are_slept_counted_and_reproducible(shared: Client) -> None:
    client = shared
    with testing.delays(client, testing.Constant(), unit=0.3):
        began = time.monotonic()
        future = client.submit(twice, 1)
        assert future.result() == 2
        assert time.monotonic() - began >= 0.3
        (task,) = client.run_on_scheduler(
            lambda dask_scheduler: [
                prefix.duration_average for prefix in dask_scheduler.task_prefixes.values()
            ]
        )
        assert task >= 0.3
    with testing.delays(client, testing.Constant(4.0)):
        began = time.monotonic()
        client.submit(busy, 0.1).result()
        assert time.monotonic() - began >= 0.39
    with testing.delays(client, testing.Constant(), unit=9.0, tasks=lambda name: name == "busy") as delays:
        assert client.submit(twice, 2).result() == 4
        assert delays.drawn() == []
    with testing.delays(client, testing.Constant(), unit=60.0):
        future = client.submit(twice, 4)
        time.sleep(0.3)
        assert not future.done()
    assert future.result(timeout=50) == 8, "tasks that sleep wake up in the end"
    first, again, other = (drawn_factors(client, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert [len(factors) for factors in first.values()] == [10, 10]
    one, two = first.values()
    assert one != two
    assert set(client.run(executors).values()) == {("ThreadPoolExecutor",)}, "nothing is delayed any more"


def test_delays_nest_and_leave_errors_alone(shared: Client) -> None:
    client = shared
    outer = testing.delays(client, testing.Constant(), unit=0.2)
    inner = testing.delays(client, testing.Constant(), unit=0.2)
    outer.__enter__()
    inner.__enter__()
    began = time.monotonic()
    client.submit(twice, 1).result()
    assert time.monotonic() - began >= 0.4
    outer.__exit__(None, None, None)  # in the wrong order: the other one stays
    began = time.monotonic()
    client.submit(twice, 2).result()
    assert time.monotonic() - began >= 0.2
    assert set(client.run(executors).values()) == {("DelayingThreadPoolExecutor", "ThreadPoolExecutor")}
    with pytest.raises(TypeError):
        client.submit(twice, None).result()
    inner.__exit__(None, None, None)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="model=3"):
        testing.delays(None, 3).__enter__()
    with pytest.raises(ValueError, match="unit=-1"):
        testing.delays(None, testing.Constant(), unit=-1).__enter__()
