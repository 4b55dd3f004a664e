"""Longer tasks on the workers of a cluster, drawn from a model and a seed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from time import monotonic, sleep
from typing import Any

import numpy as np
from dask._task_spec import Alias
from dask.utils import key_split
from distributed import Client, Worker
from distributed.diagnostics.plugin import WorkerPlugin

from dask_coded.testing.models import Model

__all__ = ["Delays", "Draw", "delays"]

#: Long sleeps are cut in slices, so that a stopped process does not sleep on.
SLICE = 0.005
_serial = count()


@dataclass(frozen=True)
class Draw:
    """What one task drew: it took `factor` times its time, or slept for `factor` units."""

    worker: str
    key: Hashable
    factor: float


class DelayingThreadPoolExecutor(Executor):
    """Runs what the worker's own executor would, and lets it take longer.

    Dask tells by the name of the class that tasks run in threads of the worker.
    """

    def __init__(self, inner: Executor, worker: Worker, delay: _Delay) -> None:
        self.inner = inner
        self.worker = worker
        self.delay = delay

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `function`, then sleep; called by the worker's event loop."""
        key = self._executing()
        if key is None or not self.delay.applies(self.worker, key):
            return self.inner.submit(function, *args, **kwargs)
        factor = self.delay.draw(key)

        def run() -> Any:
            return self.delay.stretch(function(*args, **kwargs), factor)

        return self.inner.submit(run)

    def _executing(self) -> Hashable | None:
        """Return the key of the task that is being started, None for anything else."""
        task = asyncio.current_task()
        name = task.get_name() if task else ""
        found = [key for key in self.worker.active_keys if name == f"execute({key!r})"]
        if not found and name.startswith("execute("):
            raise RuntimeError(f"dask_coded.testing does not know this release of distributed: {name}")
        return found[0] if found else None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the worker's own executor down."""
        self.inner.shutdown(wait=wait)


class _Delay(WorkerPlugin):  # type: ignore[misc]
    """Gives a worker the executor above, and takes it away again."""

    def __init__(
        self,
        name: str,
        model: Model,
        unit: float | None,
        seed: int,
        tasks: Callable[[str], bool] | None,
    ) -> None:
        self.name = name
        self.model = model
        self.unit = unit
        self.seed = seed
        self.tasks = tasks
        self.drawn: list[Draw] = []
        self.over = False

    def setup(self, worker: Worker) -> None:
        """Begin: each worker draws from a stream of its own, known by the worker's name."""
        self.address = worker.address
        rng = np.random.default_rng([self.seed, zlib.crc32(str(worker.name).encode())])
        self.factors = self.model.factors(rng)
        worker.executors["default"] = DelayingThreadPoolExecutor(worker.executors["default"], worker, self)

    def teardown(self, worker: Worker) -> None:
        """End, sleeping tasks included; delays that were added later stay."""
        self.over = True
        outer, found = None, worker.executors["default"]
        while isinstance(found, DelayingThreadPoolExecutor) and found.delay is not self:
            outer, found = found, found.inner
        if isinstance(found, DelayingThreadPoolExecutor):
            if outer is None:
                worker.executors["default"] = found.inner
            else:
                outer.inner = found.inner

    def applies(self, worker: Worker, key: Hashable) -> bool:
        """Tell whether this task is delayed: aliases do no work."""
        if isinstance(worker.state.tasks[key].run_spec, Alias):
            return False
        return self.tasks is None or self.tasks(str(key_split(key)))

    def draw(self, key: Hashable) -> float:
        """Return the next factor."""
        factor = next(self.factors)
        self.drawn.append(Draw(self.address, key, factor))
        return factor

    def stretch(self, result: Any, factor: float) -> Any:
        """Sleep, and correct the times that the worker reports."""
        if not isinstance(result, dict) or result.get("op") != "task-finished":
            return result
        own = result["stop"] - result["start"]
        began = monotonic()
        self._sleep(factor * self.unit if self.unit is not None else max(0.0, factor - 1.0) * own)
        result["stop"] += monotonic() - began
        return result

    def _sleep(self, seconds: float) -> None:
        """Sleep; time in which the process is stopped does not count."""
        while seconds > 0 and not self.over:
            began = monotonic()
            sleep(min(seconds, SLICE))
            passed = monotonic() - began
            seconds -= passed if passed < 4 * SLICE else SLICE


class Delays:
    """What `delays` returns: tells what was drawn."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def drawn(self) -> list[Draw]:
        """Return what the tasks drew so far, in order on each worker that is alive."""
        name = self._name

        def read(dask_worker: Worker) -> list[Draw]:
            plugin = dask_worker.plugins.get(name)
            return list(plugin.drawn) if plugin is not None else []

        return [draw for draws in self._client.run(read).values() for draw in draws]


@contextmanager
def delays(
    client: Client,
    model: Model,
    *,
    unit: float | None = None,
    seed: int = 0,
    tasks: Callable[[str], bool] | None = None,
) -> Iterator[Delays]:
    """Let the tasks of a cluster take longer, as drawn from `model`.

    The i-th task that a worker runs gets the i-th factor of that worker's own
    stream of random numbers, which depends on `seed` and the worker's name only:
    coded and plain runs meet the same faults. Aliases are not counted, since
    they do no work. The added time is slept, so more workers than cores can be
    simulated; it counts as the task's own in all of Dask's statistics. Tasks that
    still sleep when the context ends wake up.

    Parameters
    ----------
    client : distributed.Client
        A synchronous client of the cluster.
    model : Model
        Draws the factors.
    unit : float, optional
        Sleep for factor x `unit` seconds after each task, on top of its own
        time. By default a task takes factor times its own time.
    seed : int
        Equal seeds draw equal factors.
    tasks : callable, optional
        Gets the readable part of a key (`dask.utils.key_split`) and tells
        whether such a task is delayed; all are by default.

    Yields
    ------
    Delays
        Its method ``drawn()`` returns what was drawn.

    Raises
    ------
    TypeError, ValueError
        An argument is not of the right kind or out of range.
    """
    if not isinstance(model, Model):
        raise TypeError(f"model={model!r} is not a model of stragglers; give one of dask_coded.testing's")
    if unit is not None and not unit >= 0:
        raise ValueError(f"unit={unit!r} is not valid; give seconds of at least 0, or None")
    if getattr(client, "asynchronous", False):
        raise TypeError("client is asynchronous; give a synchronous distributed.Client")
    name = f"dask-coded-delays-{next(_serial)}"
    client.register_plugin(_Delay(name, model, unit, seed, tasks), name=name)
    try:
        yield Delays(client, name)
    finally:
        with suppress(OSError):  # a worker that is lost meanwhile takes its delays with it
            client.unregister_worker_plugin(name)
