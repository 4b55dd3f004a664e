"""Which workers are slow again and again, and how long they get no work for it.

A worker that was late once may have had bad luck. One that is late with the next
task too is likely slow, and whoever trusts it once more pays once more: it gets no
work for longer each time, until it has been on time with something that takes as long.

Lateness that is not worth an answer by itself adds up: a worker that needs twice the
time for several tasks in a row is slow too.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Probation"]

#: A worker stays away for this many times as long as its late task took, doubled each time.
FACTOR = 2.0
#: ... but for so many seconds at most.
LONGEST = 60.0
#: What takes at most this many typical durations is on time.
ON_TIME = 1.5
#: What takes this many typical durations, and so many seconds more than one, was late.
LATE = 2.0
LEAST_DELAY = 0.1
#: Late tasks in a row after which a worker is slow, however little each of them was late.
IN_A_ROW = 3


@dataclass
class Record:
    """The times when a worker was held back for being late, without a task on time between them.

    Parameters
    ----------
    seconds : float
        What its late task would have taken elsewhere.
    took : float
        How long it had taken when the worker was held back.
    since : float
        When that was.
    times : int
        How often it was.
    until : float or None
        When it may have work again; None until it has delivered.
    """

    seconds: float
    took: float
    since: float
    times: int = 0
    until: float | None = None


class Probation:
    """Remembers late workers; knows no clock."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        #: Typical seconds of the tasks that each worker was late with, since it was on time.
        self.late_tasks: dict[str, list[float]] = {}

    def late(self, worker: str, seconds: float, took: float, now: float) -> None:
        """A worker is held back for a task that typically takes `seconds` and has taken `took`."""
        before = self.records.get(worker)
        times = 1 if before is None else before.times + 1
        if self.is_slow(worker):
            times = max(times, IN_A_ROW)
        self.records[worker] = Record(seconds, took, now, times)

    def finished(self, worker: str, seconds: float, typical: float) -> None:
        """A worker took `seconds` for a task; short ones prove nothing."""
        if seconds > ON_TIME * typical:
            if seconds >= max(LATE * typical, typical + LEAST_DELAY):
                self.late_tasks.setdefault(worker, []).append(typical)
            return
        record = self.records.get(worker)
        if record is not None and 2 * typical >= record.seconds:
            del self.records[worker]
        if 2 * typical >= max(self.late_tasks.get(worker, ()), default=0.0):
            self.late_tasks.pop(worker, None)

    def is_slow(self, worker: str) -> bool:
        """Tell whether a worker was late with several tasks in a row."""
        return len(self.late_tasks.get(worker, ())) >= IN_A_ROW

    def is_over(self, worker: str, now: float) -> bool:
        """Tell whether a worker that has delivered what it was late with may have work again."""
        record = self.records.get(worker)
        if record is None:
            return True
        if record.until is None:
            longer = FACTOR ** (record.times - 1) if record.times > 1 else 0.0
            record.until = now + min(longer * (record.took + now - record.since), LONGEST)
        return now >= record.until

    def left(self, worker: str) -> None:
        """Forget a worker."""
        self.records.pop(worker, None)
        self.late_tasks.pop(worker, None)
