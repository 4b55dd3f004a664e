"""Put the scheduler plugin where it belongs, and take it away again."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from distributed import Client, Scheduler, default_client

from dask_coded.errors import CodedError
from dask_coded.report import Report
from dask_coded.runtime.scheduler_plugin import CodedPlugin

__all__ = ["current_client", "dask_setup", "install", "report", "uninstall"]


def current_client() -> Client | None:
    """Return the client that dask would use now, None when there is none."""
    try:
        return default_client()
    except ValueError:
        return None


def _client(client: Client | None) -> Client:
    found = client if client is not None else current_client()
    if found is None:
        raise ValueError("client=None and no distributed Client is current; create one or pass client=")
    if not isinstance(found, Client):
        raise TypeError(f"client={found!r} is not a distributed.Client")
    return found


async def _install(client: Client) -> None:
    try:
        await client.register_plugin(CodedPlugin())
    except ModuleNotFoundError as error:
        raise CodedError(
            f"the scheduler cannot import {error.name!r}; "
            "install dask_coded where the scheduler and the workers run"
        ) from error


def install(client: Client | None = None) -> Awaitable[None] | None:
    """Install the scheduler plugin; a second time does nothing.

    Parameters
    ----------
    client : distributed.Client, optional
        The current client by default.

    Returns
    -------
    None, or an awaitable when the client is asynchronous.

    Raises
    ------
    ValueError
        There is no client.
    CodedError
        dask_coded is not installed where the scheduler runs.
    """
    found = _client(client)
    result: Awaitable[None] | None = found.sync(_install, found)
    return result


def uninstall(client: Client | None = None) -> Any:
    """Remove the plugin; running computations go on as plain Dask's."""
    found = _client(client)
    return found.sync(_ask, found, "coded_uninstall")


async def _ask(client: Client, operation: str) -> Any:
    assert client.scheduler is not None
    return await getattr(client.scheduler, operation)()


async def _report(client: Client) -> Report:
    answer = await _ask(client, "coded_report")
    if not isinstance(answer, dict) or "figures" not in answer:
        raise CodedError("the scheduler has no dask_coded plugin; call dask_coded.install(client) first")
    return Report(answer["figures"], list(answer["events"]), list(answer["kept"]))


def report(client: Client | None = None) -> Any:
    """Return what was late, what was decoded, how exactly, and what it cost.

    Parameters
    ----------
    client : distributed.Client, optional
        The current client by default.

    Returns
    -------
    Report
        An awaitable of it when the client is asynchronous.
    """
    found = _client(client)
    return found.sync(_report, found)


async def dask_setup(server: Any) -> None:
    """Install the plugin from a preload: ``dask scheduler --preload dask_coded``.

    Works as a preload of schedulers and of clients; does nothing elsewhere.
    """
    if isinstance(server, Scheduler):
        if CodedPlugin.name not in server.plugins:
            server.add_plugin(CodedPlugin(), name=CodedPlugin.name)
            if server.status.name == "running":
                await server.plugins[CodedPlugin.name].start(server)
    elif isinstance(server, Client):
        await _install(server)
