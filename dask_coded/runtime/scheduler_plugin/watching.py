"""Does without workers that hold pieces of groups and do not answer."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.rebuilding import Rebuilding
from dask_coded.runtime.shelf import KeptGroup, Shelf
from dask_coded.runtime.snapshot import Counters

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["TEND", "Watching"]

#: Seconds between two looks at the groups and their workers.
TEND = 0.25


class Watching:
    """Which workers are silent, and what on them must be lost."""

    def __init__(
        self, scheduler: Scheduler, hands: Hands, shelf: Shelf, rebuilding: Rebuilding, counters: Counters
    ) -> None:
        self.scheduler = scheduler
        self.hands = hands
        self.shelf = shelf
        self.rebuilding = rebuilding
        self.counters = counters
        #: Workers that were silent and had pieces, and seconds after which a worker is.
        self.frozen: set[str] = set()
        self.silence = 2.5

    def __call__(self, now: float) -> None:
        """Do without the workers that do not answer, until they do again."""
        silent = set(self.hands.looks.silent(now, self.silence, TEND))
        # Where most are silent the machine is too busy, and there is too little to rebuild from.
        if len(silent | self.frozen) <= len(self.scheduler.workers) // 2:
            for ws in [self.scheduler.workers[address] for address in silent - self.frozen]:
                if any(ts.key in self.shelf.groups_of for ts in ws.has_what):
                    self.frozen.add(ws.address)
                    self.counters.workers_held += 1
        for address in self.frozen & silent:
            # Again and again: what it holds may be needed later, or be rebuilt only later.
            ws = self.scheduler.workers[address]
            if ws.status.name == "running" or any(map(self.is_concerned, ws.has_what)):
                self.hands.hold_worker(address, True, "it does not answer and holds pieces of groups")
        for address in self.hands.recovered(self.frozen - silent):
            self.frozen.discard(address)
            self.hands.free_worker(address)

    def is_concerned(self, ts: TaskState) -> bool:
        """Tell whether a task on a frozen worker must be lost, though nothing coded reads it.

        What reads protected blocks would wait for all else that the worker has.
        """
        if ts.processing_on is not None:
            bound = bool(ts.worker_restrictions or ts.host_restrictions) and not ts.loose_restrictions
            seceded = ts in ts.processing_on.long_running
            return ts.processing_on.address in self.frozen and not bound and not seceded
        if not any(ws.address in self.frozen for ws in ts.who_has or ()):
            return False
        if any(self._can_do_without(group, ts.key) for group in self.shelf.groups_of.get(ts.key, ())):
            return True
        return ts.key not in self.shelf.scattered and any(
            waiter.key not in self.shelf.groups_of for waiter in ts.waiters or ()
        )

    def _can_do_without(self, group: KeptGroup, key: Hashable) -> bool:
        """Tell whether the pieces on workers that answer make this one again."""
        needed = (key,) if key in group.blocks else group.blocks
        return all(self.hands.is_readable(block) or self.rebuilding.plan(block) for block in needed)
