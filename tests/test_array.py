"""What `coded` changes and what it does not: the same bits as plain Dask, and nothing left behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from array_helpers import coded_groups, forced, leftovers
from distributed import Client, LocalCluster, wait
from graph.graph_cases import PROBLEMS, tall, wide
from graph.graph_helpers import groups, rewritten

import dask_coded as dc
from dask_coded.runtime.scheduler_plugin.acts import CLIENT

WORKERS = 4
ON_CLUSTER = """matmul, dot, vector, vector on the left, lazy operands, transposed, random operands, a @ a.T,
    einsum, einsum transposed, tensordot two axes, batched, broadcast batch, ragged, two products, chained,
    from itself, summed, float32, complex, real by complex, int64, int8 in one block"""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    settings = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(n_workers=WORKERS, **settings) as cluster, Client(cluster) as client:
        yield client


def same(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and np.array_equal(np.asarray(one), np.asarray(other))


def tasks_of(x: da.Array) -> dict[Any, str]:
    (optimized,) = dask.optimize(x)
    return {key: repr(task) for key, task in dict(optimized.__dask_graph__()).items()}


@pytest.mark.parametrize("name", ["matmul", "gram", "chained", "batched", "int64", "outer"])
def test_without_a_client_nothing_changes(name):
    x = PROBLEMS[name]()
    plain, value = tasks_of(x), x.compute(scheduler="sync")
    with forced(parity=2):
        assert tasks_of(x) == plain
        for scheduler in ("sync", "threads"):
            assert same(x.compute(scheduler=scheduler), value)


def settings_now() -> Any:
    return getattr(dask.config.get("array_optimize", None), "settings", None)


def test_coded_restores_the_configuration():
    with dask.config.set({"distributed.client.preload": "elsewhere"}):
        before = dict(dask.config.config)
        with dc.coded(parity=1):
            with dc.coded(parity=3, launch="eager"):
                assert (settings_now().parity, settings_now().launch) == (3, "eager")
                assert dask.config.get("distributed.client.preload") == ["elsewhere", "dask_coded"]
            assert (settings_now().parity, settings_now().launch) == (1, "late")
        assert dask.config.config == before
        with pytest.raises(ZeroDivisionError), dc.coded():
            raise ZeroDivisionError
        with pytest.raises(ValueError, match="parity=0"):
            dc.coded(parity=0)
        assert dask.config.config == before
        switch = dc.coded(parity=2)
        with dc.coded(parity=4):
            assert settings_now().parity == 4
        assert settings_now().parity == 2
        switch.__exit__(None, None, None)
        assert dask.config.config == before


@pytest.mark.cluster
@pytest.mark.parametrize("name", [" ".join(name.split()) for name in ON_CLUSTER.split(",")])
def test_same_bits_as_plain_dask(client, name):
    x = PROBLEMS[name]()
    value = x.compute()
    assert not leftovers(client)
    with forced():
        before = coded_groups(client)
        assert same(x.compute(), value)
    assert not leftovers(client)
    assert coded_groups(client) - before == len(groups(rewritten(x, workers=WORKERS))) > 0


@pytest.mark.cluster
def test_settings_take_effect(client):
    x = tall() @ wide()
    value = x.compute()
    many = (
        {"parity": 2},
        {"parity": (1, 1)},
        {"code": "replication"},
        {"launch": "eager"},
        {"axis": "columns"},
    )
    for settings in many:
        assert not leftovers(client)
        before = dc.report(client).to_dict()
        with forced(**settings):
            assert same(x.compute(), value), settings
        after = dc.report(client).to_dict()
        expected = len(groups(rewritten(x, workers=WORKERS, **settings)))
        assert after["groups"] - before["groups"] == expected > 0, settings
        assert settings.get("launch") == "eager" or after["parity_tasks"] == before["parity_tasks"]
    plain = (
        {"dry": True},
        {"force": False},
        {"force": False, "min_columns": 0},
        {"force": False, "min_seconds": 0},
    )
    before = coded_groups(client)
    for settings in plain:
        with forced(**settings):
            assert same(x.compute(), value), settings
    tasks = tasks_of(x)
    with forced():
        assert tasks_of(x) == tasks
        assert same(x.compute(scheduler="threads"), value)
        assert same(dask.compute(x, optimize_graph=False)[0], value)
        assert same((tall() + 1).compute(), (tall() + 1).compute(scheduler="sync"))
    assert coded_groups(client) == before
    with forced(force=False, min_columns=0, min_seconds=0):
        assert same(x.compute(), value)
    assert coded_groups(client) > before
    assert not leftovers(client)


@pytest.mark.cluster
def test_persisted_operands_and_results(client):
    value = (tall() @ wide()).compute()
    before = coded_groups(client)
    a, b = dask.persist(tall(), wide())
    with forced():
        x = (a @ b).persist()
    wait(x)
    assert coded_groups(client) > before
    assert len(client.cluster.scheduler.clients[client.id].wants_what) == sum(
        map(lambda z: z.npartitions, (a, b, x))
    )
    assert CLIENT not in client.cluster.scheduler.clients
    del a, b
    assert same(x.compute(), value)
    assert same((x + 1).compute(), value + 1)
    del x
    assert not leftovers(client)


def computed_in_a_task(optimizer: Any) -> list[str]:
    """Compute a product with threads and return what was logged and whether tasks were added."""
    x, logged = tall() @ wide(), []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logging.getLogger("distributed.scheduler.coded").addHandler(handler)
    plain = tasks_of(x)
    with dask.config.set({"array_optimize": optimizer, "scheduler": "threads"}):
        x.compute()
        return logged + ([] if tasks_of(x) == plain else ["other tasks"])


@pytest.mark.cluster
def test_inside_a_task_nothing_changes(client):
    """Workers that were started inside `coded` inherit the optimizer with their configuration."""
    with forced():
        optimizer = dask.config.get("array_optimize")
    assert client.submit(computed_in_a_task, optimizer).result() == []


@pytest.mark.cluster
def test_xarray(client):
    xr = pytest.importorskip("xarray")
    a, b = xr.DataArray(tall(), dims=("i", "k")), xr.DataArray(wide(), dims=("k", "j"))
    for multiply in (xr.dot, lambda one, other: one @ other):
        value = multiply(a, b).compute()
        assert not leftovers(client)
        before = coded_groups(client)
        with forced():
            assert same(multiply(a, b).compute(), value)
        assert coded_groups(client) > before
    assert not leftovers(client)
