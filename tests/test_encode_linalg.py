"""dask.array.linalg on encoded arrays agrees with plain Dask while workers are killed, frozen and slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, wait
from persist_helpers import assert_all_freed, holders, kill, settled

import dask_coded as dc
from dask_coded import testing

RNG = np.random.default_rng(1)
TALL = RNG.normal(size=(120, 6))
LOW_RANK = RNG.normal(size=(120, 3)) @ RNG.normal(size=(3, 40))
RIGHT = RNG.normal(size=120)


def svd(x: da.Array) -> Any:
    """Return what does not depend on signs: singular values, and the projection on the first three."""
    u, s, v = da.linalg.svd_compressed(x, 3, seed=0)
    return s, (u * s) @ v


PROBLEMS: dict[str, tuple[np.ndarray, Callable[[da.Array], Any]]] = {
    "svd_compressed": (LOW_RANK, svd),
    "tsqr": (TALL, lambda x: (lambda q, r: (abs(r), q @ r))(*da.linalg.tsqr(x))),
    "lstsq": (TALL, lambda x: da.linalg.lstsq(x, da.from_array(RIGHT, chunks=15))[0]),
    "norm": (TALL, lambda x: (da.linalg.norm(x), da.linalg.norm(x, axis=1))),
    "svd": (TALL, lambda x: da.linalg.svd(x)[1]),
}


def answers(
    numbers: np.ndarray, run: Callable[[da.Array], Any], x: da.Array | None = None
) -> list[np.ndarray]:
    x = da.from_array(numbers, chunks=(15, -1)) if x is None else x
    found = dask.compute(run(x))[0]
    return [np.asarray(one) for one in found] if isinstance(found, tuple) else [np.asarray(found)]


def agree(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", PROBLEMS)
def test_without_a_cluster(name: str) -> None:
    numbers, run = PROBLEMS[name]
    with dask.config.set(scheduler="sync"):
        x = dc.encode(da.from_array(numbers, chunks=(15, -1)), parity=2)
        assert agree(answers(numbers, run, x), answers(numbers, run))


@pytest.mark.usefixtures("short_connects")
def test_with_a_killed_a_frozen_and_a_slow_worker(cluster: Callable[..., Client]) -> None:
    client = cluster(6)
    with dask.config.set(scheduler="sync"):
        expected = {name: answers(numbers, run) for name, (numbers, run) in PROBLEMS.items()}
    for parity, numbers in ((1, TALL), (2, LOW_RANK)):
        x = dc.encode(da.from_array(numbers, chunks=(15, -1)), parity=parity).persist()
        wait(x)
        settled(client, 2)
        kill(client, holders(client, x)[0])
        mine = {name: run for name, (of, run) in PROBLEMS.items() if of is numbers}
        for name, run in mine.items():
            assert agree(answers(numbers, run, x), expected[name]), name
        client.wait_for_workers(6, timeout=120)
        settled(client, 2)
        for fault in (testing.freeze, testing.slow):
            with fault(client, holders(client, x)[0]):
                for name, run in mine.items():
                    assert agree(answers(numbers, run, x), expected[name]), (fault, name)
            settled(client, 2)
        del x
    assert dc.report(client).to_dict()["errors"] == 0
    assert_all_freed(client)
