"""Which workers are held back: they get no work, since they are silent, stuck or slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import NamedTuple

from dask_coded.runtime import events as ev
from dask_coded.runtime import instructions as do
from dask_coded.runtime.cohorts import Cohorts
from dask_coded.runtime.policy import HOLD_COST, HOPELESS, workers_to_spare
from dask_coded.runtime.probation import Probation
from dask_coded.runtime.snapshot import Counters

__all__ = ["Held", "Overtaken"]

#: Seconds after the last group closed in which the next iteration may begin.
BETWEEN_GROUPS = 1.0


class Overtaken(NamedTuple):
    """A task that a decode came before: since when, and how many seconds it usually takes."""

    since: float
    typical: float


class Held(Collection[str]):
    """The workers that are held back, never more than can be spared.

    Parameters
    ----------
    cohorts : Cohorts
        How long tasks usually take.
    counters : Counters
        Where they are counted.
    """

    def __init__(self, cohorts: Cohorts, counters: Counters) -> None:
        self.cohorts, self.counters = cohorts, counters
        self.probation = Probation()
        #: What ran where when time passed last.
        self.look = ev.Ticked(0.0)
        self._frozen: dict[str, bool] = {}
        self._last_open = 0.0

    def __contains__(self, worker: object) -> bool:
        return worker in self._frozen

    def __iter__(self) -> Iterator[str]:
        return iter(self._frozen)

    def __len__(self) -> int:
        return len(self._frozen)

    def left(self, worker: str) -> None:
        """Forget a worker."""
        self._frozen.pop(worker, None)
        self.probation.left(worker)

    def ticked(self, look: ev.Ticked, coding: bool) -> list[do.Instruction]:
        """Free and hold workers by how they look; `coding` tells that some group is open."""
        self.look = look
        if coding:
            self._last_open = look.now
        found: list[do.Instruction] = []
        for worker in look.recovered:
            if worker in self and self._may_free(worker):
                del self._frozen[worker]
                found.append(do.FreeWorker(worker))
        for worker in look.silent:
            if not self._frozen.get(worker) and self._may_hold(worker):
                self._frozen[worker] = True
                found.append(do.HoldWorker(worker, True, "no sign of life"))
                self.counters.workers_held += 1
        for worker in look.occupied:
            reason = "every thread runs a task that was dropped"
            again = [do.HoldWorker(worker, False, reason)] if worker in self else []
            found += again or self.hold(worker, reason, slow=False) or []
        return found

    def hold(self, worker: str, reason: str, slow: bool = True) -> list[do.Instruction] | None:
        """Return the instructions that hold a worker back, None if too many are."""
        if worker in self:
            return []
        if not self._may_hold(worker):
            return None
        self._frozen[worker] = False
        if slow:
            late = [look for look in self.look.running.values() if look.worker == worker]
            seconds = max((self.cohorts.typical(look.cohort) for look in late), default=0.0)
            took = max((look.seconds for look in late), default=0.0)
            self.probation.late(worker, seconds, took, self.look.now)
        self.counters.workers_held += 1
        return [do.HoldWorker(worker, False, reason)]

    def hold_overtaken(self, lane: Collection[Hashable]) -> list[do.Instruction]:
        """Hold back workers that a decode leaves with nothing but what it overtakes.

        Their threads are busy for nobody; work sent there would wait behind them.
        """
        running = self.look.running
        mine = {running[key].worker for key in lane if key in running}
        stuck = Counter(look.worker for key, look in running.items() if look.overtaken or key in lane)
        return self._hold_stuck(
            {worker: stuck[worker] for worker in mine}, "every thread runs an overtaken task"
        )

    def hold_late_workers(
        self, late: Collection[Hashable], overtaken: Mapping[Hashable, Overtaken]
    ) -> list[do.Instruction]:
        """Hold back workers on which every thread runs a late task.

        A decode came before those that are `overtaken`. What else nobody waits for any more, such as parity
        that came second, soon ends by itself.
        """
        stuck = Counter(
            look.worker
            for key, look in self.look.running.items()
            if (look.overtaken and key in overtaken and look.seconds > overtaken[key].typical)
            or ((look.overtaken or key in late) and self.is_hopeless(look, HOPELESS, HOLD_COST))
        )
        return self._hold_stuck(stuck, "every thread runs a late task")

    def _hold_stuck(self, stuck: dict[str, int], reason: str) -> list[do.Instruction]:
        """Hold back workers that have no thread left, by how many are stuck."""
        threads = self.look.threads
        full = [worker for worker, count in sorted(stuck.items()) if count >= threads.get(worker, count + 1)]
        return [step for worker in full for step in self.hold(worker, reason) or []]

    def finished(self, event: ev.KeyFinished, typical: float) -> list[do.Instruction]:
        """Take account of a task that typically takes so long; hold a worker that is late time after time."""
        if typical and event.worker:
            self.probation.finished(event.worker, event.seconds, typical)
        if event.worker in self or not self.probation.is_slow(event.worker):
            return []
        found = self.hold(event.worker, "late with one task after the other", slow=False)
        if found:
            self.probation.late(event.worker, typical, event.seconds, event.now)
        return found or []

    def is_hopeless(self, look: ev.Running, factor: float, least: float) -> bool:
        """Tell whether a task has taken `factor` times as long as others, and `least` seconds longer."""
        typical = self.cohorts.typical(look.cohort)
        return look.confirmed and look.seconds > max(factor * typical, typical + least)

    def _may_hold(self, worker: str) -> bool:
        return len(self._frozen.keys() - {worker}) < self._to_spare()

    def _may_free(self, worker: str) -> bool:
        """Tell whether a worker may have work again; a slow one not before others are needed."""
        now = self.look.now
        if self._frozen[worker] or now - self._last_open > BETWEEN_GROUPS:
            return True
        return self.probation.is_over(worker, now) or len(self) >= self._to_spare()

    def _to_spare(self) -> int:
        return workers_to_spare(len(self.look.threads.keys() | self._frozen.keys()))
