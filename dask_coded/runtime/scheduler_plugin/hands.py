"""Carries out the machine's instructions on the scheduler.

Instructions may come late: each method looks at the tasks as they are now and
leaves alone what no longer fits. One method for each instruction makes a long file.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from math import isfinite
from time import time
from typing import TYPE_CHECKING, Any

from distributed.core import Status

from dask_coded.runtime import instructions as do
from dask_coded.runtime.group import Group
from dask_coded.runtime.quorum import Quorum
from dask_coded.runtime.scheduler_plugin.again import seconds_again
from dask_coded.runtime.scheduler_plugin.edges import forgettable, replace_dependencies, unneeded
from dask_coded.runtime.scheduler_plugin.looks import Looks
from dask_coded.runtime.scheduler_plugin.placement import Placement
from dask_coded.runtime.tasks import decode_task, own_task

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState, WorkerState

__all__ = ["CLIENT", "TELL_AGAIN", "Hands"]

#: Name under which the plugin wants keys, as published datasets and queues do.
CLIENT = "dask-coded"
#: A decode that raises is caught by a retry, so that it never fails the job.
DECODE_RETRIES = 1
EAGER_DELAY = 1_000_000
#: Seconds after which requests that were sent to a frozen worker meanwhile are ended too, for the first
#: time; it is twice as long each time, up to the second number.
TELL_AGAIN = 0.3
TELL_AT_LEAST = 5.0


class Hands:
    """Knows how to do each instruction; decides nothing."""

    def __init__(
        self,
        scheduler: Scheduler,
        looks: Looks,
        related: Callable[[TaskState], bool],
        in_use: Callable[[Hashable], bool],
        concerned: Callable[[TaskState], bool],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self.scheduler = scheduler
        self.looks = looks
        self.related = related
        self.in_use = in_use
        self.concerned = concerned
        self.later = later
        self.placement = Placement(scheduler)
        #: Tasks held only until their worker is through with them.
        self.lingering: set[Hashable] = set()
        #: Respecifications that wait for a task to be released.
        self.respecs: dict[Hashable, tuple[Any, list[TaskState]]] = {}
        self.paused: dict[str, float] = {}
        self.frozen: set[str] = set()
        #: By frozen worker, the stimulus with which the others were first told of it.
        self._told: dict[str, str] = {}
        #: Held workers whose running tasks were released: the books show free threads.
        self.robbed: set[str] = set()
        #: Tasks taken from a frozen worker once. A task that merely keeps its
        #: worker from answering would be taken from every worker in turn.
        self.taken: set[Hashable] = set()
        self.retries: dict[Hashable, int] = {}

    def carry_out(self, step: do.Instruction) -> bool:  # noqa: C901 (a line for each instruction)
        """Do one instruction; False when it no longer makes sense."""
        match step:
            case do.Hold():
                self.want(step.keys)
            case do.Launch():
                return self.launch(step)
            case do.Omit():
                self.placement.omit(step.keys)
            case do.Stay():
                self.placement.stay(step.homes)
            case do.Admit():
                self.admit(step.keys)
            case do.Narrow():
                return self.narrow(step)
            case do.Widen():
                self.widen(step.group, step.index)
            case do.Drop():
                self.let_go(step.keys)
            case do.Close():
                self.close(step.group)
            case do.HoldWorker():
                self.hold_worker(step.worker, step.frozen, step.reason)
            case do.FreeWorker():
                self.free_worker(step.worker)
            case do.Rerun():
                self.rerun(step.key, step.worker)
        return True

    # -------------------------------------------------------------- small acts

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

    # ------------------------------------------------------------------ groups

    def register(self, group: Group) -> None:
        """Take the parity edges off the quorum tasks of a new group."""
        for index, key in enumerate(group.targets):
            ts = self.scheduler.tasks.get(key)
            if ts is not None and isinstance(ts.run_spec, Quorum):
                self.respecify(ts, own_task(group, index))

    def respecify(self, ts: TaskState, spec: Any) -> None:
        """Give a task a new spec and its dependencies, whatever state it is in."""
        if any(key not in self.scheduler.tasks for key in spec.dependencies):
            return
        wanted = self.states(spec.dependencies)
        if ts.state in ("processing", "queued", "no-worker"):
            before = set(ts.dependencies)
            self.respecs[ts.key] = (spec, wanted)
            self.transitions({ts.key: "released"})
            self.respecs.pop(ts.key, None)
            self.transitions({dts.key: "released" for dts in before if unneeded(dts)})
            return
        self.linger(dts.key for dts in ts.dependencies - set(wanted))
        found = replace_dependencies(ts, spec, wanted)
        blamed = next((dts for dts in wanted if dts.state == "erred"), None)
        if blamed is not None and ts.state in ("waiting", "released"):
            ts.exception_blame = blamed.exception_blame
            found[ts.key] = "erred"
        if ts.state == "waiting":
            self.transitions(found)

    def on_transition(self, key: Hashable, finish: str) -> bool:
        """Take note of the state that a task has now; True if it was released to be respecified."""
        if finish == "processing":
            self.placement.on_assigned(key)
        elif finish in ("memory", "erred", "forgotten"):
            self.taken.discard(key)
        elif finish == "released" and key in self.respecs:
            replace_dependencies(self.scheduler.tasks[key], *self.respecs.pop(key))
            return True
        return False

    def launch(self, step: do.Launch) -> bool:
        """Compute parity pieces: late ones ahead of other work, eager ones behind it."""
        group, keys = step.group, step.keys
        lanes = {key for t, lane in enumerate(group.lanes) if group.pieces[t] in keys for key in lane}
        own = self.states(lanes.union(group.inputs))
        if isfinite(step.worth) and seconds_again(own, step.worth) > step.worth:
            return False
        for ts in own:
            if ts.state == "released" and ts.priority:
                order = ts.priority[2] + EAGER_DELAY if group.launch == "eager" else -1
                ts.priority = (ts.priority[0], ts.priority[1], order)
        if not step.at_home:
            self.placement.place(group, keys)
        self.want((*keys, *self._inputs(group, lanes)))
        self.transitions({ts.key: "waiting" for ts in self.states(keys) if ts.state == "released"})
        return True

    def _inputs(self, group: Group, lanes: Iterable[Hashable]) -> set[Hashable]:
        """Return what other groups and the decode will read again: encoded blocks and scales."""
        inputs = set(group.inputs)
        found = {dts.key for ts in self.states(lanes) for dts in ts.dependencies if dts.key in inputs}
        return found if group.scales is None else found | {group.scales}

    def admit(self, keys: Iterable[Hashable]) -> None:
        """Let tasks run that were omitted."""
        self.transitions({key: "released" for key in self.placement.admit(keys)})

    def narrow(self, step: do.Narrow) -> bool:
        """Make a target's task decode instead of waiting."""
        group, index = step.group, step.index
        ts = self.scheduler.tasks.get(group.targets[index])
        if ts is None or ts.state in ("memory", "erred", "forgotten"):
            return False
        spec = decode_task(group, index, step.decoding, step.sources)
        if not all(self.is_readable(key) for key in step.sources):
            return False
        self.retries.setdefault(ts.key, ts.retries)
        ts.retries = DECODE_RETRIES
        own = group.code.systematic[index]
        self.linger(group.lanes[own])
        self.respecify(ts, spec)
        return True

    def is_readable(self, key: Hashable) -> bool:
        """Tell whether a worker that answers holds the key."""
        ts = self.scheduler.tasks.get(key)
        return ts is not None and any(ws.address not in self.frozen for ws in ts.who_has or ())

    def widen(self, group: Group, index: int) -> None:
        """Let a target wait for its own piece again."""
        ts = self.scheduler.tasks.get(group.targets[index])
        if ts is None:
            return
        ts.retries = self.retries.pop(ts.key, ts.retries)
        self.respecify(ts, own_task(group, index))

    def restore(self, group: Group) -> None:
        """Give back the edges that were lent: the graph is as it was submitted."""
        for index, key in enumerate(group.targets):
            ts = self.scheduler.tasks.get(key)
            if ts is None:
                continue
            ts.retries = self.retries.pop(key, ts.retries)
            spec = Quorum.of(group, index)
            if ts.state in ("memory", "erred"):
                replace_dependencies(ts, spec, self.states(spec.dependencies))

    def close(self, group: Group) -> None:
        """Restore edges, then let everything of the group go."""
        self.restore(group)
        self.placement.forget(group.pieces)
        lanes = [key for lane in group.lanes for key in lane]
        self.admit(lanes)
        self.placement.leave(lanes)
        shared = [key for key in group.inputs if not self.in_use(key)]
        self.let_go((*group.targets, *group.pieces, *shared), lanes)
        self.sweep((*group.pieces, *group.inputs))

    def let_go(self, keys: Iterable[Hashable], lanes: Iterable[Hashable] = ()) -> None:
        """Free what is finished, waiting or queued; hold what runs until it ends."""
        keys = tuple(keys)
        self.linger({*keys, *lanes})
        self.unwant(key for key in keys if key not in self.lingering)

    def sweep(self, keys: Iterable[Hashable]) -> None:
        """Forget tasks that lost their last dependent while their edges were lent."""
        self.transitions({ts.key: "forgotten" for ts in self.states(keys) if forgettable(ts)})

    # ----------------------------------------------------------------- workers

    def hold_worker(self, address: str, frozen: bool, reason: str) -> None:
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
        self.transitions({key: "released" for key in queued})

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
        ended = running & self.lingering
        self.lingering -= ended
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
        self.unwant(ended)
        self.transitions({key: "released" for key in (*running, *lost)})
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
            self.transitions({key: "released"})

    def free_worker(self, address: str) -> None:
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
