"""Replicas of pieces: which may go, also by Dask's memory manager.

A task that reads many blocks leaves copies of all of them on its worker. The memory
manager drops superfluous replicas by the memory that workers have left, so whole groups
could come together there, for one loss to take.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from time import time
from typing import TYPE_CHECKING

from distributed.active_memory_manager import ReduceReplicas, Suggestion

from dask_coded.runtime.shelf import Shelf

if TYPE_CHECKING:
    from distributed.active_memory_manager import SuggestionGenerator
    from distributed.scheduler import Scheduler, TaskState, WorkerState

__all__ = ["ReduceReplicasApart", "give_back", "holders", "remove_replica", "take_over"]


def remove_replica(scheduler: Scheduler, ts: TaskState, worker: str) -> bool:
    """Drop one of several replicas, unless something that runs on its worker may read it."""
    held = {ws.address: ws for ws in ts.who_has or ()}
    if len(held) < 2 or worker not in held:
        return False
    if any(waiter.processing_on is held[worker] for waiter in ts.waiters or ()):
        return False
    scheduler.request_remove_replicas(worker, [ts.key], stimulus_id=f"dask-coded-remove-{time()}")
    return True


def holders(scheduler: Scheduler, keys: Iterable[Hashable]) -> list[WorkerState]:
    """Return the workers that hold these pieces, one as often as it holds one."""
    tasks = scheduler.tasks
    return [ws for key in keys if key in tasks for ws in tasks[key].who_has or ()]


class ReduceReplicasApart(ReduceReplicas):  # type: ignore[misc]
    """As `distributed.active_memory_manager.ReduceReplicas`, mindful of groups."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def run(self) -> SuggestionGenerator:
        """Pass the suggestions of Dask's own policy on, with the replicas that may go."""
        suggestions, dropped = super().run(), None
        while True:
            try:
                op, ts, candidates = suggestions.send(dropped)
            except StopIteration:
                return
            dropped = yield Suggestion(op, ts, self.may_go(ts, candidates))

    def may_go(self, ts: TaskState, candidates: set[WorkerState] | None) -> set[WorkerState] | None:
        """Return which replicas may be dropped: not the one on a worker without other pieces of the group.

        None of those that are read in the place of one on a worker that gets no work.
        """
        if ts.key not in self.shelf.groups_of or not ts.who_has:
            return candidates
        if not ts.who_has <= self.manager.scheduler.running:
            return set()
        others = holders(self.manager.scheduler, self.shelf.neighbours(ts.key))
        apart = min((ws for ws in ts.who_has if ws not in others), key=_by_address, default=None)
        return candidates if apart is None else (candidates or ts.who_has) - {apart}


def _by_address(ws: WorkerState) -> str:
    return str(ws.address)


def take_over(scheduler: Scheduler, shelf: Shelf) -> None:
    """Put the policy in the place of Dask's, if that is in use."""
    _exchange(scheduler, (ReduceReplicas, ReduceReplicasApart), lambda: ReduceReplicasApart(shelf))


def give_back(scheduler: Scheduler) -> None:
    """Put Dask's own policy back."""
    _exchange(scheduler, (ReduceReplicasApart,), ReduceReplicas)


def _exchange(
    scheduler: Scheduler, kinds: tuple[type[ReduceReplicas], ...], make: Callable[[], ReduceReplicas]
) -> None:
    """Put another policy in the place of each that is exactly of one of these kinds."""
    manager = scheduler.extensions.get("amm")
    for policy in list(manager.policies) if manager is not None else ():
        if type(policy) in kinds:
            manager.policies.discard(policy)
            manager.add_policy(make())
