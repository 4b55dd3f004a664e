"""How long tasks of one kind take: the yardstick for late ones."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping

from dask_coded.runtime.events import Running
from dask_coded.runtime.group import Lateness
from dask_coded.runtime.policy import insert_sorted, late_after

__all__ = ["Cohorts"]


class Cohorts:
    """Durations of finished tasks by cohort; the oldest cohorts are forgotten first."""

    def __init__(self, most: int = 2000) -> None:
        self._most = most
        self._seconds: OrderedDict[str, list[float]] = OrderedDict()

    def finished(self, cohort: str, seconds: float) -> None:
        """Note that one task of `cohort` took `seconds`."""
        ordered = self._seconds.setdefault(cohort, [])
        self._seconds.move_to_end(cohort)
        insert_sorted(ordered, seconds)
        while len(self._seconds) > self._most:
            self._seconds.popitem(last=False)

    def typical(self, cohort: str) -> float:
        """Median duration of the cohort in seconds; 0 when none has finished."""
        ordered = self._seconds.get(cohort)
        return ordered[len(ordered) // 2] if ordered else 0.0

    def late(self, running: Mapping[Hashable, Running], late: Lateness) -> set[Hashable]:
        """Return the running tasks that take too long beside their siblings."""
        unfinished = Counter(look.cohort for look in running.values())
        bounds = {
            cohort: late_after(self._seconds.get(cohort, ()), count, late)
            for cohort, count in unfinished.items()
        }
        return {key for key, look in running.items() if look.seconds > bounds[look.cohort]}
