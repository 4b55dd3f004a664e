"""Which workers are slow again and again, and how long they get no work for it.

A worker that was late once may have had bad luck. One that is late with the next
task too is likely slow, and whoever trusts it once more pays once more: it gets no
work for longer each time, until it has been on time with something that takes as long.
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


@dataclass
class Record:
    """The late tasks of one worker, without one on time between them.

    Parameters
    ----------
    seconds : float
        What the last one would have taken elsewhere.
    since : float
        When the worker was held back for it.
    times : int
        How many there were.
    until : float or None
        When it may have work again; None until it has delivered.
    """

    seconds: float
    since: float
    times: int = 0
    until: float | None = None


class Probation:
    """Remembers late workers; knows no clock."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def late(self, worker: str, seconds: float, now: float) -> None:
        """A worker is held back for tasks that typically take `seconds`."""
        before = self.records.get(worker)
        self.records[worker] = Record(seconds, now, 1 if before is None else before.times + 1)

    def finished(self, worker: str, seconds: float, typical: float) -> None:
        """A worker took `seconds` for a task; short ones prove nothing."""
        record = self.records.get(worker)
        if record is not None and seconds <= ON_TIME * typical and 2 * typical >= record.seconds:
            del self.records[worker]

    def is_over(self, worker: str, now: float) -> bool:
        """Tell whether a worker that has delivered what it was late with may have work again."""
        record = self.records.get(worker)
        if record is None:
            return True
        if record.until is None:
            longer = FACTOR ** (record.times - 1) if record.times > 1 else 0.0
            record.until = now + min(longer * (now - record.since), LONGEST)
        return now >= record.until

    def left(self, worker: str) -> None:
        """Forget a worker."""
        self.records.pop(worker, None)
