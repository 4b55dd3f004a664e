"""Workers that get no new work for a while: late ones, and such as do not answer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from time import time
from typing import TYPE_CHECKING

from distributed.core import Status

from dask_coded.runtime.scheduler_plugin.acts import Acts

if TYPE_CHECKING:
    from distributed.scheduler import TaskState, WorkerState

__all__ = ["TELL_AGAIN", "HeldWorkers"]

#: Seconds after which requests that were sent to a frozen worker meanwhile are ended too, for the first
#: time; it is twice as long each time, up to the second number.
TELL_AGAIN = 0.3
TELL_AT_LEAST = 5.0


class HeldWorkers:
    """Holds workers back, and lets them go again.

    Parameters
    ----------
    acts : Acts
        How to do it.
    related : callable
        Whether a task belongs to what is coded: only such are moved away from a late worker.
    concerned : callable
        Whether a task is one that a frozen worker must not keep.
    later : callable
        Calls a function once the scheduler is through with what it does now.
    """

    def __init__(
        self,
        acts: Acts,
        related: Callable[[TaskState], bool],
        concerned: Callable[[TaskState], bool],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self.acts, self.scheduler, self.looks = acts, acts.scheduler, acts.looks
        self.related, self.concerned, self.later = related, concerned, later
        #: When each was held back.
        self.paused: dict[str, float] = {}
        self.frozen: set[str] = set()
        #: By frozen worker, the stimulus with which the others were first told of it.
        self._told: dict[str, str] = {}
        #: Held workers whose running tasks were released: the books show free threads.
        self.robbed: set[str] = set()
        #: Tasks taken from a frozen worker once. A task that merely keeps its
        #: worker from answering would be taken from every worker in turn.
        self.taken: set[Hashable] = set()

    def hold(self, address: str, frozen: bool, reason: str) -> None:
        """Give a worker no new work; what it has queued runs elsewhere."""
        ws = self.scheduler.workers.get(address)
        if ws is None:
            return
        if ws.status == Status.running:
            self.paused[address] = time()
            self.scheduler.log_event(address, {"action": "dask-coded-hold", "reason": reason})
            self.scheduler.handle_worker_status_change("paused", ws, f"dask-coded-hold-{time()}")
        if self.looks.is_occupied(ws):
            self.robbed.add(address)
        if frozen:
            self._strip(ws)
        else:
            # Not before what is decoded instead of something that is queued there.
            self.later(partial(self._move_queued, address))

    def _move_queued(self, address: str) -> None:
        """Let what a held worker has not begun with run elsewhere."""
        ws = self.scheduler.workers.get(address)
        if ws is None or address not in self.paused:
            return
        now = time()
        queued = [ts.key for ts in ws.processing if not self.looks.is_running(ts, now) and self.related(ts)]
        self.acts.transitions({key: "released" for key in queued})

    def _strip(self, ws: WorkerState) -> None:
        """Take work and needed data away from a worker that does not answer.

        The scheduler itself would do so after `distributed.scheduler.worker-ttl`.
        Other workers drop their open requests to it, which would never end.
        """
        stimulus = f"dask-coded-frozen-{time()}"
        self.frozen.add(ws.address)
        self.robbed.add(ws.address)
        # First, as when a worker leaves: one that is told to compute what it has yet to fetch from
        # there would fail, where it can do so with what is missing.
        self._tell_gone(ws.address, stimulus)
        running = {ts.key for ts in ws.processing if self.concerned(ts)} - self.taken
        self.taken |= running
        ended = running & self.acts.lingering
        self.acts.lingering -= ended
        held, lost = [], []
        for ts in list(ws.has_what):
            if len(ts.who_has or ()) == 1:
                wanted = bool(ts.waiters or ts.who_wants)
                if ts.run_spec is None or ts.actor or not wanted or not self.concerned(ts):
                    continue
                lost.append(ts.key)
            # All before any transition, as when a worker leaves: what is lost may be computed
            # from something else that is lost, and must not be sent to read it there.
            self.scheduler.remove_replica(ts, ws)
            held.append(ts.key)
        # Not "remove-replicas": a worker that wakes up with a task that reads one would close itself.
        self.scheduler.worker_send(ws.address, {"op": "free-keys", "keys": held, "stimulus_id": stimulus})
        self.acts.unwant(ended)
        self.acts.transitions({key: "released" for key in (*running, *lost)})
        if lost:
            self._end_gathers(ws.address)
        # Again and again, since it ends the requests that are open then.
        self._told[ws.address] = stimulus
        self.scheduler.loop.call_later(TELL_AGAIN, self._tell_gone_again, ws.address, stimulus, TELL_AGAIN)

    def _end_gathers(self, address: str) -> None:
        """Have clients ask once more for results that are on their way from a worker: they never come."""
        for comm in list(self.scheduler.rpc.occupied.get(address, ())):
            if comm.name and "for gather" in comm.name:  # so `get_data_from_worker` calls them
                comm.abort()

    def _tell_gone_again(self, address: str, first: str, after: float) -> None:
        if self._told.get(address) != first:
            return  # it was told anew meanwhile
        if address not in self.frozen or address not in self.scheduler.workers:
            del self._told[address]
            return
        self._tell_gone(address, f"dask-coded-frozen-{time()}")
        after = min(2 * after, TELL_AT_LEAST)
        self.scheduler.loop.call_later(after, self._tell_gone_again, address, first, after)

    def _tell_gone(self, address: str, stimulus: str) -> None:
        """Have the other workers drop what they expect from one."""
        message = {"op": "remove-worker", "worker": address, "stimulus_id": stimulus}
        for other in self.scheduler.workers:
            if other != address:
                self.scheduler.worker_send(other, message)

    def rerun(self, key: Hashable, worker: str) -> None:
        """Run a late task elsewhere; its worker must be held back."""
        ts = self.scheduler.tasks.get(key)
        held = worker in self.paused
        if held and ts is not None and ts.processing_on is not None and ts.processing_on.address == worker:
            self.robbed.add(worker)
            self.acts.transitions({key: "released"})

    def free(self, address: str) -> None:
        """Give a held worker work again."""
        ws = self.scheduler.workers.get(address)
        self.frozen.discard(address)
        self.robbed.discard(address)
        if self.paused.pop(address, None) is not None and ws is not None and ws.status == Status.paused:
            self.scheduler.handle_worker_status_change("running", ws, f"dask-coded-free-{time()}")

    def recovered(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return held workers that delivered what they were late with.

        Of a worker that had a task taken away, only a heartbeat tells when its
        thread is free again.
        """
        found = []
        for address in addresses:
            ws = self.scheduler.workers.get(address)
            since = self.paused.get(address, 0.0)
            if ws is None:
                found.append(address)
            elif address not in self.robbed and not self._is_stuck(ws, since):
                found.append(address)
            elif ws.last_seen > since + 1.0 and not ws.executing and not self.looks.dropped(ws):
                found.append(address)
        return tuple(found)

    def _is_stuck(self, ws: WorkerState, since: float) -> bool:
        """Tell whether a held worker still runs something that it ran when it was held."""
        return any(self.looks.assigned.get(ts.key, 0.0) <= since for ts in ws.processing)
