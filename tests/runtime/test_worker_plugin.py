"""Workers run tasks anew from other dependencies."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from dask_coded.runtime.worker_plugin import UnlinkPlugin


@dataclass(eq=False)
class State:
    key: str
    state: str = "released"
    dependencies: set[Any] = field(default_factory=set)
    dependents: set[Any] = field(default_factory=set)
    waiters: set[Any] = field(default_factory=set)
    waiting_for_data: set[Any] = field(default_factory=set)


def link(ts: State, *dependencies: State) -> None:
    ts.dependencies |= set(dependencies)
    ts.waiting_for_data |= set(dependencies)
    for dep in dependencies:
        dep.dependents.add(ts)
        dep.waiters.add(ts)


def test_edges_out_of_date_are_cut_before_the_worker_hears_of_the_task() -> None:
    block, old, kept, shared = State("block"), State("old"), State("kept", "memory"), State("shared")
    link(block, old, kept, shared)
    link(State("other"), shared)
    heard: list[set[str]] = []
    tasks = {ts.key: ts for ts in (block, old, kept, shared)}

    def compute_task(key: str, who_has: Any) -> None:
        heard.append({dep.key for dep in tasks[key].dependencies})

    worker: Any = SimpleNamespace(
        state=SimpleNamespace(tasks=tasks), stream_handlers={"compute-task": compute_task}
    )
    plugin = UnlinkPlugin()
    plugin.setup(worker)
    worker.stream_handlers["compute-task"](key="block", who_has={"kept": ["w"], "new": ["w"]})
    assert heard == [{"kept"}]
    assert block.waiting_for_data == {kept}
    assert "old" not in tasks and "shared" in tasks
    assert block not in shared.dependents | shared.waiters

    past, present = State("past", "memory"), State("present", "waiting")
    link(past, block)
    link(present, block)
    past.waiting_for_data.clear()
    block.waiters = {present}
    worker.stream_handlers["compute-task"](key="block", who_has={"kept": ["w"]})
    assert block.dependents == {present} and present.dependencies == {block}
    assert not past.dependencies, "forgetting it must not take the block along"

    link(block, shared)
    block.state = "executing"
    worker.stream_handlers["compute-task"](key="block", who_has={})
    assert heard[-1] == {"kept", "shared"}, "what runs has read its inputs"
    plugin.teardown(worker)
    assert worker.stream_handlers["compute-task"] is compute_task
