"""Where redundant tasks should run: beside the work that they back up, not behind it.

Left to itself the scheduler sends a task to a worker that holds its input. For
the tasks that encode a block of a late worker that is the late worker, and for
eager parity it is a worker that is busy with a piece of its own. So they get
loose restrictions to workers with a free thread.

Where work is shared out by speed, each task has one worker, and omitted ones have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING

from dask_coded.runtime.group import Group
from dask_coded.runtime.scheduler_plugin.again import usual_seconds

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState, WorkerState

__all__ = ["Placement"]

#: The only worker that may run what is omitted: there is no such worker.
NOWHERE = frozenset({"dask-coded://nowhere"})


class Placement:
    """Chooses workers for parity lanes and remembers how many each was given."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.where: dict[Hashable, str] = {}
        #: Tasks that the scheduler must not move to a worker that seems to have less to do.
        self.staying: set[Hashable] = set()

    def place(self, group: Group, pieces: Collection[Hashable]) -> None:
        """Restrict what the parity `pieces` need, loosely, to workers that are free for it."""
        avoided = self._busy_with_own(group) if group.launch != "eager" else set()
        healthy = [ws for ws in self.scheduler.running if ws.address not in avoided]
        given = Counter(self.where.values())
        free = {ws: ws.nthreads - len(ws.processing) - given[ws.address] for ws in healthy}
        allowed = [ws for ws in healthy if free[ws] > 0] or (healthy if avoided else [])
        if not allowed:
            return
        for lane, piece in zip(group.lanes, group.pieces, strict=True):
            if piece not in pieces:
                continue
            tasks = self._states(lane)
            encodes = [dts for ts in tasks for dts in ts.dependencies if dts.key in group.inputs]
            best = max(allowed, key=lambda ws: (free[ws], _held(ws, encodes), ws.address))
            if free[best] > 0:
                free[best] -= 1
                self.where[piece] = best.address
                _restrict((*tasks, *encodes), {best.address})
        _restrict(self._states(group.inputs), {ws.address for ws in allowed})

    def homes(self, group: Group) -> dict[int, tuple[str, ...]]:
        """Return which workers hold the block that each piece is computed from, where one is in memory."""
        blocks = {}
        for piece, lane in enumerate(group.lanes):
            read = {dts for ts in self._states(lane) for dts in ts.dependencies if dts.key not in lane}
            if all(dts.who_has for dts in read if dts.key in group.inputs):
                here = [dts for dts in read if dts.who_has]
                blocks[piece] = max(here, key=lambda dts: (dts.get_nbytes(), str(dts.key)), default=None)
        # What several pieces read is the other operand.
        alone = Counter(blocks.values())
        holders = {
            piece: sorted(ws.address for ws in self.scheduler.running.intersection(dts.who_has or ()))
            for piece, dts in blocks.items()
            if dts is not None and alone[dts] == 1
        }
        return {piece: tuple(found) for piece, found in holders.items() if found}

    def seconds(self, group: Group) -> float:
        """Return what a piece takes, by the scheduler's measure of tasks of its kind."""
        lane = self._states(group.lanes[group.code.systematic[0]])
        return float(sum(usual_seconds(ts) for ts in lane))

    def forget(self, pieces: Iterable[Hashable]) -> None:
        """These pieces are no longer under way."""
        for piece in pieces:
            self.where.pop(piece, None)

    def omit(self, keys: Iterable[Hashable]) -> None:
        """Let no worker run these tasks; for the scheduler they wait for one that may."""
        for ts in self._states(keys):
            if ts.state in ("released", "waiting") and not _is_restricted(ts):
                ts.worker_restrictions = set(NOWHERE)

    def stay(self, homes: Mapping[Hashable, str]) -> None:
        """Prefer one worker for each task, and let no other steal it."""
        for key, worker in homes.items():
            for ts in self._states([key]):
                if not _is_restricted(ts):
                    ts.worker_restrictions, ts.loose_restrictions = {worker}, True
                    self.staying.add(key)

    def leave(self, keys: Iterable[Hashable]) -> None:
        """Let tasks run anywhere again."""
        for ts in self._states(self.staying.intersection(keys)):
            ts.worker_restrictions, ts.loose_restrictions = None, False
        self.staying.difference_update(keys)

    def on_assigned(self, key: Hashable) -> None:
        """Take a task that was just sent to a worker off the list of those that others may steal."""
        stealing = self.scheduler.extensions.get("stealing")
        if key in self.staying and stealing is not None:
            stealing.remove_key_from_stealable(self.scheduler.tasks[key])

    def admit(self, keys: Iterable[Hashable]) -> list[Hashable]:
        """Let tasks run that were omitted; return those that wait for a worker since then."""
        omitted = [ts for ts in self._states(keys) if ts.worker_restrictions == NOWHERE]
        for ts in omitted:
            ts.worker_restrictions = None
        return [ts.key for ts in omitted if ts.state == "no-worker"]

    def _states(self, keys: Iterable[Hashable]) -> list[TaskState]:
        tasks = self.scheduler.tasks
        return [tasks[key] for key in keys if key in tasks]

    def _busy_with_own(self, group: Group) -> set[str]:
        own = [key for piece in group.code.systematic for key in group.lanes[piece]]
        return {ts.processing_on.address for ts in self._states(own) if ts.processing_on}


def _is_restricted(ts: TaskState) -> bool:
    """Tell whether it was chosen where a task may run."""
    return bool(ts.worker_restrictions or ts.host_restrictions or ts.resource_restrictions)


def _restrict(tasks: Iterable[TaskState], addresses: set[str]) -> None:
    """Prefer these workers for tasks that have not begun; what the user asked for stands."""
    for ts in tasks:
        if ts.state in ("released", "waiting") and not ts.worker_restrictions and not ts.host_restrictions:
            ts.worker_restrictions = set(addresses)
            ts.loose_restrictions = True


def _held(ws: WorkerState, encodes: Iterable[TaskState]) -> int:
    """Return how many bytes of what the encode tasks read the worker holds."""
    blocks = {dts for ts in encodes for dts in ts.dependencies}
    return sum(dts.get_nbytes() for dts in blocks if ws in (dts.who_has or ()))
