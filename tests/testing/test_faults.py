"""Faults hit real processes: slowed, stopped and let go, killed and started anew."""

from __future__ import annotations

import os
import time

import dask
import psutil
import pytest
from distributed import Client, LocalCluster, TimeoutError

from dask_coded import testing

WORKERS = 2


def part_stopped(process: psutil.Process, looks: int = 100) -> float:
    """Return the part of a second in which the process was stopped."""
    found = []
    for _ in range(looks):
        found.append(process.status() == psutil.STATUS_STOPPED)
        time.sleep(1 / looks)
    return sum(found) / looks


def test_slow_frozen_and_killed(shared: Client) -> None:
    client = shared
    one, two = sorted(client.nthreads())
    pids = client.run(os.getpid)
    with testing.slow(client, one, factor=10):
        assert 0.6 < part_stopped(psutil.Process(pids[one])) < 1
        with testing.delays(client, testing.Constant(), unit=0.1, tasks=lambda name: name == "abs"):
            began = time.monotonic()
            assert client.submit(abs, -1, workers=[one], pure=False).result() == 1
            assert time.monotonic() - began > 0.4, "sleeping does not escape"
    assert psutil.Process(pids[one]).status() != psutil.STATUS_STOPPED

    with testing.freeze(client, two):
        time.sleep(0.1)  # the signal takes effect when the process is scheduled next
        assert psutil.Process(pids[two]).status() == psutil.STATUS_STOPPED
        stuck = client.submit(abs, -2, workers=[two], pure=False)
        with pytest.raises(TimeoutError):
            stuck.result(timeout=0.5)
    assert stuck.result(timeout=60) == 2

    testing.kill(client, two)
    # Its nanny must be the one that learns how it ended: not psutil.wait_procs.
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pids[two]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    deadline = time.monotonic() + 60
    while two in client.nthreads() and time.monotonic() < deadline:
        time.sleep(0.05)
    client.wait_for_workers(2, timeout=120)
    assert client.submit(abs, -3).result() == 3


@pytest.mark.cluster
def test_workers_are_found_whenever_the_client_looks() -> None:
    """It asks the scheduler about itself now and then, and keeps that answer in place of ours."""
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as local,
        Client(local) as client,
    ):
        (worker,) = client.nthreads()
        for _ in range(200):
            with pytest.raises(ValueError, match="start the cluster with processes=True"):
                testing.kill(client, worker)


def test_worker_that_cannot_be_reached_is_refused(shared: Client) -> None:
    client = shared
    worker, *_ = client.nthreads()
    with pytest.raises(ValueError, match="worker='tcp://nobody:1' is not in the cluster; choose from tcp://"):
        testing.kill(client, "tcp://nobody:1")
    with pytest.raises(ValueError, match="factor=0.5"):
        testing.slow(client, worker, factor=0.5).__enter__()


@pytest.mark.cluster
def test_worker_in_this_process_is_refused() -> None:
    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as local, Client(local) as client:
        (worker,) = client.nthreads()
        with pytest.raises(ValueError, match="start the cluster with processes=True"):
            testing.freeze(client, worker).__enter__()
