"""Does without workers that hold pieces of groups and do not answer."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from dask_coded.runtime.scheduler_plugin.acts import CLIENT
from dask_coded.runtime.scheduler_plugin.again import spared
from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.rebuilding import Rebuilding
from dask_coded.runtime.shelf import KeptGroup, Shelf
from dask_coded.runtime.snapshot import Counters

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["TEND", "Watching"]

#: Seconds between two looks at the groups and their workers.
TEND = 0.25
#: A result on a frozen worker is computed again if that takes no more seconds of work.
WORTH = 60.0
#: Tasks before a result among which one that reads a group is looked for.
FAR = 1000


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
        #: Results on frozen workers, and whether to compute them again.
        self._results: dict[Hashable, bool] = {}

    def __call__(self, now: float) -> None:
        """Do without the workers that do not answer, until they do again."""
        silent = set(self.hands.looks.silent(now, self.silence, TEND, self.hands.held.paused))
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
                self.hands.held.hold(address, True, "it does not answer and holds pieces of groups")
        for address in self.hands.held.recovered(self.frozen - silent):
            self.frozen.discard(address)
            self.hands.held.free(address)
        if not self.frozen:
            self._results.clear()

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
        if ts.key in self.shelf.scattered:
            return False
        if any(waiter.key not in self.shelf.groups_of for waiter in ts.waiters or ()):
            return True
        if ts.key not in self._results:
            self._results[ts.key] = self._is_result(ts)
        return self._results[ts.key]

    def _is_result(self, ts: TaskState) -> bool:
        """Tell whether a client wants it, it was computed from blocks of groups and soon can be again."""
        if all(client.client_key == CLIENT for client in ts.who_wants or ()):
            return False
        seen, stack = {ts}, [ts]
        while stack and len(seen) < FAR:
            new = stack.pop().dependencies - seen
            if any(dts.key in self.shelf.groups_of for dts in new):
                return spared(ts, ts.dependencies, set())[1] <= WORTH
            seen |= new
            stack.extend(new)
        return False

    def _can_do_without(self, group: KeptGroup, key: Hashable) -> bool:
        """Tell whether the pieces on workers that answer make this one again."""
        needed = (key,) if key in group.blocks else group.blocks
        return all(self.hands.is_readable(block) or self.rebuilding.plan(block) for block in needed)
