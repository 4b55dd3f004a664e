"""Clusters move, spill, copy and shrink; protected blocks stay recoverable through all of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, futures_of, wait
from persist_helpers import (
    assert_all_freed,
    holders,
    kill,
    pids_of,
    pieces,
    same_bytes,
    settled,
    source,
    until,
    until_gone,
)

import dask_coded as dc

pytestmark = pytest.mark.cluster

WORKERS = 5


@dataclass
class Kept:
    """Protected blocks, and what they must be whatever happens."""

    x: da.Array
    expected: np.ndarray
    runs: Path
    computed: int
    figures: dict[str, Any]
    groups: int

    def assert_whole(self, client: Client) -> None:
        """Every bit is there, and nothing was computed twice."""
        settled(client, self.groups)
        same_bytes(self.x, self.expected)
        assert len(self.runs.read_text()) == self.computed, "blocks were computed again"
        figures = dc.report(client).to_dict()
        assert all(figures[name] == self.figures[name] for name in ("recomputed", "errors"))

    def assert_survives(self, client: Client, victim: int = 0) -> None:
        """The loss of a worker, number 0 being the one with most blocks, costs no bit."""
        settled(client, self.groups)
        rebuilt = dc.report(client).to_dict()["rebuilt"]
        held = holders(client, self.x)
        kill(client, held[victim % len(held)])
        self.assert_whole(client)
        assert dc.report(client).to_dict()["rebuilt"] > rebuilt


def keep(client: Client, runs: Path, *, blocks: int = 6, rows: int = 10_000, group: int = 3) -> Kept:
    """Persist blocks with parity and wait until they are protected."""
    dc.install(client)
    figures = dc.report(client).to_dict()
    plain = source(runs, blocks=blocks, rows=rows)
    with dask.config.set(scheduler="sync"):
        expected = plain.compute()
    runs.write_text("")
    x = dc.persist(plain, parity=1, group=group)
    wait(x)
    groups = -(-blocks // group)
    settled(client, groups)
    return Kept(x, expected, runs, len(runs.read_text()), figures, groups)


def at(client: Client) -> dict[Any, list[str]]:
    """Return the workers that hold each piece of each group."""
    return {key: held for group in client.run_on_scheduler(pieces).values() for key, held in group.items()}


def retire(client: Client, worker: str) -> None:
    """Retire a worker for good: the cluster would start one in its place some time later."""
    name = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.workers[worker].name)
    client.retire_workers([worker])
    until_gone(client, worker)
    del client.cluster.worker_spec[name], client.cluster.workers[name]


def resize(client: Client, workers: int) -> None:
    client.cluster.scale(workers)
    until_running(client, workers)


def until_running(client: Client, workers: int) -> None:
    def running(dask_scheduler: Any) -> int:
        return (
            len(dask_scheduler.running) if len(dask_scheduler.running) == len(dask_scheduler.workers) else 0
        )

    # After adapting down, workers were seen to come only half a minute later.
    until(lambda: client.run_on_scheduler(running) == workers, 90, lambda: list(client.nthreads()))


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """One cluster for tests that leave it as they found it."""
    settings = {
        "distributed.comm.timeouts.connect": "3s",
        # Rebalance by what Dask knows it holds: the memory of processes changes as it likes.
        "distributed.worker.memory.rebalance.measure": "managed",
        "distributed.worker.memory.rebalance.sender-min": 0,
        "distributed.worker.memory.rebalance.sender-recipient-gap": 0,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, memory_limit="2GB", dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(shared_cluster: LocalCluster) -> Iterator[Client]:
    with Client(shared_cluster) as client:
        resize(client, WORKERS)
        yield client


def test_rebalance(client: Client, tmp_path: Path) -> None:
    kept = keep(client, tmp_path / "runs")
    before = at(client)
    heavy = holders(client, kept.x)[0]
    # Loose: pieces may come back to this worker, it may be the one that dies, and a task that must
    # run there would wait for ever.
    ballast = client.submit(np.ones, 3_000_000, workers=[heavy], allow_other_workers=True)
    wait(ballast)
    client.rebalance()
    assert not [key for key, held in at(client).items() if heavy in held and before[key] == held]
    kept.assert_whole(client)
    kept.assert_survives(client)
    del kept, ballast
    assert_all_freed(client)


def test_retired_workers(client: Client, tmp_path: Path) -> None:
    kept = keep(client, tmp_path / "runs")
    retire(client, holders(client, kept.x)[0])
    kept.assert_whole(client)
    # Now there are as many workers as pieces in a group, then one less.
    retire(client, holders(client, kept.x)[0])
    kept.assert_whole(client)
    resize(client, WORKERS)
    kept.assert_whole(client)
    kept.assert_survives(client)
    del kept
    assert_all_freed(client)


@pytest.mark.slow  # workers may come only half a minute after the cluster has adapted
def test_scaled_down_and_up_and_adapting(client: Client, tmp_path: Path) -> None:
    kept = keep(client, tmp_path / "runs")
    # The cluster does not retire these workers, it closes them: one at a time with one parity piece.
    for workers in (WORKERS - 1, WORKERS - 2):
        resize(client, workers)
        kept.assert_whole(client)
    resize(client, WORKERS)
    kept.assert_whole(client)
    adaptive = client.cluster.adapt(minimum=WORKERS - 1, maximum=WORKERS, interval="50ms", wait_count=1)
    try:
        until_running(client, WORKERS - 1)
        kept.assert_whole(client)
    finally:
        adaptive.stop()
    kept.assert_survives(client)
    del kept
    assert_all_freed(client)


def left_alone(client: Client, kept: Kept, seconds: float) -> None:
    """Let the memory manager work; it drops copies meanwhile, and no piece moves or goes."""
    before = at(client)
    plain = client.scatter(np.ones(1000), broadcast=True)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert at(client) == before
        time.sleep(0.2)
    until(lambda: len(client.who_has([plain])[plain.key]) == 1)
    assert at(client) == before
    kept.assert_whole(client)


@pytest.mark.parametrize("seconds", [6, pytest.param(65, marks=pytest.mark.slow)])
def test_memory_manager(client: Client, tmp_path: Path, seconds: float) -> None:
    assert client.amm.running()
    kept = keep(client, tmp_path / "runs")
    left_alone(client, kept, seconds)
    del kept
    assert_all_freed(client)


def test_killed_while_a_block_is_fetched(client: Client, tmp_path: Path) -> None:
    kept = keep(client, tmp_path / "runs", blocks=3, rows=500_000)
    (key, (holder,)) = next(iter(client.who_has(kept.x).items()))
    idle = min(set(client.nthreads()) - {held for (held,) in at(client).values()})
    (pid,) = pids_of(client, [holder]).values()

    def in_flight(dask_worker: Any) -> bool:
        ts = dask_worker.state.tasks.get(key)
        return ts is not None and ts.state == "flight"

    future = next(future for future in futures_of(kept.x) if future.key == key)
    # Frozen, the holder takes the request and never answers.
    os.kill(pid, signal.SIGSTOP)
    try:
        checksum = client.submit(crc32, future, workers=[idle], allow_other_workers=True)
        until(lambda: client.run(in_flight, workers=[idle])[idle])
    finally:
        os.kill(pid, signal.SIGKILL)
    until_gone(client, holder)
    kept.assert_whole(client)
    assert checksum.result(30) == crc32(future.result())
    del kept, checksum, future
    assert_all_freed(client)


@pytest.mark.usefixtures("short_connects")
def test_spilled_blocks(cluster: Callable[..., Client], tmp_path: Path) -> None:
    # What Dask knows it holds counts for the target, the whole process for the others.
    memory = "distributed.worker.memory."
    off = {f"{memory}{threshold}": False for threshold in ("spill", "pause", "terminate")}
    with dask.config.set({f"{memory}target": 0.001, **off}):
        client = cluster(4, memory_limit="1GB")
    kept = keep(client, tmp_path / "runs", blocks=12, rows=60_000)

    def spilled(dask_worker: Any) -> int:
        return len(dask_worker.data.slow)

    assert all(client.run(spilled).values()), "the dying worker and the others have blocks on disk"
    kept.assert_survives(client)
    assert any(client.run(spilled).values())
    del kept
    assert_all_freed(client)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_losses_in_a_row(client: Client, tmp_path: Path) -> None:
    kept = keep(client, tmp_path / "runs", blocks=12)
    for number in range(20):
        kept.assert_survives(client, victim=number)
        until_running(client, WORKERS)
    del kept
    assert_all_freed(client)
