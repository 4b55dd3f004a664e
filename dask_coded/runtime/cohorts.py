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
        #: What came before included, such as fetching what a task reads.
        self._turnarounds: OrderedDict[str, list[float]] = OrderedDict()

    def finished(self, cohort: str, seconds: float, turnaround: float = 0.0) -> None:
        """Note what one task of `cohort` took: `seconds`, or `turnaround` since its worker could begin."""
        self._note(self._seconds, cohort, seconds)
        if turnaround:
            self._note(self._turnarounds, cohort, turnaround)

    def _note(self, known: OrderedDict[str, list[float]], cohort: str, seconds: float) -> None:
        insert_sorted(known.setdefault(cohort, []), seconds)
        known.move_to_end(cohort)
        while len(known) > self._most:
            known.popitem(last=False)

    def typical(self, cohort: str) -> float:
        """Median duration of the cohort in seconds; 0 when none has finished."""
        ordered = self._seconds.get(cohort)
        return ordered[len(ordered) // 2] if ordered else 0.0

    def late(self, running: Mapping[Hashable, Running], late: Lateness) -> set[Hashable]:
        """Return the running tasks that take too long beside their siblings."""
        return _late(self._seconds, running, running, late)

    def late_to_begin(
        self, arriving: Mapping[Hashable, Running], running: Mapping[Hashable, Running], late: Lateness
    ) -> set[Hashable]:
        """Return the arriving tasks that would have been done by now if they were like their siblings."""
        return _late(self._turnarounds, arriving, {**running, **arriving}, late)


def _late(
    durations: Mapping[str, list[float]],
    looks: Mapping[Hashable, Running],
    unfinished: Mapping[Hashable, Running],
    late: Lateness,
) -> set[Hashable]:
    counts = Counter(look.cohort for look in unfinished.values())
    bounds = {
        cohort: late_after(durations.get(cohort, ()), counts[cohort], late)
        for cohort in {look.cohort for look in looks.values()}
    }
    return {key for key, look in looks.items() if look.seconds > bounds[look.cohort]}
