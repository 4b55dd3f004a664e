"""Workers with a device are made ready for it; others are left alone."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, LocalCluster

import dask_coded as dc
from dask_coded.kernels import devices
from dask_coded.runtime.device_plugin import DevicePlugin

WORKER: Any = SimpleNamespace(address="tcp://here")


def set_up() -> None:
    asyncio.run(DevicePlugin().setup(WORKER))


def backend(monkeypatch: pytest.MonkeyPatch, prepare: Any) -> None:
    monkeypatch.setitem(sys.modules, devices.BACKENDS["cupy"], SimpleNamespace(prepare=prepare))


@pytest.mark.parametrize("there", [True, False])
def test_a_device_is_set_up_once_and_told_of(
    there: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[None] = []
    backend(monkeypatch, lambda: calls.append(None) or there)
    with caplog.at_level(logging.INFO, "distributed.worker.coded"):
        set_up()
    assert len(calls) == 1
    assert [record.message for record in caplog.records] == (
        ["tcp://here is ready for blocks on its device"] if there else []
    )


def test_a_broken_device_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def prepare() -> bool:
        raise RuntimeError("cudaErrorUnknown")

    backend(monkeypatch, prepare)
    set_up()
    assert "device of tcp://here cannot be used" in caplog.text and "cudaErrorUnknown" in caplog.text


def test_without_cupy_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, devices.BACKENDS["cupy"], raising=False)
    assert not devices.prepare()
    with caplog.at_level(logging.INFO, "distributed.worker.coded"):
        set_up()
    assert not caplog.records


@pytest.mark.gpu
def test_a_real_device_is_set_up() -> None:
    assert devices.prepare() and devices.prepare()


def has_plugin(client: Client) -> set[bool]:
    names = client.run(lambda dask_worker: DevicePlugin.name in dask_worker.plugins)
    return set(names.values())


@pytest.mark.cluster
def test_workers_get_it_with_the_scheduler_plugin() -> None:
    with (
        LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        dc.install(client)
        deadline = time.monotonic() + 60
        while has_plugin(client) != {True} and time.monotonic() < deadline:
            time.sleep(0.05)
        assert has_plugin(client) == {True}
        dc.uninstall(client)
        cluster.scale(3)
        client.wait_for_workers(3)
        assert has_plugin(client) == {True, False}
