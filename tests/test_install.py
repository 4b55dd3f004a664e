"""The plugin gets to the scheduler by every documented way, once, and goes away again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from array_helpers import coded_groups, forced
from distributed import Client, LocalCluster, wait
from distributed.utils_test import gen_cluster
from graph.graph_cases import tall, wide

import dask_coded as dc
from dask_coded.graph.lanes import NotSeparable
from dask_coded.runtime.scheduler_plugin import CodedPlugin, here

HANDLERS = {"coded_report", "coded_uninstall"}
WITHOUT_PACKAGE = """
import sys
sys.modules["dask_coded"] = None
from distributed.cli.dask_scheduler import main
main(["--port", "0", "--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", sys.argv[1]])
"""


def plugin_of(scheduler: Any) -> CodedPlugin | None:
    """Return the plugin that runs; without it nothing of it may be there."""
    found = scheduler.plugins.get(CodedPlugin.name)
    assert (HANDLERS & scheduler.handlers.keys()) == (HANDLERS if found else set())
    assert here.workers() == (len(scheduler.workers) if found else 0)
    return found


@pytest.mark.parametrize("function", [dc.install, dc.uninstall, dc.report])
def test_without_a_client(function):
    with pytest.raises(ValueError, match="client=None .*create one or pass client="):
        function()
    with pytest.raises(TypeError, match="client='tcp://here:8786' is not a distributed.Client"):
        function("tcp://here:8786")


@pytest.mark.filterwarnings("ignore:a coded computation ran as plain:dask_coded.CodedWarning")
def test_install_and_uninstall(cluster):
    client = cluster(2, processes=False)
    scheduler = client.cluster.scheduler
    x = tall() @ wide()
    value = x.compute()
    assert plugin_of(scheduler) is None
    with pytest.raises(dc.CodedError, match="no dask_coded plugin; call dask_coded.install"):
        dc.report(client)

    assert dc.install() is None
    plugin = plugin_of(scheduler)
    assert plugin is not None
    with forced():
        assert np.array_equal(x.compute(), value)
    groups = coded_groups(client)
    assert groups > 0
    dc.install(client)
    with dc.coded():
        assert plugin_of(scheduler) is plugin
    assert coded_groups(client) == groups

    with forced():
        dc.uninstall()
        assert plugin_of(scheduler) is None
        assert np.array_equal(x.compute(), value)
    with pytest.raises(dc.CodedError):
        dc.report()
    dc.uninstall(client)
    with forced():
        assert plugin_of(scheduler) is not plugin
        assert np.array_equal(x.compute(), value)
    assert coded_groups(client) == groups


def warned(told: pytest.WarningsRecorder) -> int:
    return sum(warning.category is dc.CodedWarning for warning in told)


def test_clients_are_warned_once_where_no_plugin_runs(cluster):
    client = cluster(2, processes=False)
    x = dc.encode(tall(), parity=1)
    kept = x.persist()
    wait(kept)
    dc.uninstall(client)
    with pytest.warns(dc.CodedWarning, match="its scheduler has no dask_coded plugin") as told:
        tall().sum().compute()
        assert not warned(told), "nothing in it is encoded"
        kept.sum().compute()
        assert warned(told) == 1
        (x + 1).sum().compute()
        (kept + 2).compute()
    assert warned(told) == 1


def test_clients_are_warned_where_lanes_cannot_be_told_apart(cluster, monkeypatch):
    def mixed(*args):
        raise NotSeparable("for the test")

    cluster(2, processes=False)
    x = tall() @ wide()
    value = x.compute()
    monkeypatch.setattr("dask_coded.graph.optimizer.rewrite", mixed)
    with (
        forced(),
        pytest.warns(dc.CodedWarning, match="is not coded: Dask's tasks for it mix its lanes") as told,
    ):
        assert np.array_equal(x.compute(), value)
        assert np.array_equal(x.compute(), value)
        assert warned(told) == 1


@pytest.mark.parametrize(
    "arguments, settings",
    [
        ({"scheduler_kwargs": {"preload": "dask_coded"}}, {}),
        ({}, {f"distributed.{role}.preload": ["dask_coded"] for role in ("scheduler", "worker")}),
    ],
)
def test_preload(cluster, arguments, settings):
    with dask.config.set(settings):
        client = cluster(2, processes=False, **arguments)
    scheduler = client.cluster.scheduler
    plugin = plugin_of(scheduler)
    assert plugin is not None
    assert coded_groups(client) == 0
    with forced():
        (tall() @ wide()).compute()
    assert plugin_of(scheduler) is plugin
    assert coded_groups(client) > 0


def test_client_that_comes_later_installs_the_plugin():
    x = tall() @ wide()
    switch = forced()
    try:
        with LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster:
            assert plugin_of(cluster.scheduler) is None
            with Client(cluster) as client:
                assert plugin_of(cluster.scheduler) is not None
                assert np.array_equal(x.compute(), x.compute(scheduler="sync"))
                assert coded_groups(client) > 0
    finally:
        switch.__exit__(None, None, None)


@pytest.mark.filterwarnings("ignore:a coded computation ran as plain:dask_coded.CodedWarning")
@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=200)
async def test_asynchronous_client(c, s, *workers):
    x = tall() @ wide()
    value = await c.compute(x)
    with pytest.raises(dc.CodedError, match="no dask_coded plugin"):
        await dc.report(c)
    await dc.install(c)
    assert plugin_of(s) is not None
    with forced():
        assert np.array_equal(await c.compute(x), value)
    groups = (await dc.report(c)).to_dict()["groups"]
    assert groups > 0
    product = dc.matmul(tall(), wide(), code=dc.codes.parity(5, 1))
    assert np.array_equal(await c.compute(product), value)
    assert (await dc.report(c)).to_dict()["groups"] == groups + 3
    await dc.uninstall(c)
    assert plugin_of(s) is None
    with forced():
        assert np.array_equal(await c.compute(x), value)
    assert plugin_of(s) is None


@pytest.fixture
def bare_scheduler(tmp_path: Path) -> Iterator[str]:
    """Start a scheduler in a process that cannot import dask_coded; return its connection file."""
    file = str(tmp_path / "scheduler.json")
    process = subprocess.Popen([sys.executable, "-c", WITHOUT_PACKAGE, file], stderr=subprocess.DEVNULL)
    try:
        yield file
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.cluster
def test_scheduler_without_the_package(bare_scheduler):
    with Client(scheduler_file=bare_scheduler, timeout=60):
        for function in (dc.install, dc.coded):
            with pytest.raises(dc.CodedError, match="cannot import 'dask_coded.*; install dask_coded where"):
                function()
        assert "array_optimize" not in dask.config.config
