"""Rebuilds lost blocks: their tasks read other pieces of their group until they are in memory again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_coded.runtime import byte_tasks as tasks
from dask_coded.runtime.scheduler_plugin.again import spared
from dask_coded.runtime.scheduler_plugin.edges import replace_dependencies
from dask_coded.runtime.scheduler_plugin.encoding import Encoding
from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.spreading import Spreading
from dask_coded.runtime.scheduler_plugin.versions import Versions
from dask_coded.runtime.shelf import SCALES, KeptEncodedGroup, KeptGroup, Shelf
from dask_coded.runtime.snapshot import Counters
from dask_coded.runtime.tasks import decode_task

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["Rebuilding"]

#: A rebuild that finds damaged pieces is caught by a retry: the block is computed again.
REBUILD_RETRIES = 1


@dataclass(frozen=True)
class Lent:
    """What a block's task was before it was told to rebuild."""

    spec: Any
    dependencies: frozenset[TaskState]
    restrictions: set[str] | None
    loose: bool
    retries: int
    #: What it reads from now, and the groups that it could not be rebuilt from.
    group: KeptGroup
    refused: frozenset[KeptGroup]


def rebuild_task(group: KeptGroup, key: Hashable, plan: dict[int, Hashable]) -> Any:
    """Return the task that yields a lost block from what the plan reads."""
    index = group.blocks.index(key)
    if not isinstance(group, KeptEncodedGroup):
        return tasks.rebuild_task(key, index, plan)
    scales = plan.get(SCALES)
    read = [piece for number, piece in plan.items() if number != SCALES]
    decoding = group.decoding(key, read)
    assert decoding is not None
    sources = tuple(group.group.pieces[piece] for piece in decoding.used)
    return decode_task(replace(group.group, scales=scales), index, decoding, sources)


