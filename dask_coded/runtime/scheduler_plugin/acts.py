"""What all that is done on the scheduler consists of: transitions, and keys held as a client of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from time import time
from typing import TYPE_CHECKING

from dask_coded.runtime.scheduler_plugin.looks import Looks

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["CLIENT", "Acts"]

#: Name under which the plugin wants keys, as published datasets and queues do.
CLIENT = "dask-coded"


class Acts:
    """Small acts.

    Parameters
    ----------
    scheduler : Scheduler
        On which they are done.
    looks : Looks
        Of this scheduler.
    in_use : callable
        Whether a key is wanted for something that goes on.
    """

    def __init__(self, scheduler: Scheduler, looks: Looks, in_use: Callable[[Hashable], bool]) -> None:
        self.scheduler, self.looks, self.in_use = scheduler, looks, in_use
        #: Tasks held only until their worker is through with them.
        self.lingering: set[Hashable] = set()

    def transitions(self, recommendations: dict[Hashable, str]) -> None:
        """Apply recommendations, if there are any."""
        if recommendations:
            stimulus = f"dask-coded-{time()}"
            self.scheduler.transitions(recommendations, stimulus)
            self.scheduler.stimulus_queue_slots_maybe_opened(stimulus_id=stimulus)

    def states(self, keys: Iterable[Hashable]) -> list[TaskState]:
        """Return the task states that exist for `keys`."""
        tasks = self.scheduler.tasks
        return [tasks[key] for key in keys if key in tasks]

    def want(self, keys: Iterable[Hashable]) -> None:
        """Hold keys as a client of the scheduler."""
        known = [ts.key for ts in self.states(keys) if ts.state != "erred"]
        if known:
            self.scheduler.client_desires_keys(keys=known, client=CLIENT)

    def unwant(self, keys: Iterable[Hashable]) -> None:
        """Stop holding keys."""
        if CLIENT in self.scheduler.clients:
            self.scheduler.client_releases_keys(keys=list(keys), client=CLIENT)

    def only_ours(self, ts: TaskState) -> bool:
        """Tell whether the plugin is the only client that wants this task."""
        client = self.scheduler.clients.get(CLIENT)
        return client is not None and ts.who_wants == {client}

    def linger(self, keys: Iterable[Hashable]) -> None:
        """Hold what is executing until it ends.

        A running task cannot be stopped; released, the scheduler would take its
        thread for free and queue new work behind it.
        """
        now = time()
        running = [
            ts.key for ts in self.states(keys) if ts.state == "processing" and self.looks.is_running(ts, now)
        ]
        self.want(running)
        self.lingering.update(running)

    def settle(self, keep: Callable[[Hashable], bool]) -> None:
        """Let go of lingering tasks that ended, but not of those in `keep`."""
        ended = [
            key
            for key in self.lingering
            if not keep(key) and ((ts := self.scheduler.tasks.get(key)) is None or ts.state != "processing")
        ]
        self.lingering.difference_update(ended)
        self.unwant(key for key in ended if not self.in_use(key))
        self.sign_off()

    def sign_off(self) -> None:
        """Be no client of the scheduler while nothing is held."""
        client = self.scheduler.clients.get(CLIENT)
        if client is not None and not client.wants_what:
            del self.scheduler.clients[CLIENT]
