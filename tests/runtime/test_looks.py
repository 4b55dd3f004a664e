"""What the scheduler can know of what runs where, without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from dask_coded.runtime.scheduler_plugin.looks import Looks


@dataclass(frozen=True)
class Task:
    """Equal to any other of its key, as a scheduler's are."""

    key: str


@dataclass
class Worker:
    last_seen: float
    executing: dict[Task, float] = field(default_factory=dict)
    address: str = "w"
    metrics: dict[str, Any] = field(default_factory=dict)


def looks_at(assigned: float) -> Looks:
    looks = Looks(None)
    looks.on_assigned("x", assigned)
    return looks


def test_heartbeat_tells_since_when_a_task_runs() -> None:
    worker = Worker(last_seen=10.5, executing={Task("x"): 0.4})
    looks = looks_at(10.0)
    assert looks.is_confirmed(Task("x"), worker)
    assert looks.began(Task("x"), worker, now=11.0) == 10.1


def test_heartbeat_that_does_not_show_a_task_tells_that_it_does_not_run() -> None:
    assert looks_at(10.0).began(Task("x"), Worker(last_seen=10.5), now=11.0) is None
    assert looks_at(10.0).turnaround("x", "w", now=11.0) == 1.0


def test_heartbeat_from_before_tells_of_an_earlier_run_of_the_key() -> None:
    worker = Worker(last_seen=9.9, executing={Task("x"): 0.4})
    looks = looks_at(10.0)
    assert not looks.is_confirmed(Task("x"), worker)
    assert looks.began(Task("x"), worker, now=11.0) == 10.0


def test_task_is_not_begun_with_before_the_one_before_it_is_delivered() -> None:
    looks = looks_at(10.0)
    looks.on_assigned("y", 10.1)
    looks.on_delivered("y", "w", 10.7)
    assert looks.turnaround("x", "w", now=11.0) == 11.0 - 10.7
    assert looks.turnaround("z", "w", now=11.0) == 0.0


def silent_after(
    seconds: float, suspects: tuple[str, ...] = (), pause: float = 0.2, others: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return who is silent, with 2.5 s allowed, so long after the last heartbeat of all but `others`."""
    workers = {name: Worker(last_seen=10.0, address=name) for name in ("v", "w")}
    looks = Looks(SimpleNamespace(workers=workers))
    looks.silent(10.0, 2.5, 0.2)
    for step in range(1, 1 + round(seconds / pause)):
        now = 10.0 + step * pause
        for name in others:
            workers[name].last_seen = now - 0.4
        found = looks.silent(now, 2.5, 0.2, suspects)
    return found


def test_silence_lasts_half_as_long_for_a_worker_that_is_held_back() -> None:
    assert silent_after(2.4) == () and silent_after(2.6) == ("v", "w")
    assert silent_after(1.2, ("w",), others=("v",)) == ()
    assert silent_after(1.4, ("w",), others=("v",)) == ("w",)
    assert silent_after(2.4, ("w",)) == (), "the machine is busy"


def test_nobody_is_silent_just_after_the_scheduler_was_deaf() -> None:
    assert silent_after(4.0, ("w",), pause=2.0, others=("v",)) == ()
