"""Makes groups of blocks that are in memory and gives them parity, a few groups at a time.

Parity pieces are tasks of the scheduler's own that the plugin's client wants. Once
in memory they have no edges: a block may be rebuilt from parity that was made of it.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TYPE_CHECKING, Any

from dask_coded.runtime import byte_tasks as tasks
from dask_coded.runtime.encoded_group import EncodedGroup
from dask_coded.runtime.scheduler_plugin.edges import replace_dependencies
from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.replicas import remove_replica
from dask_coded.runtime.scheduler_plugin.spreading import Spreading
from dask_coded.runtime.shelf import (
    KeptEncodedGroup,
    KeptGroup,
    Request,
    Shelf,
    group_size,
    next_group,
)
from dask_coded.runtime.snapshot import Counters

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["Encoding"]

logger = logging.getLogger("distributed.scheduler.coded")


class Encoding:
    """Knows how to make parity; the vault tells what happens to it."""

    def __init__(
        self,
        scheduler: Scheduler,
        hands: Hands,
        shelf: Shelf,
        spreading: Spreading,
        counters: Counters,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self.scheduler = scheduler
        self.hands = hands
        self.shelf = shelf
        self.spreading = spreading
        self.counters = counters
        self.later = later
        #: Parity of groups that is on its way for the first time.
        self.awaited: dict[str, set[Hashable]] = {}
        self._warned: set[str] = set()

    def gather(self, request: Request) -> None:
        """Make groups of the blocks that are in memory.

        An encoding worker holds all blocks of a group for a moment, so at one time only
        as many groups are encoded as have workers of their own.
        """
        workers = len(self.scheduler.running)
        size = group_size(workers, request.parity, request.group)
        last = not request.awaited
        if size < 1:
            if last:
                self._warn(request)
            return
        machines = self.spreading.machines()
        while len(self.awaited) < self._at_once(size + request.parity):
            blocks = next_group(request.held, machines, size, last)
            if not blocks:
                return
            for key in blocks:
                request.leave(key)
                del self.shelf.request_of[key]
            self._encode(request, tuple(blocks))

    def _at_once(self, pieces: int) -> int:
        """Return how many groups may be encoded at one time: each has workers of its own."""
        return max(1, len(self.scheduler.running) // pieces)

    def _warn(self, request: Request) -> None:
        if request.arrived and request.name not in self._warned:
            self._warned.add(request.name)
            logger.warning(
                "dask_coded cannot protect %d blocks until more workers come: %d parity pieces need as many "
                "workers and one more",
                len(request.arrived),
                request.parity,
            )

    def _encode(self, request: Request, blocks: tuple[Hashable, ...]) -> None:
        states = self.hands.states(blocks)
        number = request.groups
        request.groups += 1
        hosts = self.spreading.places(blocks, request.parity)
        encoded = (f"encode-{request.name}", number)
        parity = tuple((f"parity-{request.name}", number, j) for j in range(request.parity))
        group = KeptGroup(f"{request.name}-{number}", blocks, parity, encoded, hosts[0])
        self.shelf.put(group)
        self.awaited[group.name] = set(parity)
        self._new_task(tasks.encode_task(encoded, blocks, len(parity)), states, hosts[0], states[0])
        made = [self.scheduler.tasks[encoded]]
        for j, key in enumerate(parity):
            self._new_task(tasks.parity_task(key, encoded, j), made, hosts[j % len(hosts)], states[0])
        self.counters.groups += 1
        self.counters.parity_tasks += len(parity)
        self.hands.want(parity)
        self.hands.transitions(dict.fromkeys(parity, "waiting"))

    def expect(self, found: EncodedGroup) -> None:
        """Make the parity of an encoded array's blocks as soon as all of them are in memory."""
        group = found.group
        parity = tuple(group.pieces[t] for t in group.code.parity)
        scales = _copies(group.scales, len(parity))
        kept = KeptEncodedGroup(
            group.name,
            group.targets,
            parity,
            scales[0] if scales else parity[0],
            "",
            group=group,
            tasks=found.tasks,
            scales=scales,
        )
        self.shelf.put(kept)
        self.shelf.expected[kept] = {
            key for key in group.targets if (ts := self.scheduler.tasks.get(key)) is None or not ts.who_has
        }
        self.counters.groups += 1

    def arrived(self, group: KeptEncodedGroup) -> None:
        """Begin to encode if all blocks are in memory, and few groups are encoded now."""
        if self.shelf.expected.get(group, group) or self.shelf.groups.get(group.name) is not group:
            return
        if len(self.awaited) >= self._at_once(len(group.pieces)):
            return
        del self.shelf.expected[group]
        blocks = self.hands.states(group.blocks)
        hosts = self.spreading.places(group.blocks, len(group.parity))
        specs = dict(group.tasks)
        specs |= {key: tasks.copy_task(key, group.scales[0]) for key in group.scales[1:]}
        new = [spec for key, spec in specs.items() if key not in self.scheduler.tasks]
        for spec in new:
            self._new_task(spec, (), "", blocks[0])
        for spec in new:
            for dts in self.hands.states(spec.dependencies):
                self.scheduler.tasks[spec.key].add_dependency(dts)
        first = min(ws.address for ws in blocks[0].who_has or ())
        places = dict(zip(group.parity, itertools.cycle(hosts), strict=False))
        places |= dict(zip(group.scales, itertools.chain([first], itertools.cycle(hosts)), strict=False))
        for ts in self.hands.states(places):
            self._restrict(ts, places[ts.key])
        missing = {ts.key for ts in self.hands.states(group.parity) if ts.state != "memory"}
        self.awaited.update({group.name: missing} if missing else {})
        wanted = (*group.parity, *group.scales)
        self.counters.parity_tasks += len(group.parity)
        self.hands.want(wanted)
        released = [ts.key for ts in self.hands.states(wanted) if ts.state == "released"]
        self.hands.transitions(dict.fromkeys(released, "waiting"))

    def _restrict(self, ts: TaskState, host: str) -> None:
        if ts.state == "released" and host:
            ts.worker_restrictions, ts.loose_restrictions = {host}, True

    def _new_task(self, spec: Any, dependencies: Iterable[TaskState], host: str, like: TaskState) -> None:
        ts = self.scheduler.new_task(spec.key, spec, "released")
        ts.priority = like.priority
        ts.group.span_id = like.group.span_id  # workers report what it costs under this name
        self._restrict(ts, host)
        for dts in dependencies:
            ts.add_dependency(dts)

    def parity_in(self, group: KeptGroup, key: Hashable) -> None:
        """Cut a finished piece loose; drop the copies of blocks that encoding has left behind."""
        ts = self.scheduler.tasks.get(key)
        if ts is None or ts.state != "memory" or group not in self.shelf.groups_of.get(key, ()):
            return
        if not isinstance(group, KeptEncodedGroup):
            replace_dependencies(ts, tasks.finished_task(key), ())
            self.hands.sweep([group.encoded])
        self.drop_copies(group.blocks, {group.host, *(ws.address for ws in ts.who_has or ())})
        awaited = self.awaited.get(group.name, set())
        awaited.discard(key)
        if not awaited:
            self.ended(group)

    def ended(self, group: KeptGroup) -> None:
        """A group has all its parity, or needs none any more: go on with the next."""
        if self.awaited.pop(group.name, None) is not None:
            for request in self.shelf.requests():
                self.later(functools.partial(self.gather, request))
            for kept in list(self.shelf.expected):
                self.later(functools.partial(self.arrived, kept))

    def parity_lost(self, group: KeptGroup, ts: TaskState) -> None:
        """Let a released parity piece be made again."""
        if isinstance(group, KeptEncodedGroup):
            self.spreading.keep_apart(ts)  # its task reads the blocks as ever
            return
        blocks = self.hands.states(group.blocks)
        if group.gone or len(blocks) < len(group.blocks):
            replace_dependencies(ts, tasks.finished_task(ts.key), ())
            return
        index = group.parity.index(ts.key)
        spec = tasks.parity_again_task(ts.key, group.blocks, len(group.parity), index)
        replace_dependencies(ts, spec, blocks)
        self.spreading.keep_apart(ts)

    def drop_copies(self, keys: Iterable[Hashable], workers: Collection[str]) -> None:
        """Drop replicas of pieces from workers that needed them for a moment."""
        for ts in self.hands.states(keys):
            for ws in list(ts.who_has or ()):
                if ws.address in workers:
                    remove_replica(self.scheduler, ts, ws.address)


def _copies(scales: Any, number: int) -> tuple[Hashable, ...]:
    """Return the key of row scales and keys for some copies of them."""
    return () if scales is None else (scales, *((f"{scales[0]}-copy", i) for i in range(number)))
