"""Dask arrays whose blocks are on a device: coded, decoded and rebuilt there, or left to plain Dask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import dask
import dask.array as da
import fake_gpu
import numpy as np
import pytest
from array_helpers import forced
from distributed import Client, LocalCluster, get_worker, wait
from graph.graph_helpers import groups, pieces, rewritten

import dask_coded as dc
from dask_coded.errors import CodedWarning
from dask_coded.graph import find
from dask_coded.graph.optimizer import CodedOptimizer
from dask_coded.graph.settings import Settings
from dask_coded.kernels.erasure import ParityPiece
from dask_coded.runtime.tasks import decode_task

SLOW, QUICK = 3.0, 0.05


@pytest.fixture(params=["shim", pytest.param("cupy", marks=pytest.mark.gpu)])
def put(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], Any]:
    """Return the function that brings a block to the device."""
    if request.param == "cupy":
        import cupy

        return cupy.asarray
    if fake_gpu.compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA kernels on the CPU with")
    monkeypatch.setattr(find, "DENSE", (*find.DENSE, "fake_gpu.ndarray"))
    return fake_gpu.FakeGPU


@pytest.fixture
def client() -> Iterator[Client]:
    """Return a client of workers in this process: blocks are passed as they are."""
    with (
        LocalCluster(n_workers=5, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def operands(put: Any, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray, da.Array, da.Array]:
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "i":
        values = [rng.integers(-1000, 1000, shape).astype(dtype) for shape in ((40, 24), (24, 32))]
    else:
        values = [rng.standard_normal(shape).astype(dtype) for shape in ((40, 24), (24, 32))]
    chunks = (8, 24), (24, 16)
    arrays = [da.from_array(v, chunks=c).map_blocks(put) for v, c in zip(values, chunks, strict=True)]
    return values[0], values[1], arrays[0], arrays[1]


def on_device(value: Any) -> bool:
    """Tell whether all arrays inside are on a device."""
    if isinstance(value, list | tuple):
        return all(map(on_device, value))
    return hasattr(value, "__cuda_array_interface__")


@pytest.mark.parametrize("parity", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int64"])
def test_lanes_and_decodes_stay_on_the_device(put: Any, dtype: str, parity: int) -> None:
    a, b, x, y = operands(put, dtype)
    assert_decodes(rewritten(x @ y, parity=parity), parity, 0 if dtype == "int64" else 1e3)


@pytest.mark.parametrize("parity", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_lanes_that_add_numbers_stay_on_the_device(put: Any, dtype: str, parity: int) -> None:
    a, b, x, y = operands(put, dtype)
    mean = da.from_array(a.mean(axis=0), chunks=24).map_blocks(put)
    z = (dc.encode(x, axis=0, parity=parity) - mean) @ y
    optimize = CodedOptimizer(Settings(), products=False)
    assert_decodes(optimize(z.__dask_graph__(), z.__dask_keys__()), parity, 1e3)


@pytest.mark.parametrize("parity", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int64"])
def test_sums_over_the_coded_axis_stay_on_the_device(put: Any, dtype: str, parity: int) -> None:
    a, b, x, y = operands(put, dtype)
    z = dc.encode(x, axis=0, parity=1 if dtype == "int64" else parity, scale=False) @ y
    total = z.sum(axis=0)
    graph = CodedOptimizer(Settings(), products=False)(total.__dask_graph__(), total.__dask_keys__())
    assert_decodes(graph, parity, 0 if dtype == "int64" else 1e3)
    assert on_device(dask.get(graph, total.__dask_keys__()))


def assert_decodes(graph: Any, parity: int, roundoffs: float) -> None:
    """Decode as many blocks of each group as its parity allows, on the device."""
    found = groups(graph)
    assert found
    for group in found:
        values = pieces(graph, group)
        assert all(map(on_device, values.values()))
        lost = set(range(min(parity, len(group.code.parity))))
        for index in lost:
            decoding = group.code.plan(set(range(group.code.n)) - lost, index)
            assert decoding is not None
            task = decode_task(group, index, decoding, tuple(group.pieces[t] for t in decoding.used))
            block = task({key: values[key] for key in task.dependencies})
            true = values[group.pieces[group.code.systematic[index]]]
            assert on_device(block) and block.dtype == true.dtype
            rounding = roundoffs * np.finfo(true.dtype).eps if roundoffs else 0
            np.testing.assert_allclose(block.get(), true.get(), rtol=0, atol=rounding)


def test_plain_dask_steps_stay_on_the_device(put: Any) -> None:
    a, b, x, y = operands(put)
    z = ((x @ y).T + 1).rechunk((16, 20)).sum(axis=0)
    with dc.coded(parity=1, force=True), dask.config.set(scheduler="sync"):
        found = z.compute()
    assert on_device(found)
    np.testing.assert_allclose(found.get(), ((a @ b).T + 1).sum(axis=0))


@pytest.mark.cluster
def test_a_late_block_is_decoded_on_the_device(
    put: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    if put is not fake_gpu.FakeGPU:
        pytest.skip("CuPy's product cannot be slowed down")
    a, b, x, y = operands(put)
    x, y = client.persist([x, y])
    wait([x, y])
    undisturbed = fake_gpu.FakeGPU.__array_ufunc__

    def slow_on(victim: str) -> Callable[..., Any]:
        def slow(self: Any, ufunc: np.ufunc, *args: Any, **kwargs: Any) -> Any:
            if ufunc is np.matmul:
                time.sleep(SLOW if get_worker().address == victim else QUICK)
            return undisturbed(self, ufunc, *args, **kwargs)

        return slow

    # One worker after the other is slow: the scheduler may take a block off it before it is late.
    for victim in sorted(client.nthreads()):
        with monkeypatch.context() as patch, dc.coded(parity=1, force=True):
            product = x @ y
            patch.setattr(fake_gpu.FakeGPU, "__array_ufunc__", slow_on(victim))
            found = product.compute()
        np.testing.assert_allclose(found.get(), a @ b, rtol=1e-10)
        figures = dc.report(client).to_dict()
        if figures["decoded"]:
            break
    assert figures["groups"] and figures["decoded"] and not figures["errors"]


@pytest.mark.cluster
def test_a_lost_block_is_rebuilt_on_the_device(put: Any, client: Client) -> None:
    a, _, x, _ = operands(put)
    x = dc.persist(x, parity=2)
    deadline = time.monotonic() + 60
    while dc.report(client).to_dict()["redundancy"] < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = client.cluster.workers.values()
    held = [value for worker in workers for value in worker.data.values()]
    parity = [value.data for value in held if isinstance(value, ParityPiece)]
    assert parity and all(map(on_device, parity))
    places = [place for places in client.who_has(x).values() for place in places]
    victim = next(worker for worker in workers if worker.address == max(places, key=places.count))
    client.cluster.sync(victim.close, nanny=False)
    found = x.compute()
    assert on_device(found) and found.get().tobytes() == a.tobytes()
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] and not figures["recomputed"] and not figures["errors"]


@pytest.mark.cluster
def test_an_encoded_array_stays_on_the_device(put: Any, client: Client) -> None:
    a, b, x, y = operands(put)
    with dask.config.set({"coded.late": {"min-task-runtime": "1 hour", "silence": "1 hour"}}):
        x = dc.encode(x, axis=0, parity=1).persist()
        found = ((2 * x) @ y).compute()
    held = [value for worker in client.cluster.workers.values() for value in worker.data.values()]
    assert held and all(map(on_device, held))
    assert on_device(found)
    np.testing.assert_allclose(found.get(), 2 * a @ b, rtol=1e-12)
    assert not dc.report(client).to_dict()["errors"]


@pytest.mark.cluster
def test_what_is_not_known_is_left_to_plain_dask(client: Client) -> None:
    """Blocks that merely look like arrays: not coded, not converted, and said so."""
    a, b, x, y = operands(fake_gpu.FakeGPU)
    with forced(parity=1):
        found = (x @ y).compute()
    assert on_device(found)
    np.testing.assert_allclose(found.get(), a @ b, rtol=1e-12)
    assert not dc.report(client).to_dict()["groups"]
    with pytest.warns(CodedWarning, match=r"blocks of type fake_gpu\.ndarray"):
        product = dc.matmul(x, y)
    np.testing.assert_allclose(product.compute().get(), a @ b, rtol=1e-12)
    with pytest.raises(TypeError, match="takes a NumPy array, not ndarray: use persist"):
        dc.scatter(fake_gpu.FakeGPU(a))


def test_the_device_that_the_cpu_stands_for_is_strict() -> None:
    block = fake_gpu.FakeGPU(np.ones((2, 3)))
    for convert in (
        np.asarray,
        np.array,
        lambda x: np.add(x, np.ones((2, 3))),
        lambda x: np.ones((2, 3)) @ x.T,
    ):
        with pytest.raises(TypeError):
            convert(block)
    with pytest.raises(TypeError, match="no implementation of numpy.percentile"):
        np.percentile(block, 3)
    assert not isinstance(block, np.ndarray) and on_device(np.add(block, 1))
