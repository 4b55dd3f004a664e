"""Many rounds with faults drawn at random on one cluster: right numbers, no error of ours, nothing left."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, wait
from persist_helpers import assert_all_freed

import dask_coded as dc
from dask_coded import testing

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

WORKERS = 6
ROUNDS = 12
#: Seconds after which a single result counts as hanging.
HANGING = 150

KINDS = {
    "encode": lambda x, parity: dc.encode(x, parity=parity).persist(),
    "encode both": lambda x, parity: dc.encode(x, axis=(0, 1), parity=parity).persist(),
    "encode rows as they are": lambda x, parity: dc.encode(x, parity=parity, scale=False).persist(),
    "persist": lambda x, parity: dc.persist(x, parity=parity),
    "coded": lambda x, parity: x.persist(),
}


@dataclass(frozen=True)
class Round:
    """What one round does; printed, so that a failure can be played again."""

    number: int
    kind: str
    parity: int
    chunks: tuple[int, int]
    seconds: float
    fault: str
    waits: bool
    steps: int
    launch: str
    rank: int

    @classmethod
    def draw(cls, number: int, rng: random.Random) -> Round:
        kind = rng.choice(["encode", *KINDS])
        return cls(
            number,
            kind=kind,
            parity=rng.choice([1, 2]),
            chunks=(rng.choice([5, 10, 20, 20, 40]), rng.choice([8, 8 if kind == "encode both" else 24])),
            seconds=rng.choice([0.02, 0.05, 0.1]),
            fault=rng.choice(["none", "slow", "slower", "frozen", "killed", "thawed"]),
            waits=rng.random() < 0.7,
            steps=rng.randint(3, 6),
            launch=rng.choice(["late", "adaptive"]),
            rank=rng.choice([3, 24]),
        )


@pytest.fixture
def client() -> Iterator[Client]:
    settings = {"distributed.comm.timeouts.connect": "3s"}
    local: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": ":0"}
    with dask.config.set(settings):
        with LocalCluster(n_workers=WORKERS, silence_logs=logging.CRITICAL, **local) as cluster:
            with Client(cluster) as client:
                yield client


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(4))
def test_random_faults_leave_nothing_wrong_and_nothing_behind(client: Client, seed: int) -> None:
    dc.install(client)
    rng = random.Random(seed)
    for number in range(ROUNDS):
        client.wait_for_workers(WORKERS, timeout=60)
        drawn = Round.draw(number, rng)
        print(drawn, flush=True)
        play(client, drawn, rng)
    assert dc.report(client).to_dict()["errors"] == 0
    assert_all_freed(client)


def play(client: Client, drawn: Round, rng: random.Random) -> None:
    numbers = np.random.default_rng(drawn.number)
    a, w = numbers.normal(size=(160, 24)), numbers.normal(size=(24, 6))
    a[:, drawn.rank :] = a[:, : drawn.rank] @ numbers.normal(size=(drawn.rank, 24 - drawn.rank))
    plain = da.from_array(a, chunks=drawn.chunks)
    with ExitStack() as stack, ExitStack() as until_thawed:
        slept = testing.delays(client, testing.Constant(), unit=drawn.seconds, tasks=is_slept)
        stack.enter_context(slept)
        stack.enter_context(dask.config.set({"coded.launch": drawn.launch}))
        if drawn.kind == "coded":
            stack.enter_context(dc.coded(parity=drawn.parity, force=True))
        x = KINDS[drawn.kind](plain, drawn.parity)
        if drawn.waits:
            wait(x, timeout=HANGING)
        for step in range(drawn.steps):
            if step == 1:
                break_one(client, drawn.fault, rng, stack, until_thawed)
            gram = a.T @ (a @ w)
            assert_near(client, x @ w, a @ w)
            assert_near(client, x.T @ (x @ w), gram)
            assert_near(client, ((x + x[:, ::-1]) @ w).mean(axis=0), ((a + a[:, ::-1]) @ w).mean(axis=0))
            q, r = da.linalg.tsqr(x.rechunk({1: -1}))
            assert_near(client, da.stack([q.T @ q, r.T @ r]), np.stack([np.eye(24), a.T @ a]))
            w = w + 1e-3 * gram
            if step == 2:
                until_thawed.close()
    assert_near(client, x, a)


def is_slept(name: str) -> bool:
    return "matmul" in name or "sum" in name


def break_one(
    client: Client, fault: str, rng: random.Random, stack: ExitStack, until_thawed: ExitStack
) -> None:
    """Let one worker, drawn at random, have its fault."""
    one = rng.choice(sorted(client.nthreads()))
    if fault == "slow":
        stack.enter_context(testing.slow(client, one, factor=10))
    elif fault == "slower":
        stack.enter_context(testing.slow(client, one, factor=2))
    elif fault == "frozen":
        stack.enter_context(testing.freeze(client, one))
    elif fault == "thawed":
        until_thawed.enter_context(testing.freeze(client, one))
    elif fault == "killed":
        blow = threading.Timer(rng.uniform(0.0, 1.0), testing.kill, (client, one))
        blow.start()
        stack.callback(blow.join)


def assert_near(client: Client, y: da.Array, expected: np.ndarray) -> None:
    found = client.compute(y).result(timeout=HANGING)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
