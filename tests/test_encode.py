"""Arrays encoded once: what the user calls, and real workers that are frozen and killed meanwhile."""

from __future__ import annotations

from collections import Counter
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import HighLevelGraph
from distributed import Client, wait
from persist_helpers import assert_all_freed, holders, kill, settled

import dask_coded as dc
from dask_coded import testing

WORKERS = 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 12))
W = RNG.normal(size=(12, 3))


def blocks(numbers: np.ndarray = X, rows: int = 10) -> da.Array:
    return da.from_array(numbers, chunks=(rows, -1))


# ------------------------------------------------------------------ without a cluster


def test_is_the_same_array_without_a_cluster() -> None:
    x = dc.encode(blocks(), parity=2)
    assert isinstance(x, da.Array) and x.chunks == blocks().chunks and x.dtype == X.dtype
    with dask.config.set(scheduler="sync"):
        assert np.array_equal((x @ W).compute(), (blocks() @ W).compute())
        assert np.array_equal(x.persist().compute(), X)


def test_names_tell_arrays_and_codes_apart() -> None:
    assert dc.encode(blocks()).name == dc.encode(blocks()).name
    names = {
        dc.encode(blocks(), parity=1).name,
        dc.encode(blocks(), parity=2).name,
        dc.encode(blocks(), group=3).name,
        dc.encode(blocks(X.T), axis=0).name,
        dc.encode(blocks(), code=dc.codes.parity(8, 1)).name,
    }
    assert len(names) == 5


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({"x": np.ones(4)}, TypeError, "dask.array.Array"),
        ({"axis": 2}, ValueError, "axis=2"),
        ({"axis": True}, ValueError, "axis=True"),
        ({"axis": "rows"}, ValueError, "axis='rows'"),
        ({"parity": 0}, ValueError, "parity=0"),
        ({"parity": 1.5}, ValueError, "parity=1.5"),
        ({"group": 1}, ValueError, "group=1"),
        ({"code": dc.codes.parity(3, 1)}, ValueError, "8 blocks"),
        ({"code": dc.codes.product(2, 4, 1, 1)}, ValueError, "8 blocks"),
        ({"x": blocks().astype(bool)}, TypeError, "bool"),
        ({"x": blocks().astype(object)}, TypeError, "object"),
        ({"x": blocks().astype("M8[s]")}, TypeError, "datetime64"),
        ({"x": blocks().astype("i4"), "parity": 2}, ValueError, "parity=2"),
        ({"x": blocks()[blocks()[:, 0] > 0]}, ValueError, "compute_chunk_sizes"),
        ({"x": da.ma.masked_array(blocks(), False)}, TypeError, "MaskedArray"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        dc.encode(**{"x": blocks(), **arguments})


def test_one_block_is_left_alone() -> None:
    with pytest.warns(dc.CodedWarning, match="one block along axis 1"):
        assert dc.encode(blocks(), axis=1).name == blocks().name


def test_linear_needs_a_function() -> None:
    with pytest.raises(TypeError, match="func=3"):
        dc.linear(3, along=0)
    doubled = dc.linear(np.fliplr, along=(1,))
    assert np.array_equal(doubled(X), X[:, ::-1])
    assert "fliplr" in repr(doubled)


def test_leaving_a_coded_block_keeps_encoded_arrays_coded() -> None:
    assert dask.config.get("array_optimize", default=None) is None
    with dc.coded():
        dc.encode(blocks())
    assert dask.config.get("array_optimize") is not None


def test_a_plugin_of_the_user_stays() -> None:
    with dask.config.set({"array_optimize": da.optimize}):
        dc.encode(blocks())
        assert dask.config.get("array_optimize") is da.optimize


# --------------------------------------------------------------------- on a cluster


def prefixes(dask_scheduler: Any) -> Counter[str]:
    """Return how many tasks of each kind have finished."""
    return Counter(
        {name: prefix.state_counts["memory"] for name, prefix in dask_scheduler.task_prefixes.items()}
    )


def encodes(client: Client) -> int:
    return sum(n for name, n in client.run_on_scheduler(prefixes).items() if name.startswith("encode-"))


def test_encodes_once_and_survives_killed_workers(shared: Client) -> None:
    client = shared
    before = encodes(client)
    x = dc.encode(blocks(), parity=1, group=4).persist()
    wait(x)
    settled(client, 2)
    made = encodes(client)
    assert made - before == 2
    plain, parity = X.nbytes, dc.report(client).to_dict()["parity_bytes"]
    assert plain + parity <= 1.05 * plain * 5 / 4
    w = W
    for step in range(20):
        if step == 8:
            kill(client, holders(client, x)[0])
        z = (x @ w).compute()
        assert np.allclose(z, X @ w, rtol=1e-10, atol=1e-12)
        w = W + z[:12] * 1e-2
    client.wait_for_workers(WORKERS, timeout=120)
    settled(client, 2)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0
    assert encodes(client) <= made + 2, "encoded again, though at most one piece of each group was lost"
    assert np.allclose(x.compute(), X, rtol=1e-12)
    del x
    assert_all_freed(client)


def test_a_frozen_worker_is_paid_for_once(shared: Client) -> None:
    client = shared
    x = dc.encode(blocks(), parity=2, group=4).persist()
    wait(x)
    settled(client, 2)
    with testing.freeze(client, holders(client, x)[0]):
        for step in range(2):
            w = W * (step + 1)
            assert np.allclose((x @ w).compute(), X @ w, rtol=1e-10)
            assert np.allclose((x.T @ (x @ w)).compute(), X.T @ (X @ w), rtol=1e-10)
        assert np.allclose(x.compute(), X, rtol=1e-12)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0
    del x
    assert_all_freed(client)


def test_blocks_in_both_directions_share_their_row_scales(shared: Client) -> None:
    client = shared
    before = encodes(client)
    numbers = X * 10.0 ** RNG.integers(-9, 9, (len(X), 1))
    x = dc.encode(da.from_array(numbers, chunks=(10, 4)), parity=1, group=4).persist()
    wait(x)
    settled(client, 6)
    assert encodes(client) - before == 6
    kill(client, holders(client, x)[0])
    assert np.allclose((x @ W).compute(), numbers @ W, rtol=1e-9, atol=0)
    assert np.allclose(x.compute(), numbers, rtol=1e-12, atol=0)
    left = x[:, :4].persist()
    wait(left)
    del x
    assert np.allclose(left.sum(axis=1).compute(), numbers[:, :4].sum(axis=1), rtol=1e-9)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0
    del left
    assert_all_freed(client)


def test_more_losses_than_parity_are_computed_again(shared: Client) -> None:
    client = shared
    x = dc.encode(blocks(), parity=1, group=3).persist()
    wait(x)
    settled(client, 3)
    kill(client, *holders(client, x)[:3])
    assert np.array_equal(x.compute(), X) or np.allclose(x.compute(), X, rtol=1e-12)
    assert dc.report(client).to_dict()["errors"] == 0
    del x
    assert_all_freed(client)


def test_lazy_and_derived_arrays_and_graphs_of_others(shared: Client) -> None:
    client = shared
    x = dc.encode(blocks(), axis=0)
    assert np.allclose((x @ W).compute(), X @ W)
    assert np.allclose(da.exp(x @ W + 1).sum().compute(), np.exp(X @ W + 1).sum())
    kept = x.persist()
    y = (2 * kept[:, 3:]).persist()
    assert np.allclose((y @ W[3:]).compute(), 2 * X[:, 3:] @ W[3:])
    part = kept[:20]
    del x, kept
    assert np.array_equal(part.compute(), X[:20])
    graph = HighLevelGraph.from_collections("mine", {("mine", 0, 0): (np.sum, (part.name, 0, 0))}, [part])
    assert np.isclose(client.get(graph, ("mine", 0, 0)), X[:10].sum())
    assert dc.report(client).to_dict()["errors"] == 0
    del part, y, graph
    assert_all_freed(client)


def test_xarray_runs_on_encoded_blocks(shared: Client) -> None:
    xr = pytest.importorskip("xarray")
    client = shared
    array = xr.DataArray(blocks(), dims=("row", "column"))
    x = array.copy(data=dc.encode(array.data)).persist()
    assert np.allclose((x.sum("column") * 2).compute(), 2 * X.sum(axis=1))
    assert dc.report(client).to_dict()["groups"] > 0
