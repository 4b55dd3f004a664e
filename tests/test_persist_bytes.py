"""Blocks of every kind of data come back from a killed worker bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Task
from dask.highlevelgraph import HighLevelGraph
from distributed import Client, futures_of, wait
from odd_blocks import ALONE, IN_A_ROW, Maker, bits
from persist_helpers import assert_all_freed, holders, kill, settled

import dask_coded as dc

pytestmark = pytest.mark.usefixtures("short_connects")

#: Blocks of each case, and workers that hold them; one more worker holds the parity.
BLOCKS = 3


def block(case: str, number: int, runs: str) -> np.ndarray:
    """Make a block of a case, on a worker, and leave a mark in the file `runs`."""
    with open(runs, "a") as file:
        file.write("x")
    return maker(case)(number)


def maker(case: str) -> Maker:
    return {**IN_A_ROW, **ALONE}[case]


def array(case: str, numbers: range, runs: str) -> da.Array:
    """Return an array of these blocks of a case, one after the other."""
    name = f"{case}-{numbers.start}"
    made = [maker(case)(number) for number in numbers]
    rest = made[0].shape[1:]
    chunks = (tuple(len(one) for one in made), *((size,) for size in rest)) if made[0].ndim else ()
    keys = [(name, place, *(0 for _ in rest))[: 1 + len(chunks)] for place in range(len(made))]
    tasks = {key: Task(key, block, case, number, runs) for key, number in zip(keys, numbers, strict=True)}
    return da.Array(HighLevelGraph.from_collections(name, tasks), name, chunks, dtype=made[0].dtype)


def arrays(runs: str) -> list[da.Array]:
    apart = [range(number, number + 1) for number in range(BLOCKS)]
    found = [array(case, range(BLOCKS), runs) for case in IN_A_ROW]
    return found + [array(case, numbers, runs) for case in ALONE for numbers in apart]


def number_of(key: Any) -> int:
    return int(key[0].rsplit("-")[-1]) + (key[1] if len(key) > 1 else 0)


@contextmanager
def placed(client: Client) -> Iterator[list[str]]:
    """Compute every first block on one worker, every second on another: all cases lose blocks alike."""
    workers = sorted(client.nthreads())[:BLOCKS]
    # Loose: otherwise a block whose worker is gone could never be anywhere else.
    with dask.annotate(workers=lambda key: [workers[number_of(key)]], allow_other_workers=True):
        yield workers


def differences(client: Client, kept: list[da.Array]) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
    """Return found and expected of all blocks that are not what they were."""
    found = {future.key: future for x in kept for future in futures_of(x)}
    wrong = {}
    for key, value in client.gather(found).items():
        expected = maker(key[0].rsplit("-", 1)[0])(number_of(key))
        same_type = value.dtype == expected.dtype and value.shape == expected.shape
        if not same_type or bits(value) != bits(expected):
            wrong[key] = value, expected
    return wrong


def test_every_bit_survives(cluster: Callable[..., Client], tmp_path: Any) -> None:
    # Both would move blocks away from where they are placed.
    off = ("work-stealing", "active-memory-manager.start")
    with dask.config.set({f"distributed.scheduler.{name}": False for name in off}):
        client = cluster(BLOCKS + 1)
    runs = tmp_path / "runs"
    runs.write_text("")
    with placed(client) as workers:
        kept = list(dc.persist(*arrays(str(runs)), optimize_graph=False))
    wait(kept)
    settled(client, len(IN_A_ROW) + len(ALONE))
    computed = len(runs.read_text())
    assert computed == BLOCKS * (len(IN_A_ROW) + len(ALONE))

    on_victim = {key for x in kept for key, held in client.who_has(x).items() if workers[0] in held}
    assert len(on_victim) == len(IN_A_ROW) + len(ALONE), "one block of every case"
    client.amm.start()
    kill(client, workers[0])
    settled(client, len(IN_A_ROW) + len(ALONE))
    assert not differences(client, kept)
    assert workers[0] not in {worker for x in kept for worker in holders(client, x)}
    figures = dc.report(client).to_dict()
    assert figures["rebuilt"] >= len(on_victim) and figures["recomputed"] == figures["errors"] == 0
    assert len(runs.read_text()) == computed, "blocks were computed again"
    del kept
    assert_all_freed(client)


def test_objects_are_refused_before_anything_is_submitted(tmp_path: Any) -> None:
    runs = tmp_path / "runs"
    runs.write_text("")
    numbers = array("one block", range(1), str(runs))
    objects = da.from_array(np.array([{}, "text"], dtype=object), chunks=1)
    records = da.from_array(np.zeros(2, [("number", "f8"), ("anything", object)]), chunks=1)
    for bad in (objects, records):
        with pytest.raises(TypeError, match=r"collections\[1\] has dtype .*Python objects cannot be encoded"):
            dc.persist(numbers, bad)
    assert not runs.read_text()
