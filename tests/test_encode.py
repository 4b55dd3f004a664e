"""Arrays encoded once: what the user calls, and real workers that are frozen and killed meanwhile."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import HighLevelGraph
from distributed import Client, wait
from persist_helpers import assert_all_freed, decoded, holders, kill, settled
from test_faults import finished

import dask_coded as dc
from dask_coded import testing

WORKERS = 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 12))
W = RNG.normal(size=(12, 3))


def blocks(numbers: np.ndarray = X, rows: int = 10) -> da.Array:
    return da.from_array(numbers, chunks=(rows, -1))


def grid(numbers: np.ndarray = X) -> da.Array:
    return da.from_array(numbers, chunks=(20, 4))


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
        dc.encode(blocks(), scale=False).name,
        dc.encode(blocks(), group=3).name,
        dc.encode(blocks(X.T), axis=0).name,
        dc.encode(grid(), axis=0).name,
        dc.encode(grid(), axis=1).name,
        dc.encode(grid(), axis=(0, 1)).name,
        dc.encode(blocks(), code=dc.codes.parity(8, 1)).name,
    }
    assert len(names) == 9
    assert dc.encode(grid(), axis=[-1, 0]).name == dc.encode(grid(), axis=(0, 1)).name


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({"x": np.ones(4)}, TypeError, "dask.array.Array"),
        ({"axis": 2}, ValueError, "axis=2"),
        ({"axis": True}, ValueError, "axis=True"),
        ({"axis": "rows"}, ValueError, "axis='rows'"),
        ({"axis": ()}, ValueError, r"axis=\(\)"),
        ({"axis": (0, 2)}, ValueError, r"axis=\(0, 2\)"),
        ({"axis": (1, -1)}, ValueError, r"axis=\(1, -1\)"),
        ({"axis": (0, 1), "code": dc.codes.parity(8, 1)}, ValueError, "2 axes"),
        ({"scale": 1}, ValueError, "scale=1"),
        ({"code": dc.codes.parity(8, 2), "scale": False}, ValueError, "sub_blocks=1"),
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


def test_of_two_axes_the_one_with_blocks_is_coded() -> None:
    with pytest.warns(dc.CodedWarning, match="one block along axis 1"):
        x = dc.encode(blocks(), axis=(0, 1))
    assert len(list(x.dask.layers[x.name].encoded.axes)) == 1


def test_explain_tells_that_both_products_are_coded() -> None:
    x = dc.encode(grid(), axis=(0, 1))
    told = list(dc.explain(x.T @ da.tanh(x @ W)))
    assert [line for line in told if line.startswith("coded")] == [
        "coded: matmul (80, 3) of encoded (80, 12)",
        "coded: matmul (12, 3) of encoded (80, 12)",
    ]
    assert told[2:] == ["plain: tanh: tanh is not linear"]
    assert list(dc.explain(x.T @ x)) == ["coded: matmul (12, 12) of encoded (80, 12)"]


def test_explain_names_the_axis_that_would_help_and_no_other() -> None:
    x, y = dc.encode(grid()), dc.encode(grid(X).T, axis=1)
    (told,) = dc.explain(x.sum(axis=0))
    assert told == (
        "plain: sum: a reduction over the coded axis, whose rows are scaled in parity "
        "(encode(x, scale=False) leaves them); parity along axis 1 too lets it pass: encode(x, axis=(0, 1))"
    )
    assert any("encode(x, axis=(0, 1))" in line for line in dc.explain(y @ X))
    for plain in (x.sum(), da.exp(x), dc.encode(blocks()).sum(axis=0), (x + grid()) @ W):
        assert not any("axis=" in line for line in dc.explain(plain))
    assert any("encode the sum" in line for line in dc.explain((x + grid()) @ W))
    assert all(line.startswith("coded") for line in dc.explain((x + 1) @ W))
    assert all(line.startswith("coded") for line in dc.explain(dc.encode(grid(), axis=(0, 1)).mean(axis=0)))


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


def test_settings_are_read_when_a_graph_is_sent() -> None:
    dc.encode(blocks())
    with dask.config.set({"coded.launch": "adaptive"}):
        sent = pickle.loads(pickle.dumps(dask.config.get("array_optimize")))
    assert sent.settings.launch == "adaptive"
    assert pickle.loads(pickle.dumps(sent)).settings.launch == "adaptive"
    assert pickle.loads(pickle.dumps(dask.config.get("array_optimize"))).settings.launch == "late"
    with dask.config.set({"coded.launch": "sometimes"}), pytest.raises(ValueError, match="sometimes"):
        pickle.dumps(dask.config.get("array_optimize"))


def test_a_plugin_of_the_user_stays() -> None:
    with dask.config.set({"array_optimize": da.optimize}):
        dc.encode(blocks())
        assert dask.config.get("array_optimize") is da.optimize


# --------------------------------------------------------------------- on a cluster


def encodes(client: Client) -> int:
    return finished(client, "encode-")


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
    w, products = W, finished(client, "piece-matmul")
    for step in range(20):
        if step == 8:
            kill(client, holders(client, x)[0])
        z = (x @ w).compute()
        assert np.allclose(z, X @ w, rtol=1e-10, atol=1e-12)
        w = W + z[:12] * 1e-2
    assert finished(client, "piece-matmul") - products < 21 * x.numblocks[0], "an iteration was redone"
    client.wait_for_workers(WORKERS, timeout=120)
    settled(client, 2)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0, str(figures)
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
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0, str(figures)
    del x
    assert_all_freed(client)


def test_a_second_worker_freezes_while_the_first_is_frozen(shared: Client) -> None:
    client = shared
    x = dc.encode(blocks(), parity=2, group=4).persist()
    wait(x)
    settled(client, 2)
    first, second = holders(client, x)[:2]
    product = x @ W
    with testing.delays(client, testing.Constant(), unit=0.5, tasks=lambda name: "matmul" in name):
        with testing.freeze(client, first):
            found = client.compute([product + step for step in range(4)])
            wait(found, return_when="FIRST_COMPLETED")
            with testing.freeze(client, second):
                for step, one in enumerate(client.gather(found)):
                    assert np.allclose(one, X @ W + step, rtol=1e-10)
                assert np.allclose(x.compute(), X, rtol=1e-12)
    figures = dc.report(client).to_dict()  # a product that was done on the second one is computed again
    assert figures["rebuilt"] >= 2 and figures["errors"] == 0
    del x, product, found
    assert_all_freed(client)


def test_centred_products_decode_from_means_of_rows(shared: Client) -> None:
    client = shared
    x = dc.encode(blocks(), parity=1, group=4).persist()
    wait(x)
    settled(client, 2)
    mean = x.mean(axis=0).persist()
    wait(mean)
    with testing.delays(client, testing.Constant(), unit=0.3, tasks=lambda name: "matmul" in name):
        found = decoded(client, x, ((x - mean) @ W + 1.0).compute)
    assert np.allclose(found, (X - X.mean(axis=0)) @ W + 1.0, rtol=1e-10)
    figures = dc.report(client).to_dict()
    assert figures["recomputed"] == figures["errors"] == figures["refused"] == 0, str(figures)
    del x, mean
    assert_all_freed(client)


def encoded_by_rows_and_columns(client: Client) -> da.Array:
    """Return an array of 4 x 3 blocks, encoded and whole, each piece of a group on a worker of its own."""
    x = dc.encode(grid(), axis=(0, 1), parity=1).persist()
    wait(x)
    settled(client, 7)
    return x


def gradient_steps(x: Any, before: Callable[[int, Any], Any] = lambda step, x: None) -> np.ndarray:
    w = np.zeros(12)
    for step in range(10):
        before(step, x)
        gradient = x.T @ (x @ w - X[:, 0])
        w = w - 1e-3 * (gradient.compute() if isinstance(x, da.Array) else gradient)
    return w


def pieces_of(dask_scheduler: Any, worker: str) -> list[Any]:
    return [ts.key for ts in dask_scheduler.workers[worker].has_what if str(ts.key[0]).startswith("encode-")]


def test_gradients_by_rows_and_columns_survive_a_killed_worker(shared: Client) -> None:
    client = shared
    before = encodes(client)
    x = encoded_by_rows_and_columns(client)
    made, lost = encodes(client), []
    assert made - before == 7, "one for each row and each column of blocks"
    assert X.nbytes + dc.report(client).to_dict()["parity_bytes"] <= 1.05 * X.nbytes * (1 + 1 / 4 + 1 / 3)

    def kill_one(step: int, x: Any) -> None:
        if step == 4:
            worker = holders(client, x)[0]
            lost.extend(client.run_on_scheduler(pieces_of, worker=worker))
            kill(client, worker)

    assert np.allclose(gradient_steps(x, kill_one), gradient_steps(X), rtol=1e-10)
    client.wait_for_workers(WORKERS, timeout=120)
    settled(client, 7)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0, str(figures)
    # A busy machine may make a worker seem frozen: what that one held is made again too.
    assert figures["workers_held"] or encodes(client) <= made + len(lost), "encoded again, though not lost"
    assert np.allclose(x.compute(), X, rtol=1e-12)
    del x
    assert_all_freed(client)


def test_result_on_a_frozen_worker_is_computed_elsewhere(shared: Client) -> None:
    """Plain Dask's gather would wait for it, for minutes."""
    client = shared
    x = dc.encode(blocks(), parity=1).persist()
    wait(x)
    settled(client, 2)
    future = client.compute(da.exp(x).sum())
    wait(future)
    (worker,) = client.who_has(future)[future.key]
    with testing.freeze(client, worker):
        assert np.isclose(future.result(timeout=60), np.exp(X).sum(), rtol=1e-12)
    assert dc.report(client).to_dict()["errors"] == 0
    del x, future
    assert_all_freed(client)


def test_gradients_by_rows_and_columns_survive_a_frozen_worker(shared: Client) -> None:
    client = shared
    x = encoded_by_rows_and_columns(client)
    with testing.freeze(client, holders(client, x)[0]):
        assert np.allclose(gradient_steps(x), gradient_steps(X), rtol=1e-10)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0, str(figures)
    del x
    assert_all_freed(client)


def test_a_row_that_holds_nan_is_rebuilt_by_columns(shared: Client) -> None:
    client = shared
    numbers = X.copy()
    numbers[25, 5] = np.nan  # in block (1, 1): parity of row 1 and of column 1 is of no use
    x = dc.encode(grid(numbers), axis=(0, 1), parity=1).persist()
    wait(x)
    settled(client, 7)
    held = {key[1:]: workers[0] for key, workers in client.who_has(x).items()}
    kill(client, next(held[block] for block in ((1, 0), (1, 2)) if held[block] != held[1, 1]))
    assert np.allclose(x.compute(), numbers, rtol=1e-12, equal_nan=True)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0, str(figures)
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
    assert figures["rebuilt"] >= 1 and figures["recomputed"] == figures["errors"] == 0, str(figures)
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