class Rebuilding:
    """Knows how to rebuild blocks; the vault tells when."""

    def __init__(
        self,
        scheduler: Scheduler,
        hands: Hands,
        shelf: Shelf,
        spreading: Spreading,
        encoding: Encoding,
        counters: Counters,
        versions: Versions,
    ) -> None:
        self.scheduler = scheduler
        self.hands = hands
        self.shelf = shelf
        self.spreading = spreading
        self.encoding = encoding
        self.counters = counters
        self.versions = versions
        #: Blocks in memory that are released to be computed again, not rebuilt.
        self.refused: set[Hashable] = set()
        self.lent: dict[Hashable, Lent] = {}
        #: Tasks that are counted as spared by the rebuilds under way.
        self._counted: set[Hashable] = set()

    def begin(self, ts: TaskState) -> bool:
        """Let a released block's task rebuild it; False if too little is left of its group."""
        original = set(ts.dependencies)
        if ts.key in self.refused or not self._lend(ts):
            self.refused.discard(ts.key)
            return False
        if len(self.lent) == 1:
            self._counted.clear()
        if ts.key not in self.shelf.scattered:
            number, seconds = spared(ts, original, self._counted)
            self.counters.spared_tasks += number
            self.counters.spared_seconds += seconds
        return True

    def _lend(self, ts: TaskState, refused: frozenset[KeptGroup] = frozenset()) -> bool:
        found = self.plan(ts.key, refused)
        if found is None:
            return False
        group, plan = found
        self.lent[ts.key] = Lent(
            ts.run_spec,
            frozenset(ts.dependencies),
            ts.worker_restrictions,
            ts.loose_restrictions,
            ts.retries,
            group,
            refused,
        )
        # Nobody else may refer to them meanwhile, and they may be needed after all.
        self.hands.want(dts.key for dts in ts.dependencies)
        spec = rebuild_task(group, ts.key, plan)
        replace_dependencies(ts, spec, self.hands.states(plan.values()))
        ts.retries = max(ts.retries, REBUILD_RETRIES)
        if not ts.worker_restrictions and not ts.host_restrictions:
            self.spreading.keep_apart(ts)
        self.counters.bytes_moved += sum(source.get_nbytes() for source in ts.dependencies)
        if isinstance(group, KeptEncodedGroup) and np.dtype(group.group.dtype).kind in "fc":
            self.versions.changes(ts)
        return True

    def interrupted(self, ts: TaskState, failed: bool) -> None:
        """A rebuild raised, or its worker was lost: try another group, or once more, or compute the block."""
        lent = self.lent[ts.key]
        replace_dependencies(ts, lent.spec, self._alive(lent.dependencies))
        self._end_loan(ts)
        if not self._lend(ts, lent.refused | {lent.group} if failed else lent.refused):
            self.give_up(ts)

    def give_up(self, ts: TaskState) -> None:
        """Let Dask compute a released block again, or forget it if it cannot."""
        if ts.key in self.shelf.scattered:
            ts.has_lost_dependencies = True
        else:
            self.counters.recomputed += 1
            self.versions.changes(ts, 0)

    def compute_instead(self, ts: TaskState) -> None:
        """Compute a block that was rebuilt, or is being: its bits must be those that it had."""
        if ts.key in self.lent:
            self._compute_after_all(ts)
        elif ts.state == "memory":
            self.refused.add(ts.key)
            self.hands.transitions({ts.key: "released"})

    def _compute_after_all(self, ts: TaskState) -> None:
        self.counters.recomputed += 1
        self.hands.respecify(ts, self.lent[ts.key].spec)
        self._end_loan(ts)
        self.versions.changes(ts, 0)

    def plan(
        self, key: Hashable, refused: frozenset[KeptGroup] = frozenset()
    ) -> tuple[KeptGroup, dict[int, Hashable]] | None:
        """Return the group and the fewest pieces to rebuild a block from, None if too little is left."""
        found: list[tuple[KeptGroup, dict[int, Hashable]]] = []
        for group in self.shelf.groups_of.get(key, ()):
            if group in refused:
                continue
            needed = (*group.pieces, *group.extras)
            plan = group.plan(key, {piece for piece in needed if self.hands.is_readable(piece)})
            if plan is not None:
                found.append((group, plan))
        return min(found, key=lambda pair: len(pair[1]), default=None)

    def plan_again(self, key: Hashable) -> None:
        """A piece that a rebuild may read is gone: read others, or compute the block again."""
        ts, lent = self.scheduler.tasks.get(key), self.lent.get(key)
        if ts is None or lent is None or ts.state == "memory":
            return
        kept = key in self.shelf.groups_of
        if kept and all(self.hands.is_readable(dts.key) for dts in ts.dependencies):
            return
        found = self.plan(key, lent.refused)
        if found is not None:
            group, plan = found
            self.lent[key] = replace(lent, group=group)
            self.hands.respecify(ts, rebuild_task(group, key, plan))
            return
        self._compute_after_all(ts)

    def give_back(self, key: Hashable) -> None:
        """A block is rebuilt: its task is again what it was."""
        ts, lent = self.scheduler.tasks.get(key), self.lent.get(key)
        if ts is None or lent is None or ts.state != "memory":
            return
        read = [dts.key for dts in ts.dependencies]
        replace_dependencies(ts, lent.spec, self._alive(lent.dependencies))
        self._end_loan(ts)
        # Their group may have been given up since.
        self.hands.sweep(key for key in read if key not in self.shelf.groups_of)
        self.encoding.drop_copies(self.shelf.neighbours(key), {ws.address for ws in ts.who_has or ()})

    def _alive(self, states: Iterable[TaskState]) -> list[TaskState]:
        return [dts for dts in states if self.scheduler.tasks.get(dts.key) is dts]

    def _end_loan(self, ts: TaskState) -> None:
        lent = self.lent.pop(ts.key)
        ts.worker_restrictions, ts.loose_restrictions = lent.restrictions, lent.loose
        ts.retries = lent.retries
        self.hands.unwant([dts.key for dts in lent.dependencies if dts.key not in self.shelf.groups_of])
        self.hands.sign_off()
