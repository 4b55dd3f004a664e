"""What it would take to compute again what is gone, by the usual durations of tasks."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

__all__ = ["seconds_again", "spared", "usual_seconds"]


def seconds_again(tasks: Iterable[TaskState], most: float) -> float:
    """Return the seconds of work before these tasks, done once and gone; counting ends beyond `most`."""
    seen = set(tasks)
    stack, seconds = [ts for ts in seen if ts.state == "released"], 0.0
    while stack and seconds <= most:
        for dts in stack.pop().dependencies - seen:
            seen.add(dts)
            if dts.state == "released":
                seconds += usual_seconds(dts)
                stack.append(dts)
    return seconds


def spared(ts: TaskState, dependencies: Iterable[TaskState], counted: set[Hashable]) -> tuple[int, float]:
    """Return how many tasks computing a block again would run, and their seconds by the usual durations.

    Parameters
    ----------
    ts : TaskState
        The lost block's task.
    dependencies : iterable of TaskState
        What it was to be computed from.
    counted : set of keys
        Tasks that other lost blocks need too; those found now are added.
    """
    again = []
    stack = [ts]
    while stack:
        task = stack.pop()
        if task.key not in counted:
            counted.add(task.key)
            again.append(task)
            needed = dependencies if task is ts else task.dependencies
            stack.extend(dts for dts in needed if not dts.who_has)
    return len(again), sum(map(usual_seconds, again))


def usual_seconds(ts: TaskState) -> float:
    """Return how long tasks of its kind take, 0 if none has ended yet."""
    return max(0.0, float(ts.prefix.duration_average))
