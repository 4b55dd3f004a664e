"""Surgery on single tasks: new run_spec, new dependencies, books kept true.

The scheduler's invariants (its `validate_state`) hold before and after each
function. A function returns recommendations; the caller hands them to
`Scheduler.transitions`, except inside a transition, where the task is released
and the scheduler's own recommendations follow.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

__all__ = ["forgettable", "replace_dependencies", "unneeded"]


def replace_dependencies(ts: TaskState, spec: Any, wanted: Iterable[TaskState]) -> dict[Hashable, str]:
    """Give a task that is not processing a new spec and exactly these dependencies.

    Parameters
    ----------
    ts : TaskState
        In state released, waiting, memory or erred.
    spec : GraphNode
        The new run_spec; it reads the keys of `wanted`.
    wanted : iterable of TaskState
        The new dependencies.

    Returns
    -------
    dict
        Recommended transitions: the task itself when nothing is missing any
        more, dependencies that must start, and tasks nobody waits for any more.
    """
    wanted = set(wanted)
    found: dict[Hashable, str] = {}
    dropped = ts.dependencies - wanted
    for dts in dropped:
        ts.dependencies.discard(dts)
        dts.dependents.discard(ts)
        if dts.waiters:
            dts.waiters.discard(ts)
        if ts.waiting_on:
            ts.waiting_on.discard(dts)
    for dts in wanted - ts.dependencies:
        ts.add_dependency(dts)
    ts.run_spec = spec
    if ts.state == "waiting":
        found.update(_await_dependencies(ts))
        found.update({dts.key: "released" for dts in dropped if unneeded(dts)})
    return found


def _await_dependencies(ts: TaskState) -> dict[Hashable, str]:
    """Do for a waiting task what the scheduler does when a task begins to wait."""
    found: dict[Hashable, str] = {}
    missing = set()
    for dts in ts.dependencies:
        if not dts.who_has:
            missing.add(dts)
        if dts.state == "released":
            found[dts.key] = "waiting"
        else:
            if dts.waiters is None:
                dts.waiters = set()
            dts.waiters.add(ts)
    ts.waiting_on = missing
    if not missing:
        found[ts.key] = "processing"
    return found


def unneeded(dts: TaskState) -> bool:
    """Tell whether nobody waits for or wants this active task."""
    return (
        not dts.waiters
        and not dts.who_wants
        and dts.state in ("waiting", "processing", "queued", "no-worker", "memory")
    )


def forgettable(ts: TaskState) -> bool:
    """Tell whether nothing on the scheduler refers to this idle task any more."""
    return ts.state in ("released", "erred") and not ts.dependents and not ts.who_wants and not ts.waiters
