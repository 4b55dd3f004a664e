"""What runs where since when, as far as the scheduler can know."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Hashable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from distributed.scheduler import heartbeat_interval

from dask_coded.runtime.events import Running

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState, WorkerState

__all__ = ["Looks"]

#: A heartbeat tells what ran a moment before it arrived.
HEARTBEAT_AGE = 0.15
#: Seconds by which a look may be late before the scheduler itself counts as deaf meanwhile.
DEAF = 0.5
#: Heartbeats after which one of a worker that is not busy has arrived for certain.
PUNCTUAL = 1.5


class Looks:
    """Remembers when tasks were assigned and workers last delivered.

    The scheduler learns what a worker executes only from heartbeats, every half
    second or less often. Between them a task is taken to run from the moment it
    was assigned or its worker delivered the task before it.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.assigned: dict[Hashable, float] = {}
        self.delivered: dict[str, float] = {}
        #: Workers that seemed occupied, and the heartbeat that first said so.
        self.suspected: dict[str, float] = {}
        self._last_look = self._awake_since = 0.0

    def clear(self) -> None:
        """Forget everything; tasks seen from now on are dated again."""
        self.assigned.clear()
        self.delivered.clear()
        self.suspected.clear()

    def on_assigned(self, key: Hashable, now: float) -> None:
        """A task was sent to a worker."""
        self.assigned[key] = now

    def on_delivered(self, key: Hashable, worker: str | None, now: float) -> None:
        """A task left its worker, finished if `worker` is given."""
        self.assigned.pop(key, None)
        if worker is not None:
            self.delivered[worker] = now

    def _free_since(self, key: Hashable, worker: str) -> float | None:
        """Return since when a worker has had a task, and nothing before it; None if that is not known."""
        assigned = self.assigned.get(key)
        return None if assigned is None else max(assigned, self.delivered.get(worker, 0.0))

    def turnaround(self, key: Hashable, worker: str, now: float) -> float:
        """Return for how many seconds a worker could have been busy with a task; 0 if that is not known."""
        since = self._free_since(key, worker)
        return 0.0 if since is None else now - since

    def is_confirmed(self, ts: TaskState, ws: WorkerState) -> bool:
        """Tell whether a heartbeat says that a task runs: not one from before, of the same key's last run."""
        return ts in ws.executing and ws.last_seen >= self.assigned.get(ts.key, 0.0)

    def began(self, ts: TaskState, ws: WorkerState, now: float) -> float | None:
        """Return when the task began to execute, None if it does not seem to."""
        if self.is_confirmed(ts, ws):
            return float(ws.last_seen - ws.executing[ts])
        since = self._free_since(ts.key, ws.address)
        if since is None or ws.last_seen - HEARTBEAT_AGE > since:
            return None
        return since

    def next_up(self, ws: WorkerState) -> list[TaskState]:
        """Return the tasks that the worker's threads can be busy with."""
        tasks = [ts for ts in ws.processing if ts not in ws.long_running]
        confirmed = [ts for ts in tasks if self.is_confirmed(ts, ws)]
        free = ws.nthreads - len(confirmed)
        if free <= 0 or self.is_occupied(ws):
            return confirmed
        others = [ts for ts in tasks if not self.is_confirmed(ts, ws)]
        return confirmed + heapq.nsmallest(free, others, key=attrgetter("priority"))

    def is_running(self, ts: TaskState, now: float) -> bool:
        """Tell whether a processing task may be executing, rather than queued."""
        ws = ts.processing_on
        if ws is None:
            return False
        return ts in self.next_up(ws) and self.began(ts, ws, now) is not None

    def running(
        self, now: float, cohort: Callable[[Any], str | None], overtaken: Container[Hashable]
    ) -> tuple[dict[Hashable, Running], dict[Hashable, Running]]:
        """Return what all workers run, and what they are to begin with but do not run yet.

        `cohort` returns None for tasks to leave out.
        """
        found: dict[Hashable, Running] = {}
        arriving: dict[Hashable, Running] = {}
        for ws in self.scheduler.workers.values():
            if not ws.processing:
                continue
            for ts in self.next_up(ws):
                name = cohort(ts)
                if name is None:
                    continue
                since = self.began(ts, ws, now)
                if since is not None:
                    found[ts.key] = Running(
                        ws.address, now - since, name, ts.key in overtaken, self.is_confirmed(ts, ws)
                    )
                elif ts.key not in overtaken:
                    seconds = self.turnaround(ts.key, ws.address, now)
                    arriving[ts.key] = Running(ws.address, seconds, name, confirmed=False)
        return found, arriving

    def occupied(self, cohort: Callable[[Any], str | None]) -> tuple[str, ...]:
        """Return the workers on which tasks of ours wait behind what the scheduler has dropped.

        A thread that runs a cancelled task cannot be stopped, and the scheduler
        takes it for free. Heartbeats tell: tasks are ready to run, but do not. It
        takes two to tell those that end at once from those that go on.
        """
        occupied = [
            ws
            for ws in self.scheduler.workers.values()
            if self.is_occupied(ws) and any(cohort(ts) is not None for ts in ws.processing)
        ]
        self.suspected = {ws.address: self.suspected.get(ws.address, ws.last_seen) for ws in occupied}
        return tuple(ws.address for ws in occupied if ws.last_seen > self.suspected[ws.address])

    def dropped(self, ws: WorkerState) -> int:
        """Return how many tasks a worker executes (or fetches) that the scheduler has dropped.

        Known only while the worker delivers nothing: what it executed at its last
        heartbeat is otherwise just done.
        """
        if self.delivered.get(ws.address, 0.0) > ws.last_seen - HEARTBEAT_AGE:
            return 0
        counts = ws.metrics.get("task_counts", {})
        known = sum(ts in ws.processing for ts in ws.executing)
        return int(counts.get("cancelled", 0) + max(0, counts.get("executing", 0) - known))

    def is_occupied(self, ws: WorkerState) -> bool:
        """Tell whether every thread of a worker runs what was dropped, while tasks wait for one."""
        waiting = ws.metrics.get("task_counts", {}).get("ready", 0)
        return bool(ws.processing) and waiting > 0 and self.dropped(ws) >= ws.nthreads

    def silent(
        self, now: float, seconds: float, every: float, suspects: Container[str] = ()
    ) -> tuple[str, ...]:
        """Return the workers that gave no sign of life for too long; called `every` so many seconds.

        Half as long is too long for `suspects`, which are held back already: every iteration waits for
        what they hold. But not where others too are behind with their heartbeats: the machine is busy.
        None after the scheduler itself was deaf for a while.
        """
        if now - self._last_look > 2 * every + DEAF:
            self._awake_since = now
        self._last_look = now
        beat = heartbeat_interval(len(self.scheduler.workers))
        bound = max(seconds, 4 * beat)
        silence = {
            address: now - max(ws.last_seen, self.delivered.get(address, 0.0), self._awake_since)
            for address, ws in self.scheduler.workers.items()
        }
        behind = [address for address, lasts in silence.items() if lasts > PUNCTUAL * beat]
        if all(address in suspects for address in behind):
            bound /= 2
        return tuple(address for address in behind if silence[address] > bound)
