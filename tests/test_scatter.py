"""Arrays that a client sent survive workers that are killed, and workers that freeze."""

from __future__ import annotations

import gc
from typing import Any

import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split
from distributed import Client
from distributed.client import FutureCancelledError, FuturesCancelledError
from persist_helpers import apart, assert_all_freed, holders, kill, same_bytes, settled, until

import dask_coded as dc
from dask_coded import testing

WORKERS = 5


def numbers(rows: int = 12, dtype: str = "f8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, (rows, 50)).astype(dtype)


def test_killed_and_frozen_workers(shared: Client) -> None:
    client = shared
    values = numbers()[::-1].T
    x = dc.scatter(values, chunks=(50, 2), parity=1)
    settled(client, 2)
    kept = until(lambda: whole(dc.report(client)))
    assert kept.to_dict()["kept_groups"] == len(kept.kept) == 2
    assert {(group["blocks"], group["parity"], group["redundancy"]) for group in kept.kept} == {
        (4, 1, 1),
        (2, 1, 1),
    }
    assert 2 * values[:, :2].nbytes <= kept.to_dict()["parity_bytes"] < 2.5 * values[:, :2].nbytes

    kill(client, holders(client, x)[0])
    client.wait_for_workers(WORKERS, timeout=120)
    same_bytes(x, values)
    settled(client, 2)
    until(lambda: client.run_on_scheduler(apart))  # more pieces than parity on one worker cannot be spared

    before = set(client.nthreads())
    with testing.freeze(client, frozen := holders(client, x)[0]):
        same_bytes(x, values)
        assert frozen not in holders(client, x)
    settled(client, 2)
    assert set(client.nthreads()) == before, "the worker survived its sleep"
    until(lambda: frozen in client.run_on_scheduler(running), 20)
    same_bytes((x + 1).sum(axis=0), (values + 1).sum(axis=0))

    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 2 and figures["errors"] == figures["recomputed"] == 0
    assert figures["spared_tasks"] == 0, "nothing could have computed scattered blocks"
    del x
    assert_all_freed(client)


def whole(report: dc.Report) -> dc.Report | None:
    """Return the report if no worker is silent at the moment."""
    return report if report.to_dict()["redundancy"] == 1 else None


def running(dask_scheduler: Any) -> list[str]:
    return [ws.address for ws in dask_scheduler.running]


def test_more_losses_than_parity_are_as_with_dask(shared: Client) -> None:
    client = shared
    x = dc.scatter(numbers(6), chunks=(2, 50), parity=1)
    settled(client)
    other = dc.scatter(numbers(2), chunks=(1, 50), parity=1)
    total = dc.persist(x.sum(), parity=1)
    settled(client, 3)
    kill(client, *holders(client, x)[:2])
    with pytest.raises((FutureCancelledError, FuturesCancelledError)) as caught:
        x.compute()
    assert key_split(x.name) in str(caught.value) or "finalize" in str(caught.value)
    client.wait_for_workers(WORKERS, timeout=120)
    assert dc.report(client).to_dict()["errors"] == 0
    del x, total, other, caught
    gc.collect()  # the error refers to frames, and they to the blocks
    assert_all_freed(client)


def test_frozen_worker_while_steps_go_on(shared: Client) -> None:
    """Plain Dask waits for it, for as long as `distributed.scheduler.worker-ttl`."""
    client = shared
    x = dc.persist(da.ones((6, 50), chunks=(2, 50)).cumsum(axis=0), parity=1)
    settled(client)
    with testing.freeze(client, holders(client, x)[0]):
        for _ in range(3):
            np.testing.assert_array_equal((x * 2).sum(axis=1).compute(), np.arange(1, 7) * 100.0)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 1 and figures["errors"] == figures["recomputed"] == 0
    assert figures["spared_tasks"] >= 1
    settled(client)
    del x
    assert_all_freed(client)


def test_without_a_cluster() -> None:
    x = dc.scatter(np.arange(6), chunks=2)
    assert x.chunks == ((2, 2, 2),) and x.sum().compute() == 15


@pytest.mark.parametrize(
    ("array", "arguments", "error", "says"),
    [
        ([1, 2], {}, TypeError, "takes a NumPy array, not list"),
        (np.array([{}]), {}, TypeError, "dtype object"),
        (np.arange(3), {"parity": 0}, ValueError, "parity=0"),
        (np.arange(3), {"group": 1.0}, ValueError, "group=1.0"),
    ],
)
def test_bad_input(array: Any, arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        dc.scatter(array, **arguments)
