"""Finds our groups in what clients send, and remembers what came with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from time import time
from typing import TYPE_CHECKING

from dask_coded.runtime import events as ev
from dask_coded.runtime.group import Group
from dask_coded.runtime.quorum import Quorum
from dask_coded.runtime.scheduler_plugin import here
from dask_coded.runtime.scheduler_plugin.driver import Driver
from dask_coded.runtime.scheduler_plugin.edges import forgettable
from dask_coded.runtime.scheduler_plugin.telling import warn_clients

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

    from dask_coded.runtime.encoded_group import EncodedGroup

__all__ = ["Adoption", "encoded_groups"]

ADAPTIVE_IS_LATE = (
    "launch='adaptive' leaves nothing out while distributed.scheduler.no-workers-timeout is set on the "
    "scheduler: it acts as 'late'; unset that to have slow workers compute less"
)


class Adoption:
    """Registers groups of new graphs with the machine and the hands.

    Parameters
    ----------
    later : callable
        Calls a function once the scheduler is through with what it is at.
    """

    def __init__(self, driver: Driver, later: Callable[[Callable[[], None]], None]) -> None:
        self.driver = driver
        self.machine = driver.machine
        self.hands = driver.hands
        self.scheduler = driver.hands.scheduler
        self.later = later
        #: Names of the tasks that came with the graph of each group.
        self._related: dict[str, set[str]] = {}

    def __call__(self, keys: Sequence[Hashable]) -> bool:
        """Find the groups among some tasks and take the parity edges off; tell if any must be watched."""
        quorums: dict[str, list[TaskState]] = {}
        for ts in self.hands.states(keys):
            if isinstance(ts.run_spec, Quorum):
                quorums.setdefault(ts.run_spec.group.name, []).append(ts)
        self.sweep_orphans(keys)
        if not quorums and not self.machine.books:
            return False
        now = time()
        touched = {ts.group.name for ts in self.hands.states(keys)}
        new: list[Group] = []
        for name, found in quorums.items():
            group = found[0].run_spec.group
            fresh = [ts for ts in found if ts.state not in ("memory", "erred")]
            if name in self.machine.books and not fresh:
                continue
            whole = len(found) == len(group.targets) and self._has_tasks(group)
            self.hands.register(group)
            if whole or name in self.machine.books:
                new += [group] if name not in self.machine.books else []
                self._related.setdefault(name, set()).update(touched)
                index_of = {key: w for w, key in enumerate(group.targets)}
                self.driver.tell(ev.GroupAdded(now, group, tuple(index_of[ts.key] for ts in found)))
                for ts in found:
                    if ts.state == "memory":
                        self.driver.tell(ev.KeyFinished(now, ts.key))
            else:
                self.sweep_orphans([*group.pieces, *group.inputs])
        self._share_out([group for group in new if group.launch == "adaptive"])
        return True

    def _has_tasks(self, group: Group) -> bool:
        """A target that was submitted before, uncoded, keeps its group from being coded."""
        return all(key in self.scheduler.tasks for key in (*group.targets, *group.pieces))

    def _share_out(self, groups: list[Group]) -> None:
        """Leave out pieces of slow workers before the scheduler sends them there."""
        if groups and self.scheduler.no_workers_timeout is not None:
            # What is left out waits for a worker, and would fail for want of one.
            warn_clients(ADAPTIVE_IS_LATE)
            return
        place = self.hands.placement
        seconds = {group.name: place.seconds(group) for group in groups}
        known = [group for group in groups if seconds[group.name]]
        if not known:
            return
        homes = {group.name: place.homes(group) for group in known}
        threads = {ws.address: ws.nthreads for ws in self.scheduler.running}
        self.driver.place(ev.GroupsPlaced(time(), homes, seconds, threads))

    def sweep_orphans(self, keys: Iterable[Hashable]) -> None:
        """Forget tasks of ours that a key collision left without dependents."""
        orphans = [
            ts.key for ts in self.hands.states(keys) if forgettable(ts) and not self.machine.knows(ts.key)
        ]
        if orphans:
            self.later(functools.partial(self.hands.sweep, orphans))

    def is_related(self, ts: TaskState) -> bool:
        """Tell whether a task came with a graph that holds a group of ours."""
        if self.machine.knows(ts.key):
            return True
        return any(ts.group.name in names for names in self._related.values())

    def forget_ended(self) -> None:
        """Forget what came with groups that are no more."""
        for name in [name for name in self._related if name not in self.machine.books]:
            del self._related[name]


def encoded_groups(keys: Iterable[Hashable]) -> list[list[EncodedGroup]]:
    """Return the whole groups of each encoded array that a client wants some blocks of."""
    asked: dict[str, set[Hashable]] = {}
    for key in keys if here.encoded_arrays else ():
        name = key[0] if isinstance(key, tuple) and key else key
        if name in here.encoded_arrays:
            asked.setdefault(name, set()).add(key)
    return [
        [group for group in here.encoded_arrays[name].groups() if wanted.issuperset(group.group.targets)]
        for name, wanted in asked.items()
    ]
