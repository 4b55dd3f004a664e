"""Keeps blocks in memory safe: gives them parity, and rebuilds those that are lost.

    asked for ----> in memory ----> in a group ----> worker lost ----> rebuilt
    (protect)       (encoding)      (encode,         (the block's task reads its group
                                     parity)          until it is done, then its own again)

Longer than other files, so that all that changes a block's task stands together.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed.protocol import pickle

from dask_coded.runtime import byte_tasks as tasks
from dask_coded.runtime.scheduler_plugin.edges import replace_dependencies
from dask_coded.runtime.scheduler_plugin.encoding import Encoding
from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.spreading import Spreading
from dask_coded.runtime.shelf import KeptGroup, Request, Shelf
from dask_coded.runtime.snapshot import Counters
from dask_coded.runtime.worker_plugin import UnlinkPlugin

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["Vault"]

logger = logging.getLogger("distributed.scheduler.coded")
#: A rebuild that finds damaged pieces is caught by a retry: the block is computed again.
REBUILD_RETRIES = 1
#: Seconds in which workers must answer that they have a plugin; a frozen one does not.
ANSWER = 5.0


@dataclass(frozen=True)
class Lent:
    """What a block's task was before it was told to rebuild."""

    spec: Any
    dependencies: frozenset[TaskState]
    restrictions: set[str] | None
    loose: bool
    retries: int


