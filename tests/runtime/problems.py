"""Coded graphs made by hand: the scheduler side needs no rewriting of graphs to be tested."""

from __future__ import annotations

import time
from threading import Event

import numpy as np
from dask._task_spec import List, Task, TaskRef

from dask_coded import codes
from dask_coded.kernels import encode_block
from dask_coded.runtime.group import Group, Lateness
from dask_coded.runtime.quorum import Quorum

#: A piece that is slow for `STUCK` seconds ends as soon as the test sets this; workers share its process.
go_on = Event()
STUCK = 50.0
QUICK = Lateness(min_task_runtime=0.05, interval=0.02)


def load(block: int) -> np.ndarray:
    return np.full((8, 3), float(block + 1))


def take_time(seconds: float) -> None:
    if seconds == STUCK:
        go_on.wait(STUCK)
    else:
        time.sleep(seconds)


def double(block: np.ndarray, piece: int, seconds: float, slow: dict[int, float]) -> np.ndarray:
    take_time(slow.get(piece, seconds))
    return 2.0 * block


def poison(block: np.ndarray, piece: int, seconds: float, slow: dict[int, float]) -> np.ndarray:
    take_time(slow.get(piece, seconds))
    return np.full(block.shape, np.nan) if piece >= 4 else 2.0 * block


def fail(*args: object) -> None:
    raise RuntimeError("on purpose")


def total(blocks: list[np.ndarray]) -> float:
    return float(sum(block.sum() for block in blocks))


def answer(k: int) -> float:
    return 2.0 * 24 * sum(range(1, k + 1))


def graph(
    name, k=4, r=2, *, seconds=0.1, slow=None, launch="late", late=QUICK, work=double, parity_work=None
):
    """Return a graph: k loads, k slow tasks and r parity tasks, summed up as ``total-name``."""
    code = codes.parity(k, r, sub_blocks=1)
    slow = slow or {}
    pieces = tuple((f"{'piece' if t < k else 'parity'}-{name}", t) for t in range(code.n))
    loads = [(f"load-{name}", i) for i in range(k)]
    inputs = tuple((f"encode-{name}", t) for t in code.parity)
    group = Group(
        name=name,
        code=code,
        pieces=pieces,
        targets=tuple((f"work-{name}", w) for w in range(k)),
        lanes=tuple((key,) for key in pieces),
        shapes=((8, 3),) * k,
        axis=0,
        length=8,
        dtype="float64",
        tolerance=1e-10,
        inputs=inputs,
        cohorts=dict.fromkeys(pieces, f"work-{name}"),
        launch=launch,
        late=late,
    )
    tasks = {key: Task(key, load, i) for i, key in enumerate(loads)}
    for t, key in enumerate(pieces[:k]):
        tasks[key] = Task(key, work, TaskRef(loads[t]), t, seconds, slow)
    for t, key, source in zip(code.parity, pieces[k:], inputs, strict=True):
        blocks = List(*(TaskRef(load) for load in loads))
        tasks[source] = Task(
            source, encode_block, code.coefficients(t), blocks, axis=0, length=8, dtype="float64"
        )
        tasks[key] = Task(key, parity_work or work, TaskRef(source), t, seconds, slow)
    tasks.update({key: Quorum.of(group, w) for w, key in enumerate(group.targets)})
    tasks[f"total-{name}"] = Task(f"total-{name}", total, List(*(TaskRef(key) for key in group.targets)))
    return tasks
