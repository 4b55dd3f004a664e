"""Keeps the pieces of a group on different workers while the cluster changes.

A rebuild may have had no worker of its own to go to, retirement and rebalancing look
at sizes only. A piece is copied first and dropped from its old worker afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from dask_coded.runtime.shelf import KeptGroup

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState, WorkerState

__all__ = ["Spreading", "remove_replica"]

#: Pieces that are on their way at one time: repair must not crowd out the user's own transfers.
MOVES = 8
#: Seconds after which a move is taken for failed.
PATIENCE = 10.0


def remove_replica(scheduler: Scheduler, ts: TaskState, worker: str) -> bool:
    """Drop one of several replicas, unless something that runs on its worker may read it."""
    holders = {ws.address: ws for ws in ts.who_has or ()}
    if len(holders) < 2 or worker not in holders:
        return False
    if any(waiter.processing_on is holders[worker] for waiter in ts.waiters or ()):
        return False
    scheduler.request_remove_replicas(worker, [ts.key], stimulus_id=f"dask-coded-remove-{time()}")
    return True


@dataclass(frozen=True)
class Move:
    """A piece on its way from one worker to another."""

    source: str
    target: str
    since: float


class Spreading:
    """Moves pieces that share a worker with another piece of their group."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.moves: dict[Hashable, Move] = {}

    def __call__(self, groups: Iterable[KeptGroup], now: float) -> None:
        """End moves that are done, begin those that are needed."""
        self._end(now)
        incoming = Counter(move.target for move in self.moves.values())
        for group in groups:
            if len(self.moves) >= MOVES:
                return
            self._begin(group, incoming, now)

    def _end(self, now: float) -> None:
        for key, move in list(self.moves.items()):
            ts = self.scheduler.tasks.get(key)
            holders = {ws.address for ws in ts.who_has or ()} if ts is not None else set()
            if {move.source, move.target} <= holders:
                if not remove_replica(self.scheduler, ts, move.source):
                    continue
            elif now - move.since < PATIENCE and move.source in holders:
                continue
            del self.moves[key]

    def _begin(self, group: KeptGroup, incoming: Counter[str], now: float) -> None:
        tasks = self.scheduler.tasks
        pieces = [tasks[key] for key in group.pieces if key in tasks]
        held: set[WorkerState] = set()
        for ts in pieces:
            if ts.key in self.moves or ts.state != "memory" or not ts.who_has or len(ts.who_has) > 1:
                continue
            (ws,) = ts.who_has
            if ws not in held:
                held.add(ws)
                continue
            taken = {holder for piece in pieces for holder in piece.who_has or ()}
            coming = {self.moves[piece.key].target for piece in pieces if piece.key in self.moves}
            free = [other for other in self.scheduler.running - taken if other.address not in coming]
            if not free:
                return
            target = min(free, key=lambda other: (incoming[other.address], other.nbytes, other.address))
            incoming[target.address] += 1
            self.moves[ts.key] = Move(ws.address, target.address, now)
            stimulus = f"dask-coded-spread-{now}"
            self.scheduler.request_acquire_replicas(target.address, [ts.key], stimulus_id=stimulus)