class Vault:
    """Blocks that must survive their workers. The plugin tells what happens."""

    def __init__(
        self,
        scheduler: Scheduler,
        hands: Hands,
        counters: Counters,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self.scheduler = scheduler
        self.hands = hands
        self.counters = counters
        self.later = later
        self.shelf = Shelf()
        self.spreading = Spreading(scheduler)
        self.encoding = Encoding(scheduler, hands, self.shelf, self.spreading, counters, later)
        self.lent: dict[Hashable, Lent] = {}
        #: Restrictions of blocks that are computed again, as they were.
        self.restricted: dict[Hashable, tuple[set[str] | None, bool]] = {}

    @property
    def empty(self) -> bool:
        return not (self.shelf.request_of or self.shelf.groups or self.lent)

    def protect(self, keys: Iterable[Hashable], parity: int, group: int | None) -> None:
        """Give these blocks parity, each as soon as it is in memory."""
        known = self.shelf.request_of.keys() | self.shelf.group_of.keys()
        new = [key for key in keys if key not in known]
        request = Request(f"persist-{uuid4().hex}", parity, group, set(new))
        self.shelf.request_of.update(dict.fromkeys(new, request))
        for ts in self.hands.states(new):
            if ts.state == "memory":
                self._arrived(ts)
            elif ts.state == "erred":
                self._no_longer_asked(ts.key)
        self.encoding.gather(request)

    async def prepare(self) -> None:
        """Let all workers, now and later, run tasks anew from other dependencies."""
        if UnlinkPlugin.name in self.scheduler.worker_plugins:
            return
        plugin = pickle.dumps(UnlinkPlugin())
        self.scheduler.worker_plugins[UnlinkPlugin.name] = plugin
        message = {"op": "plugin-add", "plugin": plugin, "name": UnlinkPlugin.name}
        asked = asyncio.ensure_future(self.scheduler.broadcast(msg=message, on_error="return"))
        await asyncio.wait([asked], timeout=ANSWER)

    def tend(self) -> None:
        """Look after the groups; called now and then while there are any."""
        self._regroup()
        self.spreading(self.shelf.groups.values(), time())

    def _regroup(self) -> None:
        """Protect what is left of groups of which some blocks are wanted no more."""
        for group in [group for group in self.shelf.groups.values() if group.gone]:
            left = [key for key in group.blocks if key not in group.gone]
            if not any(key in self.lent for key in left):
                self.drop(group)
                if left:
                    self.protect(left, len(group.parity), len(group.blocks))

    # ------------------------------------------------------------ what happens

    def on_memory(self, key: Hashable) -> None:
        """A task's result is in memory."""
        ts = self.scheduler.tasks[key]
        if key in self.restricted:
            ts.worker_restrictions, ts.loose_restrictions = self.restricted.pop(key)
        if key in self.lent:
            self.counters.rebuilt += 1
            self.later(functools.partial(self._give_back, key))
        request, group = self.shelf.request_of.get(key), self.shelf.group_of.get(key)
        if request is not None:
            self._arrived(ts)
            self.later(functools.partial(self.encoding.gather, request))
        if group is not None:
            group.gone.discard(key)
            if key in group.parity:
                self.later(functools.partial(self.encoding.parity_in, group, key))

    def on_released(self, key: Hashable, start: str, failed: bool) -> None:
        """A task was released; called before the scheduler goes on with it."""
        ts = self.scheduler.tasks[key]
        needed = bool(ts.who_wants or ts.waiters)
        if start == "processing" and key in self.lent:
            self._interrupted(ts, failed)
        if start != "memory":
            return
        request, group = self.shelf.request_of.get(key), self.shelf.group_of.get(key)
        if request is not None:
            request.leave(key)
            request.awaited.add(key)
        if group is None:
            return
        if key in group.parity:
            self._parity_lost(group, ts)
        elif key in group.blocks and needed and not self._rebuild(group, ts):
            self._compute_again(group, ts)
        elif key in group.blocks and not needed:
            group.gone.add(key)
        for block in group.blocks:
            if block in self.lent and block != key:
                self.later(functools.partial(self._plan_again, block))

    def _parity_lost(self, group: KeptGroup, ts: TaskState) -> None:
        self.encoding.parity_lost(group, ts)
        if not ts.dependencies:
            self.later(functools.partial(self.drop, group))

    def _compute_again(self, group: KeptGroup, ts: TaskState) -> None:
        """Too little is left: Dask computes the block again, not where the attempt to read it hangs."""
        self.counters.recomputed += 1
        if ts.dependents and not ts.worker_restrictions and not ts.host_restrictions:
            self.restricted[ts.key] = (ts.worker_restrictions, ts.loose_restrictions)
            self.spreading.keep_apart(group, ts)

    def _interrupted(self, ts: TaskState, failed: bool) -> None:
        """A rebuild raised, or its worker was lost: compute the block again, or try once more."""
        lent = self.lent[ts.key]
        replace_dependencies(ts, lent.spec, self._alive(lent.dependencies))
        self._end_loan(ts)
        if failed or not self._rebuild(self.shelf.group_of.get(ts.key), ts):
            self.counters.recomputed += 1

    def on_erred(self, key: Hashable) -> None:
        """A task failed for good."""
        self._no_longer_asked(key)
        group = self.shelf.group_of.get(key)
        if group is not None and key not in group.blocks:
            logger.warning("dask_coded cannot protect %s blocks: their encoding failed", len(group.blocks))
            self.later(functools.partial(self.drop, group))

    def on_forgotten(self, key: Hashable) -> None:
        """The scheduler knows the task no more."""
        self._no_longer_asked(key)
        self.lent.pop(key, None)
        self.restricted.pop(key, None)
        group = self.shelf.group_of.get(key)
        if group is not None and key in group.blocks:
            group.gone.add(key)
            if len(group.gone) == len(group.blocks):
                self.later(functools.partial(self.drop, group))

    def on_client_left(self) -> None:
        """Forget what was asked for but never submitted."""
        for key in [key for key in self.shelf.request_of if key not in self.scheduler.tasks]:
            self._no_longer_asked(key)

    def _arrived(self, ts: TaskState) -> None:
        if ts.who_has:
            self.shelf.request_of[ts.key].arrive(ts.key, min(ws.address for ws in ts.who_has))

    def _no_longer_asked(self, key: Hashable) -> None:
        request = self.shelf.request_of.pop(key, None)
        if request is not None:
            request.awaited.discard(key)
            request.leave(key)
            if not request.awaited:
                self.later(functools.partial(self.encoding.gather, request))

    def drop(self, group: KeptGroup) -> None:
        """Protect these blocks no longer."""
        if self.shelf.groups.get(group.name) is not group:
            return
        self.shelf.take(group)
        for key in group.blocks:
            if key in self.lent:
                self._plan_again(key)
        self.hands.unwant((*group.parity, group.encoded))
        self.hands.sweep((*group.parity, group.encoded))
        self.hands.sign_off()
        self.encoding.ended(group)

    def clear(self) -> None:
        """Protect nothing any more."""
        self.shelf.request_of.clear()
        for group in list(self.shelf.groups.values()):
            self.drop(group)

    # ----------------------------------------------------------------- rebuild

    def _rebuild(self, group: KeptGroup | None, ts: TaskState) -> bool:
        """Let a released block's task rebuild it; False if too little is left of its group."""
        plan = self._plan(group, ts.key)
        if group is None or plan is None:
            return False
        self.lent[ts.key] = Lent(
            ts.run_spec,
            frozenset(ts.dependencies),
            ts.worker_restrictions,
            ts.loose_restrictions,
            ts.retries,
        )
        # Nobody else may refer to them meanwhile, and they may be needed after all.
        self.hands.want(dts.key for dts in ts.dependencies)
        spec = tasks.rebuild_task(ts.key, group.blocks.index(ts.key), plan)
        replace_dependencies(ts, spec, self.hands.states(plan.values()))
        ts.retries = max(ts.retries, REBUILD_RETRIES)
        if not ts.worker_restrictions and not ts.host_restrictions:
            self.spreading.keep_apart(group, ts)
        self.counters.bytes_moved += sum(source.get_nbytes() for source in ts.dependencies)
        return True

    def _plan(self, group: KeptGroup | None, key: Hashable) -> dict[int, Hashable] | None:
        if group is None:
            return None
        return group.plan(key, {piece for piece in group.pieces if self.hands.is_readable(piece)})

    def _plan_again(self, key: Hashable) -> None:
        """A piece that a rebuild may read is gone: read others, or compute the block again."""
        ts, lent, group = self.scheduler.tasks.get(key), self.lent.get(key), self.shelf.group_of.get(key)
        if ts is None or lent is None or ts.state == "memory":
            return
        if group is not None and all(self.hands.is_readable(dts.key) for dts in ts.dependencies):
            return
        plan = self._plan(group, key)
        if group is not None and plan is not None:
            self.hands.respecify(ts, tasks.rebuild_task(key, group.blocks.index(key), plan))
            return
        self.counters.recomputed += 1
        self.hands.respecify(ts, lent.spec)
        self._end_loan(ts)

    def _give_back(self, key: Hashable) -> None:
        """A block is rebuilt: its task is again what it was."""
        ts, lent, group = self.scheduler.tasks.get(key), self.lent.get(key), self.shelf.group_of.get(key)
        if ts is None or lent is None or ts.state != "memory":
            return
        replace_dependencies(ts, lent.spec, self._alive(lent.dependencies))
        self._end_loan(ts)
        if group is not None:
            self.encoding.drop_copies(
                [piece for piece in group.pieces if piece != key], {ws.address for ws in ts.who_has or ()}
            )

    def _alive(self, states: Iterable[TaskState]) -> list[TaskState]:
        return [dts for dts in states if self.scheduler.tasks.get(dts.key) is dts]

    def _end_loan(self, ts: TaskState) -> None:
        lent = self.lent.pop(ts.key)
        ts.worker_restrictions, ts.loose_restrictions = lent.restrictions, lent.loose
        ts.retries = lent.retries
        self.hands.unwant([dts.key for dts in lent.dependencies if dts.key not in self.shelf.group_of])
        self.hands.sign_off()
