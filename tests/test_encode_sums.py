"""Sums over the coded axis, and of arrays, on real workers, which are slowed, frozen and killed meanwhile."""

from __future__ import annotations

import dask.array as da
import numpy as np
from distributed import Client, wait
from persist_helpers import assert_all_freed, decoded, holders, kill, settled

import dask_coded as dc
from dask_coded import testing

WORKERS = 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 12))
W = RNG.normal(size=(12, 3))


def blocks(numbers: np.ndarray = X) -> da.Array:
    return da.from_array(numbers, chunks=(10, -1))


def test_sums_over_the_coded_axis_decode_and_survive_workers(shared: Client) -> None:
    client = shared
    x = dc.encode(blocks(), parity=1, group=4, scale=False).persist()
    wait(x)
    settled(client, 2)
    with testing.delays(client, testing.Constant(), unit=0.3, tasks=lambda name: "matmul" in name):
        found = decoded(client, x, (x @ W).mean(axis=0).compute)
        assert np.allclose(found, (X @ W).mean(axis=0), rtol=1e-10)
    figures = dc.report(client).to_dict()
    assert figures["recomputed"] == figures["errors"] == figures["refused"] == 0, str(figures)
    kill(client, holders(client, x)[0])
    assert np.allclose(x.sum(axis=0).compute(), X.sum(axis=0), rtol=1e-10)
    client.wait_for_workers(WORKERS, timeout=120)
    settled(client, 2)
    with testing.freeze(client, holders(client, x)[0]):
        assert np.allclose((x.T @ da.exp(x.mean(axis=1))).compute(), X.T @ np.exp(X.mean(axis=1)), rtol=1e-10)
        assert np.allclose((2 * x).sum().compute(), 2 * X.sum(), rtol=1e-10)
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= 2 and figures["recomputed"] == figures["errors"] == 0
    del x
    assert_all_freed(client)


def test_two_arrays_encoded_alike_are_one_sum(shared: Client) -> None:
    client = shared
    second = X[::-1] ** 3
    x, y = (dc.encode(blocks(one), parity=1, group=4, scale=False).persist() for one in (X, second))
    wait([x, y])
    settled(client, 4)
    assert list(dc.explain((x + y) @ W)) == ["coded: matmul (80, 3) of encoded (80, 12)"]
    with testing.delays(client, testing.Constant(), unit=0.3, tasks=lambda name: "matmul" in name):
        found = decoded(client, x, ((x + y) @ W).compute)
        assert np.allclose(found, (X + second) @ W, rtol=1e-10)
    figures = dc.report(client).to_dict()
    assert figures["recomputed"] == figures["errors"] == figures["refused"] == 0, str(figures)
    kill(client, holders(client, y)[0])
    assert np.allclose((x @ W - y @ W).compute(), (X - second) @ W, rtol=1e-10)
    client.wait_for_workers(WORKERS, timeout=120)
    settled(client, 4)
    with testing.freeze(client, holders(client, y)[0]):
        assert np.allclose((x + y).sum(axis=0).compute(), (X + second).sum(axis=0), rtol=1e-10)
    assert dc.report(client).to_dict()["errors"] == 0
    del x, y
    assert_all_freed(client)


def test_sums_while_more_workers_of_a_group_are_slow_than_it_has_parity(shared: Client) -> None:
    client = shared
    x = dc.encode(blocks(), parity=1, group=4, scale=False).persist()
    wait(x)
    settled(client, 2)
    held = {key[1]: workers[0] for key, workers in client.who_has(x).items()}
    with testing.delays(client, testing.Constant(), unit=0.5, tasks=lambda name: "matmul" in name):
        # Two blocks of one group with one parity, both on slow workers.
        with testing.slow(client, held[0], factor=20), testing.slow(client, held[2], factor=20):
            for step in range(3):
                found = (x @ (W + step)).sum(axis=0).compute()
                assert np.allclose(found, (X @ (W + step)).sum(axis=0), rtol=1e-10)
            found = (x @ W).mean().compute()
            assert np.allclose(found, (X @ W).mean(), rtol=1e-10)
    assert dc.report(client).to_dict()["errors"] == 0
    del x
    assert_all_freed(client)
