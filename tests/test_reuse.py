"""One array computed plain and coded on one scheduler, and results that are stored by the workers."""

from __future__ import annotations

from contextlib import nullcontext
from time import sleep
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from array_helpers import forced, leftovers
from distributed import wait
from graph.graph_cases import tall, wide

import dask_coded as dc


def slow_product(seconds: float = 0.03) -> da.Array:
    def linger(block: np.ndarray) -> np.ndarray:
        sleep(seconds)
        return block

    return tall().map_blocks(linger, dtype="f8") @ wide()


class Slots:
    """A target of `dask.array.store` that is no array."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.values = np.full(shape, np.nan)

    def __setitem__(self, where: Any, block: np.ndarray) -> None:
        self.values[where] = block


def test_store(cluster):
    client = cluster(3, processes=False)
    x, y = tall() @ wide(), tall() @ (wide() * 2)
    values = x.compute(), y.compute()
    assert not leftovers(client)
    array, slots = np.full(x.shape, np.nan), Slots(y.shape)
    with forced():
        da.store([x, y], [array, slots])
    assert dc.report(client).to_dict()["groups"] > 0
    assert np.array_equal(array, values[0])
    assert np.array_equal(slots.values, values[1])
    assert not leftovers(client)


ORDERS: dict[str, tuple[Any, Any]] = {
    "plain, coded": (nullcontext, forced),
    "coded, plain": (forced, nullcontext),
    "coded, coded otherwise": (forced, lambda: forced(parity=2, launch="eager")),
}


@pytest.mark.parametrize("alive", ["finished", "persisted", "running"])
@pytest.mark.parametrize("order", ORDERS)
def test_same_keys_in_two_ways_while_the_first_are_alive(cluster, order, alive):
    client = cluster(3, processes=False)
    dc.install(client)
    first, second = ORDERS[order]
    x = slow_product() if alive == "running" else tall() @ wide()
    value = x.compute()
    assert not leftovers(client)
    with first():
        kept = x.persist() if alive == "persisted" else client.compute(x)
    if alive != "running":
        wait(kept)
    with second():
        again, more, other = dask.compute(x, x + 1, x.T @ x)
    assert np.array_equal(again, value)
    assert np.array_equal(more, value + 1)
    assert np.allclose(other, value.T @ value)
    assert np.array_equal(kept.compute() if alive == "persisted" else kept.result(), value)
    assert dc.report(client).to_dict()["errors"] == 0
    del kept
    if left := leftovers(client, 2):
        raise AssertionError(f"left behind: {left}")
