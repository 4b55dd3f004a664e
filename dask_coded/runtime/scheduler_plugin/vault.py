"""Keeps blocks in memory safe: gives them parity, and rebuilds those that are lost.

asked for ----> in memory ----> in a group ----> worker lost ----> rebuilt
(protect)       (encoding)      (encode,         (the block's task reads its group
                                 parity)          until it is done, then its own again)
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Hashable, Iterable
from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dask_coded.runtime import byte_tasks as tasks
from dask_coded.runtime.encoded_group import EncodedGroup
from dask_coded.runtime.scheduler_plugin import replicas
from dask_coded.runtime.scheduler_plugin.encoding import Encoding
from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.rebuilding import Rebuilding
from dask_coded.runtime.scheduler_plugin.spreading import Spreading
from dask_coded.runtime.scheduler_plugin.versions import Versions
from dask_coded.runtime.scheduler_plugin.watching import Watching
from dask_coded.runtime.scheduler_plugin.workers import give_plugin
from dask_coded.runtime.shelf import KeptEncodedGroup, KeptGroup, Request, Shelf
from dask_coded.runtime.snapshot import Counters
from dask_coded.runtime.worker_plugin import UnlinkPlugin

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["Vault"]

logger = logging.getLogger("distributed.scheduler.coded")


class Vault:
    """Blocks that must survive their workers. The plugin tells what happens."""

    def __init__(
        self,
        scheduler: Scheduler,
        hands: Hands,
        counters: Counters,
        later: Callable[[Callable[[], None]], None],
        versions: Versions,
    ) -> None:
        self.scheduler = scheduler
        self.hands = hands
        self.counters = counters
        self.later = later
        self.shelf = Shelf()
        self.spreading = Spreading(scheduler, self.shelf)
        self.encoding = Encoding(scheduler, hands, self.shelf, self.spreading, counters, later)
        self.rebuilding = Rebuilding(
            scheduler, hands, self.shelf, self.spreading, self.encoding, counters, versions
        )
        self.watching = Watching(scheduler, hands, self.shelf, self.rebuilding, counters)
        self._asked: asyncio.Future[Any] | None = None
        #: Restrictions of blocks that are computed again, as they were.
        self.restricted: dict[Hashable, tuple[set[str] | None, bool]] = {}

    @property
    def empty(self) -> bool:
        shelf, rebuilding = self.shelf, self.rebuilding
        return not (
            shelf.request_of or shelf.groups or rebuilding.lent or self.restricted or self.watching.frozen
        )

    def protect(self, keys: Iterable[Hashable], parity: int, group: int | None) -> None:
        """Give these blocks parity, each as soon as it is in memory."""
        known = self.shelf.request_of.keys() | self.shelf.groups_of.keys()
        new = [key for key in keys if key not in known]
        request = Request(f"persist-{uuid4().hex}", parity, group, set(new))
        self.shelf.request_of.update(dict.fromkeys(new, request))
        replicas.take_over(self.scheduler, self.shelf)
        for ts in self.hands.states(new):
            if ts.run_spec is None:
                self._can_be_lost(ts)
            if ts.state == "memory":
                self._arrived(ts)
            elif ts.state == "erred":
                self._no_longer_asked(ts.key)
        self.encoding.gather(request)

    def keep_encoded(self, found: Iterable[EncodedGroup]) -> None:
        """Keep the blocks of an encoded array, and their parity, once they are in memory."""
        replicas.take_over(self.scheduler, self.shelf)
        for group in found:
            keepers = {one for key in group.group.targets for one in self.shelf.groups_of.get(key, ())}
            if group.group.name not in self.shelf.groups and all(
                isinstance(keeper, KeptEncodedGroup) for keeper in keepers
            ):
                self.encoding.expect(group)
        for kept in list(self.shelf.expected):
            self.later(functools.partial(self.encoding.arrived, kept))

    def _can_be_lost(self, ts: TaskState) -> None:
        """Make scattered data a task, which the scheduler does not forget with its last replica."""
        self.shelf.scattered.add(ts.key)
        ts.run_spec = tasks.lost_task(ts.key)
        ts.type = ts.type or "unknown"
        ts.priority = ts.priority or (0, 0, 0)
        if "spans" in self.scheduler.extensions:
            self.scheduler.extensions["spans"].observe_tasks([ts], code=(), span_metadata={})

    def prepare(self) -> None:
        """Let all workers, now and later, run tasks anew from other dependencies."""
        self._asked = give_plugin(self.scheduler, UnlinkPlugin()) or self._asked

    def tend(self) -> None:
        """Look after the groups; called every `TEND` seconds while there are any."""
        now = time()
        self._regroup()
        self.watching(now)
        for request in list(self.shelf.requests()):
            self.encoding.gather(request)  # there may be more workers now
        for kept in list(self.shelf.expected):
            self.encoding.arrived(kept)
        held = self.hands.held.paused.keys() - self.hands.held.frozen
        self.spreading(self.shelf.groups.values(), held, now)

    def _regroup(self) -> None:
        """Protect what is left of groups of which some blocks are wanted no more."""
        for group in [group for group in self.shelf.groups.values() if group.gone]:
            if isinstance(group, KeptEncodedGroup):
                continue  # its parity is what it is: tasks of other graphs name it
            left = [key for key in group.blocks if key not in group.gone]
            if not any(key in self.rebuilding.lent for key in left):
                self.drop(group)
                if left:
                    self.protect(left, len(group.parity), len(group.blocks))

    # ------------------------------------------------------------ what happens

    def on_memory(self, key: Hashable) -> None:
        """A task's result is in memory."""
        ts = self.scheduler.tasks[key]
        if key in self.restricted:
            ts.worker_restrictions, ts.loose_restrictions = self.restricted.pop(key)
        if key in self.rebuilding.lent:
            self.counters.rebuilt += 1
            self.later(functools.partial(self.rebuilding.give_back, key))
        request = self.shelf.request_of.get(key)
        if request is not None:
            self._arrived(ts)
            self.later(functools.partial(self.encoding.gather, request))
        for group in self.shelf.groups_of.get(key, ()):
            group.gone.discard(key)
            if key in group.parity:
                self.later(functools.partial(self.encoding.parity_in, group, key))
            if isinstance(group, KeptEncodedGroup) and group in self.shelf.expected:
                self.shelf.expected[group].discard(key)
                self.later(functools.partial(self.encoding.arrived, group))

    def on_released(self, key: Hashable, start: str, failed: bool) -> None:
        """A task was released; called before the scheduler goes on with it."""
        ts = self.scheduler.tasks[key]
        needed = bool(ts.who_wants or ts.waiters)
        if start == "processing" and key in self.rebuilding.lent:
            self.rebuilding.interrupted(ts, failed)
        if start == "memory":
            request, groups = self.shelf.request_of.get(key), list(self.shelf.groups_of.get(key, ()))
            if request is not None:
                request.leave(key)
                if needed:
                    request.awaited.add(key)
                else:
                    self._no_longer_asked(key)
            if key in self.shelf.scattered and not (groups and needed):
                ts.has_lost_dependencies = True  # the scheduler gives it up, as it does without a run_spec
            for group in groups:
                self._piece_released(group, ts, needed)
            if any(key in group.blocks for group in groups) and needed and not self.rebuilding.begin(ts):
                self._compute_again(ts)

    def _piece_released(self, group: KeptGroup, ts: TaskState, needed: bool) -> None:
        key = ts.key
        if isinstance(group, KeptEncodedGroup) and group in self.shelf.expected and key in group.blocks:
            self.shelf.expected[group].add(key)
        if key in group.parity:
            self._parity_lost(group, ts)
        elif key in group.blocks and not needed:
            self._gone(group, key)
        for block in group.blocks if self.rebuilding.lent else ():
            if block in self.rebuilding.lent and block != key:
                self.later(functools.partial(self.rebuilding.plan_again, block))

    def _parity_lost(self, group: KeptGroup, ts: TaskState) -> None:
        self.encoding.parity_lost(group, ts)
        if not ts.dependencies and not isinstance(group, KeptEncodedGroup):
            self.later(functools.partial(self.drop, group))

    def _compute_again(self, ts: TaskState) -> None:
        """Too little is left: Dask computes the block again, not where the attempt to read it hangs."""
        self.rebuilding.give_up(ts)
        if ts.dependents and not ts.worker_restrictions and not ts.host_restrictions:
            self.restricted[ts.key] = (ts.worker_restrictions, ts.loose_restrictions)
            self.spreading.keep_apart(ts)

    def on_no_worker(self, key: Hashable) -> None:
        """No worker runs: let the task go to whichever comes first.

        The scheduler offers it only to workers that it is restricted to, however
        loosely, and those chosen for it may never come back.
        """
        lent = self.rebuilding.lent.get(key)
        ours = any(key not in group.blocks for group in self.shelf.groups_of.get(key, ()))
        if ours or key in self.restricted or (lent is not None and not lent.restrictions):
            self.scheduler.tasks[key].worker_restrictions = None

    def on_erred(self, key: Hashable) -> None:
        """A task failed for good."""
        self._no_longer_asked(key)
        for group in self.shelf.groups_of.get(key, ()):
            if key not in group.blocks:
                logger.warning(
                    "dask_coded cannot protect %s blocks: their encoding failed", len(group.blocks)
                )
                self.later(functools.partial(self.drop, group))

    def on_forgotten(self, key: Hashable) -> None:
        """The scheduler knows the task no more."""
        self._no_longer_asked(key)
        self.rebuilding.lent.pop(key, None)
        self.rebuilding.refused.discard(key)
        self.restricted.pop(key, None)
        self.shelf.scattered.discard(key)
        for group in self.shelf.groups_of.get(key, ()):
            if key in group.blocks:
                self._gone(group, key)

    def provides(self, ts: TaskState) -> bool:
        """Have a block computed whose bits must be those that it had; False if it is no block of ours."""
        found = any(ts.key in group.blocks for group in self.shelf.groups_of.get(ts.key, ()))
        if found:
            self.rebuilding.compute_instead(ts)
        return found

    def _gone(self, group: KeptGroup, key: Hashable) -> None:
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
        if isinstance(group, KeptEncodedGroup):
            self.shelf.expected.pop(group, None)
        for key in group.blocks:
            if key in self.rebuilding.lent:
                self.rebuilding.plan_again(key)
            if key in self.shelf.scattered and key in self.scheduler.tasks:
                self.shelf.scattered.discard(key)
                self.scheduler.tasks[key].run_spec = None
        keys = (*group.parity, *group.extras, group.encoded)
        ours = [key for key in keys if key not in self.shelf.groups_of]
        self.hands.unwant(ours)
        self.hands.sweep(ours)
        self.hands.sign_off()
        self.encoding.ended(group)

    def clear(self) -> None:
        """Protect nothing any more."""
        replicas.give_back(self.scheduler)
        self.shelf.request_of.clear()
        for ts in self.hands.states(self.restricted):
            ts.worker_restrictions, ts.loose_restrictions = self.restricted[ts.key]
        self.restricted.clear()
        for group in list(self.shelf.groups.values()):
            self.drop(group)
