"""Carries out the machine's instructions on the scheduler.

Instructions may come late: each method looks at the tasks as they are now and
leaves alone what no longer fits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from math import isfinite
from typing import TYPE_CHECKING, Any

from dask_coded.runtime import instructions as do
from dask_coded.runtime.group import Group
from dask_coded.runtime.quorum import Quorum
from dask_coded.runtime.scheduler_plugin.acts import Acts
from dask_coded.runtime.scheduler_plugin.again import seconds_again
from dask_coded.runtime.scheduler_plugin.edges import forgettable, replace_dependencies, unneeded
from dask_coded.runtime.scheduler_plugin.held import HeldWorkers
from dask_coded.runtime.scheduler_plugin.looks import Looks
from dask_coded.runtime.scheduler_plugin.placement import Placement
from dask_coded.runtime.tasks import decode_task, own_task

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["Hands"]

#: A decode that raises is caught by a retry, so that it never fails the job.
DECODE_RETRIES = 1
EAGER_DELAY = 1_000_000


class Hands(Acts):
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
        super().__init__(scheduler, looks, in_use)
        self.placement = Placement(scheduler)
        self.held = HeldWorkers(self, related, concerned, later)
        #: Respecifications that wait for a task to be released.
        self.respecs: dict[Hashable, tuple[Any, list[TaskState]]] = {}
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
                self.held.hold(step.worker, step.frozen, step.reason)
            case do.FreeWorker():
                self.held.free(step.worker)
            case do.Rerun():
                self.held.rerun(step.key, step.worker)
        return True

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
            self.held.taken.discard(key)
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
        return ts is not None and any(ws.address not in self.held.frozen for ws in ts.who_has or ())

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
