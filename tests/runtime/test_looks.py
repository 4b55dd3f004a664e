"""What the scheduler can know of what runs where, without one."""

from __future__ import annotations

from dataclasses import dataclass, field
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
