"""Fixtures and rules for every test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from time import monotonic, sleep
from typing import Any

# Worker and scheduler processes inherit the environment: every scheduler checks its own books.
os.environ["DASK_DISTRIBUTED__SCHEDULER__VALIDATE"] = "True"

# First: distributed.utils_test takes a copy of the configuration on import and restores it after each test.
import dask_coded  # noqa: F401, I001

import dask
import psutil
import pytest
from distributed import Client, LocalCluster
from distributed.comm.tcp import BaseTCPListener

from dask_coded.array import ENCODED
from dask_coded.runtime.scheduler_plugin import CodedPlugin

dask.config.set({"distributed.scheduler.validate": True})
# A worker that is killed some seconds after another must be started anew too.
dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"})

handle_stream = BaseTCPListener._handle_stream


async def handle_or_close_stream(self: BaseTCPListener, stream: Any, address: Any) -> None:
    """Close what was accepted just before the listener stopped, as the end of a process would.

    distributed raises and leaves it open: whoever connects to a worker of this process as it closes
    waits for its answer for good.
    """
    try:
        await handle_stream(self, stream, address)
    except ValueError:
        if self.tcp_server is not None:
            raise
        stream.close()


BaseTCPListener._handle_stream = handle_or_close_stream


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reason = missing_gpu() if any("gpu" in item.keywords for item in items) else ""
    for item in items:
        if {"cluster", "processes"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.cluster)
        if "slow" in item.keywords and not config.getoption("--runslow"):
            item.add_marker(pytest.mark.skip(reason="slow: needs --runslow"))
        if "gpu" in item.keywords and reason:
            item.add_marker(pytest.mark.skip(reason=reason))
    # The long files first: short ones fill the time in which the other process is still busy.
    files = {item.path for item in items if "cluster" in item.keywords}
    items.sort(key=lambda item: item.path not in files)


def missing_gpu() -> str:
    """Return why CuPy cannot be used here, or an empty string."""
    try:
        import cupy
    except ImportError:
        return "gpu: CuPy is not installed"
    return "" if cupy.cuda.is_available() else "gpu: CuPy finds no device"


@pytest.fixture
def cluster() -> Iterator[Callable[..., Client]]:
    """Return a function that starts worker processes of one thread each and connects a client.

    Clients and clusters are closed at the end of the test, and no process may be left over.
    """
    with no_process_left(), ExitStack() as stack:

        def start(n_workers: int = 4, **kwargs: Any) -> Client:
            settings = {**PROCESSES, **kwargs}
            return stack.enter_context(
                Client(stack.enter_context(LocalCluster(n_workers=n_workers, **settings)))
            )

        yield start


PROCESSES = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
#: Let workers give up a dead one soon: what they fetch from it they cannot compute before.
#: Not by an environment variable: nannies give their workers the configuration of this process.
SHORT_CONNECTS = {"distributed.comm.timeouts.connect": "3s"}


@pytest.fixture(autouse=True)
def forget_encoded() -> Iterator[None]:
    """Undo what `dask_coded.encode` does to the configuration of this process."""
    before = dask.config.get("array_optimize", default=None)
    preload = dask.config.get("distributed.client.preload")
    yield
    ENCODED.clear()
    dask.config.set({"distributed.client.preload": preload})
    if before is None:
        dask.config.config.pop("array_optimize", None)


@pytest.fixture
def short_connects() -> Iterator[None]:
    with dask.config.set(SHORT_CONNECTS):
        yield


@pytest.fixture(scope="module")
def processes(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """Start the worker processes that the tests of a module share, as many as its `WORKERS`."""
    with dask.config.set(SHORT_CONNECTS), no_process_left():
        with LocalCluster(n_workers=request.module.WORKERS, **PROCESSES) as cluster:
            with Client(cluster) as client:
                client.run(imports)  # with the first task of a test they would silence the worker
            yield cluster


def imports() -> None:
    import_module("dask.array")
    import_module("dask_coded")


@pytest.fixture
def shared(processes: LocalCluster, request: pytest.FixtureRequest) -> Iterator[Client]:
    """Connect to the shared processes; the plugin and its figures are the test's own."""
    with dask.config.set(SHORT_CONNECTS), Client(processes) as client:
        yield client
        if client.run_on_scheduler(has_plugin):
            dask_coded.uninstall(client)
        deadline = monotonic() + 120
        while (running := client.run_on_scheduler(number_running)) != request.module.WORKERS:
            assert monotonic() < deadline, f"{running} workers run"
            sleep(0.05)


def has_plugin(dask_scheduler: Any) -> bool:
    return CodedPlugin.name in dask_scheduler.plugins


def number_running(dask_scheduler: Any) -> int:
    """Return how many workers run, 0 if there are others besides."""
    found = len(dask_scheduler.running)
    return found if found == len(dask_scheduler.workers) else 0


@contextmanager
def no_process_left() -> Iterator[None]:
    before = live_children()
    yield
    deadline = monotonic() + 60
    while (left := live_children() - before) and monotonic() < deadline:
        sleep(0.05)
    assert not left, f"processes left over: {sorted(child.pid for child in left)}"


def live_children() -> set[psutil.Process]:
    """Return this process's descendants, without Python's own resource tracker."""
    return {child for child in psutil.Process().children(recursive=True) if not is_tracker(child)}


def is_tracker(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE or any(
            "resource_tracker" in word or "forkserver" in word for word in process.cmdline()
        )
    except psutil.NoSuchProcess:
        return True
