"""Pieces of a group lie on different machines, so that the loss of a whole one loses no bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster, wait
from persist_helpers import assert_all_freed, kill, same_bytes, settled, source, until

import dask_coded as dc

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("short_connects")]


@pytest.fixture
def client() -> Iterator[Client]:
    """Start two workers on each of three addresses of this machine."""
    hosts = [f"127.0.0.{number}" for number in (2, 2, 3, 3, 4, 4)]
    workers = {
        number: {"cls": Nanny, "options": {"nthreads": 1, "host": host}} for number, host in enumerate(hosts)
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": ":0"}}
    with SpecCluster(workers, scheduler) as cluster, Client(cluster) as client:
        client.wait_for_workers(len(workers), timeout=120)
        yield client


def crowded(dask_scheduler: Any) -> dict[str, list[str]]:
    """Return the groups with two pieces on one machine."""
    tasks, shelf = dask_scheduler.tasks, dask_scheduler.plugins["dask-coded"].vault.shelf
    hosts = {
        name: sorted(ws.host for key in group.pieces for ws in tasks[key].who_has or ())
        for name, group in shelf.groups.items()
    }
    return {name: found for name, found in hosts.items() if len(set(found)) < len(found)}


def test_a_machine_is_lost(client: Client, tmp_path: Any) -> None:
    runs = tmp_path / "runs"
    plain = source(runs, blocks=4)
    with dask.config.set(scheduler="sync"):
        expected = plain.compute()
    runs.write_text("")
    x = dc.persist(plain, parity=1, group=2)
    wait(x)
    settled(client, 2)
    until(lambda: not client.run_on_scheduler(crowded), state=lambda: client.run_on_scheduler(crowded))
    kill(
        client,
        *(address for address in client.nthreads() if "127.0.0.3" in address),
    )
    same_bytes(x, expected)
    assert len(runs.read_text()) == 4, "blocks were computed again"
    assert dc.report(client).to_dict()["errors"] == 0
    del x
    assert_all_freed(client)
