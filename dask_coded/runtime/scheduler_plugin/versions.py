"""Keeps two versions of one result from being mixed.

A rebuilt block differs from the lost one by rounding, and so does a decoded target from its own
piece. That does no harm to what reads it for the first time. But a task that ran before and runs
again on other bits may yield something else altogether, where its problem is ill-posed, such as
the QR of a matrix that has not full rank; and if others have kept what came of its first result,
the two do not fit together::

                    .--> read by Q1, in memory
    block --> QR --<
                    '--> read by Q2, lost: QR runs again, on the block as it is now

Then the block must have the bits that it had. It is computed again, by its own task, as plain
Dask would do. Everything else goes on with what was rebuilt.

Each result has a version: 0 is what it was first, what was rebuilt or decoded since has a number
of its own. Steps of lanes are linear, so they may read any version, and what they yield is a new
version too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

#: Stands for a version: the task runs again, and may read whichever there is.
ANY = -1

__all__ = ["Versions", "has_run", "leaves_traces", "runs_again"]


def has_run(ts: TaskState) -> bool:
    """Tell whether a task has ever had a result."""
    return bool(ts.nbytes >= 0)


def runs_again(ts: TaskState) -> bool:
    """Tell whether a task that had a result is to have one again."""
    return has_run(ts) and ts.state in ("waiting", "processing", "queued", "no-worker")


def leaves_traces(ts: TaskState) -> bool:
    """Tell whether anything in memory was computed from a result of this task."""
    seen, stack = {ts}, [ts]
    while stack:
        for dts in stack.pop().dependents - seen:
            if dts.who_has:
                return True
            seen.add(dts)
            if has_run(dts):
                stack.append(dts)
    return False


class Versions:
    """Which version of a result there is, and which one those have read that may read it again.

    Parameters
    ----------
    scheduler : Scheduler
        Its tasks.
    is_linear : callable
        Tells whether a key is a step of a lane.
    is_exempt : callable
        Tells whether a key makes parity.
    provide : callable
        Sees to it that a task's own version is computed.
    complain : callable
        Called with the key of a task that runs again though nothing yields what it has read.
    later : callable
        Calls a function when the scheduler has nothing under its hands.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        is_linear: Callable[[Hashable], bool],
        is_exempt: Callable[[Hashable], bool],
        provide: Callable[[TaskState], None],
        complain: Callable[[Hashable], None],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self.scheduler = scheduler
        self.is_linear = is_linear
        self.is_exempt = is_exempt
        self.provide = provide
        self.complain = complain
        self.later = later
        #: Versions that differ, or once differed, from 0.
        self.current: dict[Hashable, int] = {}
        #: By result: tasks that have read another version than the current one.
        self.read: dict[Hashable, WeakKeyDictionary[TaskState, int]] = {}
        #: By step of a lane that has run again: what its version 0 was made from.
        self.base: dict[Hashable, dict[Hashable, int]] = {}
        #: Targets that have had a result: whether the first was decoded.
        self.targets: dict[Hashable, bool] = {}
        self._fresh = itertools.count(1)

    def changes(self, ts: TaskState, version: int | None = None) -> None:
        """The task's result is or will be another version than before: a new one, if none is given."""
        before = self.current.get(ts.key, 0)
        version = next(self._fresh) if version is None else version
        if version == before:
            return
        read = self.read.setdefault(ts.key, WeakKeyDictionary())
        for reader in ts.dependents:
            if has_run(reader):
                read.setdefault(reader, before)
                if runs_again(reader):
                    self.later(functools.partial(self.check, reader.key))
        self.current[ts.key] = version

    def on_waiting(self, key: Hashable) -> None:
        """A task is to run; called before the scheduler goes on with it."""
        if self.current:
            self.later(functools.partial(self.check, key))

    def check(self, key: Hashable) -> None:
        """Let a task that runs again read what it has read, if that matters."""
        ts = self.scheduler.tasks.get(key)
        if ts is None or not runs_again(ts):
            return
        stale = self._stale(ts)
        if not stale:
            return
        exempt = self.is_exempt(key)
        linear = not exempt and self.is_linear(key)
        if exempt or linear or not leaves_traces(ts):
            self._accept(ts, stale)
        elif not all([self._provide(dts, version) for dts, version in stale.items()]):
            self.complain(key)
            self._accept(ts, stale)
        if linear:
            self.base.setdefault(key, {dts.key: version for dts, version in stale.items()})
            self.changes(ts)

    def _accept(self, ts: TaskState, stale: Iterable[TaskState]) -> None:
        for dts in stale:
            self.read[dts.key][ts] = ANY

    def _stale(self, ts: TaskState) -> dict[TaskState, int]:
        """Return what is not the version that a task has read, with that version."""
        found = {}
        for dts in ts.dependencies:
            version = self.read[dts.key].get(ts, ANY) if dts.key in self.read else ANY
            if version not in (ANY, self.current.get(dts.key)):
                found[dts] = version
        return found

    def _provide(self, ts: TaskState, version: int) -> bool:
        """Have a version computed; False if nothing yields it any more."""
        if version == self.current.get(ts.key, 0):
            return True
        if version or self.targets.get(ts.key):
            return False
        # Not what it depends on now: a target may be decoded from others at the moment.
        base = self.base.pop(ts.key, {})
        sources = [(self.scheduler.tasks.get(key), version) for key, version in base.items()]
        found = [dts is not None and self._provide(dts, version) for dts, version in sources]
        self.changes(ts, 0)
        self.provide(ts)
        return all(found)

    def on_memory(self, ts: TaskState) -> None:
        """A task has a result: what it read are the versions that there are."""
        for dts in ts.dependencies if self.current else ():
            read = self.read.get(dts.key)
            if read is not None and read.get(ts) == ANY:
                del read[ts]

    def on_target(self, ts: TaskState, decoded: bool) -> None:
        """A target has a result."""
        again = ts.key in self.targets
        first = self.targets.setdefault(ts.key, decoded)
        if again and (decoded or first):
            self.changes(ts)

    def on_forgotten(self, key: Hashable) -> None:
        """The scheduler knows the task no more."""
        self.current.pop(key, None)
        self.read.pop(key, None)
        self.base.pop(key, None)
        self.targets.pop(key, None)
