"""Keeps blocks in memory safe: gives them parity, and rebuilds those that are lost.

    asked for ----> in memory ----> in a group ----> worker lost ----> rebuilt
    (protect)       (gather)        (encode,         (the block's task reads its group
                                     parity)          until it is done, then its own again)

Parity pieces are tasks of the scheduler's own that the plugin's client wants. Once
in memory they have no edges: a block may be rebuilt from parity that was made of it.

Longer than other files, so that all that changes a block's task stands together.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed.protocol import pickle

from dask_coded.runtime import byte_tasks as tasks
from dask_coded.runtime.scheduler_plugin.edges import replace_dependencies
from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.spreading import Spreading, remove_replica
from dask_coded.runtime.shelf import KeptGroup, Request, group_size, next_group
from dask_coded.runtime.snapshot import Counters
from dask_coded.runtime.worker_plugin import UnlinkPlugin

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState, WorkerState

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
        self.request_of: dict[Hashable, Request] = {}
        self.group_of: dict[Hashable, KeptGroup] = {}
        self.lent: dict[Hashable, Lent] = {}
        #: Restrictions of blocks that are computed again, as they were.
        self.restricted: dict[Hashable, tuple[set[str] | None, bool]] = {}
        self.spreading = Spreading(scheduler)

    @property
    def empty(self) -> bool:
        return not (self.request_of or self.group_of or self.lent)

    def protect(self, keys: Iterable[Hashable], parity: int, group: int | None) -> None:
        """Give these blocks parity, each as soon as it is in memory."""
        new = [key for key in keys if key not in self.request_of and key not in self.group_of]
        request = Request(f"persist-{uuid4().hex}", parity, group, set(new))
        self.request_of.update(dict.fromkeys(new, request))
        for ts in self.hands.states(new):
            if ts.state == "memory":
                self._arrived(ts)
            elif ts.state == "erred":
                self._no_longer_asked(ts.key)
        self.gather(request)

    @property
    def groups(self) -> list[KeptGroup]:
        return list({group.name: group for group in self.group_of.values()}.values())

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
        self.spreading(self.groups, time())

    # ------------------------------------------------------------ what happens

    def on_memory(self, key: Hashable) -> None:
        """A task's result is in memory."""
        ts = self.scheduler.tasks[key]
        if key in self.restricted:
            ts.worker_restrictions, ts.loose_restrictions = self.restricted.pop(key)
        if key in self.lent:
            self.counters.rebuilt += 1
            self.later(functools.partial(self._give_back, key))
        if key in self.request_of:
            self._arrived(ts)
            self.later(functools.partial(self.gather, self.request_of[key]))
        group = self.group_of.get(key)
        if group is not None:
            group.gone.discard(key)
            if key in group.parity:
                self.later(functools.partial(self._parity_in, group, key))

    def on_released(self, key: Hashable, start: str, failed: bool) -> None:
        """A task was released; called before the scheduler goes on with it."""
        ts = self.scheduler.tasks[key]
        needed = bool(ts.who_wants or ts.waiters)
        if start == "processing" and key in self.lent:
            self._interrupted(ts, failed)
        if start != "memory":
            return
        request, group = self.request_of.get(key), self.group_of.get(key)
        if request is not None:
            request.arrived.pop(key, None)
            request.awaited.add(key)
        if group is None:
            return
        if key in group.parity:
            self._parity_lost(group, ts)
        elif key in group.blocks and needed and not self._rebuild(group, ts):
            self._compute_again(group, ts)
        elif key in group.blocks and not needed:
            self._gone(group, key)
        for block in group.blocks:
            if block in self.lent and block != key:
                self.later(functools.partial(self._plan_again, block))

    def _compute_again(self, group: KeptGroup, ts: TaskState) -> None:
        """Too little is left: Dask computes the block again, not where the attempt to read it hangs."""
        self.counters.recomputed += 1
        if ts.dependents and not ts.worker_restrictions and not ts.host_restrictions:
            self.restricted[ts.key] = (ts.worker_restrictions, ts.loose_restrictions)
            self._keep_apart(group, ts)

    def _interrupted(self, ts: TaskState, failed: bool) -> None:
        """A rebuild raised, or its worker was lost: compute the block again, or try once more."""
        lent = self.lent[ts.key]
        replace_dependencies(ts, lent.spec, self._alive(lent.dependencies))
        self._end_loan(ts)
        if failed or not self._rebuild(self.group_of.get(ts.key), ts):
            self.counters.recomputed += 1

    def on_erred(self, key: Hashable) -> None:
        """A task failed for good."""
        self._no_longer_asked(key)
        group = self.group_of.get(key)
        if group is not None and key not in group.blocks:
            logger.warning("dask_coded cannot protect %s blocks: their encoding failed", len(group.blocks))
            self.later(functools.partial(self.drop, group))

    def on_forgotten(self, key: Hashable) -> None:
        """The scheduler knows the task no more."""
        self._no_longer_asked(key)
        self.lent.pop(key, None)
        self.restricted.pop(key, None)
        group = self.group_of.get(key)
        if group is not None and key in group.blocks:
            self._gone(group, key)

    def on_client_left(self) -> None:
        """Forget what was asked for but never submitted."""
        for key in [key for key in self.request_of if key not in self.scheduler.tasks]:
            self._no_longer_asked(key)

    # ---------------------------------------------------------------- grouping

    def _arrived(self, ts: TaskState) -> None:
        request = self.request_of[ts.key]
        request.awaited.discard(ts.key)
        if ts.who_has:
            request.arrived[ts.key] = min(ws.address for ws in ts.who_has)

    def _no_longer_asked(self, key: Hashable) -> None:
        request = self.request_of.pop(key, None)
        if request is not None:
            request.awaited.discard(key)
            request.arrived.pop(key, None)
            if not request.awaited:
                self.later(functools.partial(self.gather, request))

    def gather(self, request: Request) -> None:
        """Make groups of the blocks that are in memory."""
        size = group_size(len(self.scheduler.running), request.parity, request.group)
        last = not request.awaited
        if size < 1 and last and request.arrived:
            logger.warning(
                "dask_coded cannot protect %d blocks: %d parity pieces need as many workers and one more",
                len(request.arrived),
                request.parity,
            )
            for key in list(request.arrived):
                self.request_of.pop(key, None)
            request.arrived.clear()
        while blocks := next_group(request.arrived, size, last):
            self._encode(request, tuple(blocks))
            for key in blocks:
                del request.arrived[key], self.request_of[key]

    def _encode(self, request: Request, blocks: tuple[Hashable, ...]) -> None:
        states = self.hands.states(blocks)
        number = request.groups
        request.groups += 1
        hosts = self._hosts(states, request.parity)
        encoded = (f"encode-{request.name}", number)
        parity = tuple((f"parity-{request.name}", number, j) for j in range(request.parity))
        group = KeptGroup(f"{request.name}-{number}", blocks, parity, encoded, hosts[0])
        self.group_of.update(dict.fromkeys((*group.pieces, encoded), group))
        self._new_task(tasks.encode_task(encoded, blocks, len(parity)), states, hosts[0], states[0])
        made = [self.scheduler.tasks[encoded]]
        for j, key in enumerate(parity):
            self._new_task(tasks.parity_task(key, encoded, j), made, hosts[j % len(hosts)], states[0])
        self.counters.groups += 1
        self.counters.parity_tasks += len(parity)
        self.hands.want(parity)
        self.hands.transitions(dict.fromkeys(parity, "waiting"))

    def _hosts(self, blocks: Iterable[TaskState], parity: int) -> list[str]:
        """Return workers for the parity pieces: other ones than the blocks', those with the least to hold."""
        given = Counter(
            ws.address
            for key, group in self.group_of.items()
            if key in group.parity
            for ws in self._holders([key])
        )
        taken = self._holders(ts.key for ts in blocks)
        free = sorted(
            self.scheduler.running - taken, key=lambda ws: (given[ws.address], ws.nbytes, ws.address)
        )
        chosen = [ws.address for ws in free[:parity]]
        return chosen or sorted(ws.address for ws in self.scheduler.running)

    def _holders(self, keys: Iterable[Hashable]) -> set[WorkerState]:
        return {ws for ts in self.hands.states(keys) for ws in ts.who_has or ()}

    def _new_task(self, spec: Any, dependencies: Iterable[TaskState], host: str, like: TaskState) -> None:
        ts = self.scheduler.new_task(spec.key, spec, "released")
        ts.priority = like.priority
        ts.group.span_id = like.group.span_id  # workers report what it costs under this name
        ts.worker_restrictions, ts.loose_restrictions = {host}, True
        for dts in dependencies:
            ts.add_dependency(dts)

    # ------------------------------------------------------------------ parity

    def _parity_in(self, group: KeptGroup, key: Hashable) -> None:
        """Cut a finished piece loose; drop the copies of blocks that encoding has left behind."""
        ts = self.scheduler.tasks.get(key)
        if ts is None or ts.state != "memory" or key not in self.group_of:
            return
        if group.gone:
            self._gone(group, next(iter(group.gone)))
        replace_dependencies(ts, tasks.finished_task(key), ())
        self.hands.sweep([group.encoded])
        self._drop_copies(group.blocks, {group.host, *(ws.address for ws in ts.who_has or ())})

    def _drop_copies(self, keys: Iterable[Hashable], workers: Collection[str]) -> None:
        for ts in self.hands.states(keys):
            for ws in list(ts.who_has or ()):
                if ws.address in workers:
                    remove_replica(self.scheduler, ts, ws.address)

    def _parity_lost(self, group: KeptGroup, ts: TaskState) -> None:
        blocks = self.hands.states(group.blocks)
        if group.gone or len(blocks) < len(group.blocks):
            replace_dependencies(ts, tasks.finished_task(ts.key), ())
            self.later(functools.partial(self.drop, group))
            return
        index = group.parity.index(ts.key)
        spec = tasks.parity_again_task(ts.key, group.blocks, len(group.parity), index)
        replace_dependencies(ts, spec, blocks)
        self._keep_apart(group, ts)

    def _keep_apart(self, group: KeptGroup, ts: TaskState) -> None:
        """Prefer workers that hold no other piece of the group, and do not fetch this one.

        A worker that fetches a block from where it was lost cannot compute it before
        that attempt has failed, which takes as long as connecting may take.
        """
        fetching = {dts.processing_on for dts in ts.dependents if dts.processing_on is not None}
        able = self.scheduler.running - fetching
        others = able - self._holders(group.pieces) or able
        if others:
            ts.worker_restrictions, ts.loose_restrictions = {ws.address for ws in others}, True

    def _gone(self, group: KeptGroup, key: Hashable) -> None:
        group.gone.add(key)
        if len(group.gone) == len(group.blocks):
            self.later(functools.partial(self.drop, group))

    def drop(self, group: KeptGroup) -> None:
        """Protect these blocks no longer."""
        for key in (*group.pieces, group.encoded):
            self.group_of.pop(key, None)
        for key in group.blocks:
            if key in self.lent:
                self._plan_again(key)
        self.hands.unwant((*group.parity, group.encoded))
        self.hands.sweep((*group.parity, group.encoded))
        self.hands.sign_off()

    def clear(self) -> None:
        """Protect nothing any more."""
        self.request_of.clear()
        for group in self.groups:
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
            self._keep_apart(group, ts)
        self.counters.bytes_moved += sum(source.get_nbytes() for source in ts.dependencies)
        return True

    def _plan(self, group: KeptGroup | None, key: Hashable) -> dict[int, Hashable] | None:
        if group is None:
            return None
        return group.plan(key, {piece for piece in group.pieces if self.hands.is_readable(piece)})

    def _plan_again(self, key: Hashable) -> None:
        """A piece that a rebuild may read is gone: read others, or compute the block again."""
        ts, lent, group = self.scheduler.tasks.get(key), self.lent.get(key), self.group_of.get(key)
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
        ts, lent, group = self.scheduler.tasks.get(key), self.lent.get(key), self.group_of.get(key)
        if ts is None or lent is None or ts.state != "memory":
            return
        replace_dependencies(ts, lent.spec, self._alive(lent.dependencies))
        self._end_loan(ts)
        if group is not None:
            self._drop_copies(
                [piece for piece in group.pieces if piece != key], {ws.address for ws in ts.who_has or ()}
            )

    def _alive(self, states: Iterable[TaskState]) -> list[TaskState]:
        return [dts for dts in states if self.scheduler.tasks.get(dts.key) is dts]

    def _end_loan(self, ts: TaskState) -> None:
        lent = self.lent.pop(ts.key)
        ts.worker_restrictions, ts.loose_restrictions = lent.restrictions, lent.loose
        ts.retries = lent.retries
        self.hands.unwant([dts.key for dts in lent.dependencies if dts.key not in self.group_of])
        self.hands.sign_off()
