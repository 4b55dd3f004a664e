"""Persisted blocks survive killed worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event, wait
from persist_helpers import holders, kill, same_bytes, settled, source, until
from test_faults import assert_nothing_left

import dask_coded as dc
from dask_coded.runtime.scheduler_plugin.encoding import Encoding
from dask_coded.runtime.scheduler_plugin.rebuilding import Rebuilding
from dask_coded.runtime.scheduler_plugin.vault import Vault

WORKERS = 6

DTYPES = ["float64", "float32", "complex128", "bool", "int8", "datetime64[ns]", "S3", "f4,i2"]


def test_loses_one_worker_after_another(shared: Client, tmp_path: Any) -> None:
    client = shared
    runs = tmp_path / "runs"
    arrays = {dtype: source(runs, dtype) for dtype in DTYPES}
    with dask.config.set(scheduler="sync"):
        expected = {dtype: x.compute() for dtype, x in arrays.items()}
    runs.write_text("")
    kept = dict(zip(DTYPES, dc.persist(*arrays.values(), parity=1), strict=True))
    wait(list(kept.values()))
    computed = len(runs.read_text())
    assert computed == 6 * len(DTYPES)
    for _ in range(3):
        settled(client, len(DTYPES))
        kill(client, holders(client, kept["float64"])[0])
        client.wait_for_workers(WORKERS, timeout=120)
        for dtype, x in kept.items():
            same_bytes(x, expected[dtype])
    settled(client, len(DTYPES))
    assert len(runs.read_text()) == computed, "blocks were computed again"
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 3 and figures["recomputed"] == figures["errors"] == 0
    del kept, x
    assert_nothing_left(client)


def test_loses_two_at_once_and_then_too_many(shared: Client, tmp_path: Any) -> None:
    client = shared
    runs = tmp_path / "runs"
    plain = source(runs, blocks=4)
    with dask.config.set(scheduler="sync"):
        expected = plain.compute()
    runs.write_text("")
    x = dc.persist(plain, parity=2, group=4)
    wait(x)
    settled(client)
    kill(client, *holders(client, x)[:2])
    client.wait_for_workers(WORKERS, timeout=120)
    same_bytes(x, expected)
    settled(client)
    assert len(runs.read_text()) == 4, "blocks were computed again"
    assert dc.report(client).to_dict()["rebuilt"] >= 2
    kill(client, *holders(client, x)[:3])
    client.wait_for_workers(WORKERS, timeout=120)
    same_bytes(x, expected)
    # Three of six pieces are lost: Dask computes the blocks among them again, some on a worker that is next.
    assert 5 <= len(runs.read_text()) <= 9
    assert dc.report(client).to_dict()["errors"] == 0
    del x
    assert_nothing_left(client)


def test_blocks_count_as_unprotected_until_their_parity_is_there(shared: Client, tmp_path: Any) -> None:
    client = shared
    with dc.testing.delays(client, dc.testing.Constant(), unit=0.5, tasks=lambda name: "encode" in name):
        x = dc.persist(source(tmp_path / "runs"), parity=1)
        wait(x)
        figures = dc.report(client).to_dict()
        assert (figures["kept_unprotected"], figures["redundancy"]) == (x.npartitions, 0)
        until(lambda: not dc.report(client).to_dict()["kept_unprotected"])
    assert dc.report(client).to_dict()["redundancy"] == 1
    del x
    assert_nothing_left(client)


def test_memory_and_workers_of_groups(shared: Client, tmp_path: Any) -> None:
    client = shared
    x = dc.persist(da.random.default_rng(0).random((8, 50_000), chunks=(1, 50_000)), parity=1)
    wait(x)
    settled(client, 2)

    def look(dask_scheduler: Any) -> tuple[float, list[list[str]]]:
        vault = dask_scheduler.plugins["dask-coded"].vault
        groups = vault.shelf.groups.values()
        tasks = dask_scheduler.tasks
        total = sum(ts.nbytes * len(ts.who_has) for ts in tasks.values() if ts.who_has)
        return total, [[ws.address for k in g.pieces for ws in tasks[k].who_has] for g in groups]

    total, groups = client.run_on_scheduler(look)
    assert total <= 1.05 * x.nbytes * 5 / 4
    assert all(len(set(workers)) == len(workers) for workers in groups)
    y = (x + 1).sum().compute()
    assert np.isfinite(y)
    del x
    assert_nothing_left(client)


def test_lost_while_in_use(shared: Client, tmp_path: Any) -> None:
    client = shared
    runs = tmp_path / "runs"
    x = dc.persist(source(runs, blocks=3), parity=1)
    wait(x)
    settled(client)
    total = x.sum().compute()

    def slow(values: np.ndarray) -> np.ndarray:
        Event("begun").set()
        Event("go").wait(20)
        return values

    future = client.compute(x.map_blocks(slow, dtype=x.dtype, meta=x._meta).sum())
    Event("begun").wait(20)
    kill(client, holders(client, x)[0])
    Event("go").set()
    np.testing.assert_equal(future.result(), total)
    assert len(runs.read_text()) == 3
    assert dc.report(client).to_dict()["errors"] == 0
    del x, future
    assert_nothing_left(client)


def test_two_workers_cannot_hold_two_pieces_more(cluster: Callable[..., Client]) -> None:
    cluster(2)
    with pytest.warns(dc.CodedWarning, match="parity=2 needs more than 2 workers"):
        x = dc.persist(da.ones(4, chunks=2), parity=2)
    assert x.sum().compute() == 4


def test_xarray(shared: Client) -> None:
    xarray = pytest.importorskip("xarray")
    client = shared
    data = xarray.Dataset({"a": ("t", da.arange(8, chunks=4)), "b": ("t", da.ones(8, chunks=4))})
    kept = dc.persist(data, parity=1)
    settled(client)
    kill(client, holders(client, kept["a"].data)[0])
    xarray.testing.assert_identical(kept.compute(), data.compute())
    assert dc.persist(data["a"]).compute().sum() == 28
    del kept
    assert_nothing_left(client)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"parity": 0}, ValueError, "parity=0"),
        ({"parity": True}, ValueError, "parity=True"),
        ({"parity": 1.5}, ValueError, "parity=1.5"),
        ({"group": -1}, ValueError, "group=-1"),
    ],
)
def test_bad_counts(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        dc.persist(da.ones(4), **arguments)


def test_bad_collections() -> None:
    with pytest.raises(TypeError, match=r"collections\[0\] has dtype object"):
        dc.persist(da.from_array(np.array([{}, []], dtype=object), chunks=1))
    with pytest.raises(TypeError, match=r"collections\[0\] has blocks of type numpy.ma.*MaskedArray"):
        dc.persist(da.ma.masked_greater(da.ones(4), 0.5))
    with pytest.raises(TypeError, match=r"collections\[1\] is a list"):
        dc.persist(da.ones(4), [1])
    with pytest.raises(TypeError, match="at least one"):
        dc.persist()


def test_without_a_cluster() -> None:
    x, y = dc.persist(da.ones(4, chunks=2), da.arange(3), parity=2)
    assert x.sum().compute() == 4 and y.sum().compute() == 3


BUGS = [
    (Vault, "protect"),
    (Vault, "on_memory"),
    (Vault, "on_released"),
    (Encoding, "gather"),
    (Encoding, "parity_in"),
    (Rebuilding, "begin"),
    (Rebuilding, "give_back"),
    (Vault, "tend"),
]


def test_bugs_are_logged_and_harm_nothing(
    shared: Client, tmp_path: Any, monkeypatch: Any, caplog: Any
) -> None:
    def broken(self: Any, *args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("planted")

    client = shared
    plain = source(tmp_path / "runs", blocks=4)
    with dask.config.set(scheduler="sync"):
        expected = plain.compute()
    for number, (part, method) in enumerate(BUGS, 1):
        with monkeypatch.context() as patch, caplog.at_level("ERROR", logger="distributed.scheduler.coded"):
            patch.setattr(part, method, broken)
            x = dc.persist(plain, parity=1)
            wait(x)
            until(lambda: not client.run_on_scheduler(encoding) or errors(client) >= number)  # noqa: B023
            kill(client, holders(client, x)[0])
            same_bytes(x, expected)
            until(lambda: errors(client) >= number, 60, lambda: method)  # noqa: B023
            del x
        assert_nothing_left(client)
        client.wait_for_workers(5, timeout=120)
    assert sum("coding is given up" in record.message for record in caplog.records) >= len(BUGS)
    assert not [record for record in caplog.records if "Error transitioning" in record.message]


def errors(client: Client) -> int:
    return int(dc.report(client).to_dict()["errors"])


def encoding(dask_scheduler: Any) -> bool:
    """Tell whether parity is on its way."""
    vault = dask_scheduler.plugins["dask-coded"].vault
    return bool(vault.shelf.request_of or vault.encoding.awaited)
