"""Stopping rules and rescue decisions: pure functions of what was seen.

A new rule is one function here. Nothing in this file logs, sleeps or reads a
clock or a configuration.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal

from dask_coded.runtime.group import Lateness

__all__ = [
    "HOLD_COST",
    "HOPELESS",
    "HOPELESS_OTHER",
    "RERUN_COST",
    "insert_sorted",
    "late_after",
    "may_substitute",
    "parity_wanted",
    "rescue",
    "workers_to_spare",
]

#: A late piece costs one parity lane; giving up work that runs costs that work.
#: So a worker is held back, and a task run again, only beyond this many medians.
HOPELESS = 2.0
#: The same for tasks of any other kind, whose siblings may be less alike.
HOPELESS_OTHER = 3.0
#: Seconds that a held worker and a second run cost at least: shorter delays are cheaper.
HOLD_COST = 0.5
RERUN_COST = 1.0

#: Looking at running tasks is never exact; a task must overrun by this much too.
CLOCK_SLACK = 0.03


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return 0.5 * (ordered[middle - 1] + ordered[middle])


def late_after(durations: Sequence[float], unfinished: int, late: Lateness) -> float:
    """Return after how many seconds of running a task is late.

    The bound lies between 1.05 and `late.multiplier` times the median of the
    finished siblings: the closer they agree, the sooner a deviation is a sign.
    Only siblings that differ wildly (busy machines) raise it further.

    Parameters
    ----------
    durations : sequence of float
        Seconds that the finished siblings took, in ascending order.
    unfinished : int
        Siblings that are running now.
    late : Lateness
        The user's thresholds.

    Returns
    -------
    float
        Seconds; infinity while too few siblings have finished.
    """
    finished = len(durations)
    if not finished or finished < late.quantile * (finished + unfinished):
        return math.inf
    median = _median(durations)
    spread = _median(sorted(abs(seconds - median) for seconds in durations))
    slack = min(max(6.0 * spread, 0.05 * median), max((late.multiplier - 1.0) * median, 3.0 * spread))
    return max(median + slack, late.min_task_runtime) + CLOCK_SLACK


def may_substitute(done: int, targets: int) -> bool:
    """Tell whether so many targets are done that a prior may stand in for the others."""
    return 2 * done > targets


def parity_wanted(missing: int, spare: int, limit: int) -> int:
    """Return how many healthy parity pieces should be under way for `missing` late ones."""
    if not missing:
        return 0
    wanted = missing + spare
    return min(wanted, limit) if limit else wanted


def rescue(
    lane_seconds: float, late_seconds: float, missing: int, parity: int, spare: int
) -> Literal["parity", "rerun"]:
    """Choose what answers late pieces: parity, or running the late tasks again elsewhere.

    Parity covers *any* late piece, a rerun only its own, but a parity lane
    repeats a whole lane. Up to four times the work is worth that cover.

    Parameters
    ----------
    lane_seconds : float
        Expected work of one parity lane.
    late_seconds : float
        Expected work of the late tasks.
    missing : int
        Late pieces.
    parity : int
        Parity pieces that could be computed.
    spare : int
        Parity pieces wanted beyond the late ones.
    """
    if missing > parity:
        return "rerun"
    lanes = min(missing + spare, parity)
    return "parity" if lanes * lane_seconds <= 4.0 * late_seconds else "rerun"


def workers_to_spare(workers: int) -> int:
    """Return how many of `workers` may be held back at one time."""
    return workers // 2


def insert_sorted(ordered: list[float], value: float, most: int = 512) -> None:
    """Insert `value`, keeping the list sorted and bounded (its middle matters most)."""
    ordered.insert(bisect_left(ordered, value), value)
    if len(ordered) > most:
        del ordered[0], ordered[-1]
