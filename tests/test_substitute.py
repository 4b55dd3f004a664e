"""Blocks of the last iterate in the place of late ones: only where asked for, counted, never most of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, wait
from persist_helpers import assert_all_freed, settled

import dask_coded as dc
from dask_coded import testing

pytestmark = pytest.mark.usefixtures("short_connects")

X = np.random.default_rng(0).normal(size=(80, 12))
V = np.random.default_rng(1).normal(size=(12, 3))
PRIOR = np.full((80, 3), 7.0)


def blocks(client: Client, numbers: np.ndarray = X) -> da.Array:
    """Return an array in memory, one block of rows on each worker in turn."""
    workers = sorted(client.nthreads())
    x = da.from_array(numbers, chunks=(-(-len(numbers) // len(workers)), -1))
    keys = [client.submit(np.asarray, block, workers=[w]) for block, w in zip(x.blocks, workers, strict=True)]
    return da.concatenate([da.from_delayed(k, b.shape, b.dtype) for k, b in zip(keys, x.blocks, strict=True)])


def test_is_the_same_array_without_a_cluster() -> None:
    y = da.from_array(X, chunks=(10, -1)) @ V
    assert dc.substitute(y, PRIOR) is y


Y = da.ones((4, 3), chunks=(2, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((X, X), TypeError, "not a dask.array.Array"),
        ((Y, np.ones((4, 2))), ValueError, r"prior has shape \(4, 2\), y has \(4, 3\)"),
        ((Y, np.ones((4, 3), complex)), TypeError, "prior has dtype complex128"),
        ((Y, Y, 0), ValueError, "patience=0"),
        ((Y, Y, float("nan")), ValueError, "patience=nan"),
        ((Y[Y[:, 0] > 0], Y), ValueError, "compute_chunk_sizes"),
    ],
)
def test_bad_arguments(arguments: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        dc.substitute(*arguments)


@pytest.mark.cluster
def test_only_late_blocks_are_those_of_the_prior(cluster: Callable[..., Client]) -> None:
    client = cluster(4)
    x = blocks(client)
    y = dc.substitute(x @ V, PRIOR, patience=60)
    assert np.array_equal(y.compute(), (x @ V).compute())
    assert dc.report(client).to_dict()["substituted"] == 0

    late = sorted(client.nthreads())[1]
    with testing.freeze(client, late):
        found = dc.substitute(x @ (2 * V), PRIOR, patience=1.0).compute()
    assert np.array_equal(found[20:40], PRIOR[20:40])
    assert np.allclose(np.delete(found, slice(20, 40), 0), np.delete(X @ (2 * V), slice(20, 40), 0))
    figures = dc.report(client).to_dict()
    assert figures["substituted"] == 1 and figures["decoded"] == figures["errors"] == 0
    assert figures["max_residual"] == 0.5
    assert np.allclose((x @ V).compute(), X @ V)
    del x, y
    assert_all_freed(client)


@pytest.mark.cluster
def test_decoding_comes_first(cluster: Callable[..., Client]) -> None:
    client = cluster(5)
    x = dc.encode(da.from_array(X, chunks=(20, -1)), parity=1).persist()
    wait(x)
    settled(client)
    late = next(iter(client.who_has(x).values()))[0]
    with testing.freeze(client, late):
        found = dc.substitute(x @ V, PRIOR, patience=5.0).compute()
    assert np.allclose(found, X @ V, rtol=1e-10)
    figures = dc.report(client).to_dict()
    assert figures["substituted"] == figures["errors"] == 0
    del x
    assert_all_freed(client)


@pytest.mark.cluster
def test_lanes_end_before_it(cluster: Callable[..., Client]) -> None:
    cluster(2, processes=False)
    x = dc.encode(da.from_array(X, chunks=(20, -1)), parity=1)
    y = dc.substitute(x @ V, PRIOR)
    assert list(dc.explain(y * 2)) == [
        "coded: matmul (80, 3) of encoded (80, 12)",
        "plain: substitute: blocks of a prior may stand in for its own",
    ]
