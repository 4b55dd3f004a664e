"""Sums of all targets of a group: parity yields them when no target can be decoded."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from dask._task_spec import List, Task, TaskRef

from dask_coded import codes
from dask_coded.runtime import events as ev
from dask_coded.runtime import instructions as do
from dask_coded.runtime.quorum import Quorum

from .problems import STUCK, answer, go_on, graph, total
from .test_machine import Driver, add, kinds, make_group
from .test_scheduler_plugin import coded_cluster, nothing_left, plugin_on


def total_of(*parts, **changes):
    lanes = tuple(key for part in parts for t in part.code.systematic for key in part.lanes[t])
    group = make_group(codes.replication(1, 2), name="total")
    return dataclasses.replace(
        group,
        lanes=((*lanes, group.pieces[0]), (group.pieces[1],)),
        cohorts={},
        parts=tuple(part.name for part in parts),
        **changes,
    )


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture
def groups(driver):
    """Two groups of four blocks of which the last two of the first are late, and their total."""
    parts = [make_group(codes.parity(4, 1), name=name) for name in "gh"]
    for part in parts:
        driver.tell(ev.GroupAdded, part)
    total = total_of(*parts)
    driver.tell(ev.GroupAdded, total)
    driver.now += 1.0
    for part, done in zip(parts, (2, 4), strict=True):
        for t in range(done):
            driver.tell(ev.KeyFinished, part.pieces[t], 1.0)
            driver.tell(ev.KeyFinished, part.targets[t], 0.001)
    return (*parts, total)


def late(group, *pieces):
    return [(group.pieces[t], f"w{t}", 2.0) for t in pieces]


def launched(found):
    return {key for step in found if isinstance(step, do.Launch) for key in step.keys}


def test_one_late_piece_is_left_to_its_own_group(driver, groups):
    first, _, total = groups
    driver.tell(ev.KeyFinished, first.pieces[2], 1.0)
    found = launched(driver.tick(running=late(first, 3)))
    assert found == {first.pieces[4]}
    assert driver.machine.counters.late == 1, "counted once"


def test_more_late_pieces_than_parity_launch_the_sum_of_parity(driver, groups):
    first, second, total = groups
    found = driver.tick(running=late(first, 2, 3))
    assert {first.pieces[4], total.pieces[1]} <= launched(found)
    assert driver.machine.counters.late == 2
    assert not launched(driver.tick(running=late(first, 2, 3))), "once"


def decoded(driver, groups):
    first, second, total = groups
    driver.tick(running=late(first, 2, 3))
    driver.tell(ev.KeyFinished, first.pieces[4], 1.0)
    found = driver.tell(ev.KeyFinished, total.pieces[1], 0.001)
    (narrow,) = [step for step in found if isinstance(step, do.Narrow)]
    assert narrow.group is total and narrow.sources == (total.pieces[1],)
    return driver.tell(ev.KeyFinished, total.targets[0], 0.001, decoded=True)


def test_the_sum_ends_what_it_would_have_been_made_of(driver, groups):
    first, second, total = groups
    found = decoded(driver, groups)
    dropped = {key for step in found if isinstance(step, do.Drop) for key in step.keys}
    assert dropped >= {first.targets[2], first.targets[3]}
    assert {step.group.name for step in found if isinstance(step, do.Close)} == {"g", "total"}
    assert not any(book.open for book in driver.machine.books.values())


def test_a_sum_that_is_lost_may_be_made_of_blocks_after_all(driver, groups):
    first, second, total = groups
    decoded(driver, groups)
    assert do.Hold in kinds(driver.tell(ev.KeyReleased, total.targets[0], True))
    for t in (2, 3):
        driver.tell(ev.KeyFinished, first.pieces[t], 1.0)
        driver.tell(ev.KeyFinished, first.targets[t], 0.001)
    driver.tell(ev.KeyFinished, total.pieces[0], 0.001)
    driver.tell(ev.KeyFinished, total.targets[0], 0.001)
    assert not any(book.open for book in driver.machine.books.values())


def test_blocks_that_come_after_all_win(driver, groups):
    first, second, total = groups
    driver.tick(running=late(first, 2, 3))
    for t in (2, 3):
        driver.tell(ev.KeyFinished, first.pieces[t], 2.5)
        driver.tell(ev.KeyFinished, first.targets[t], 0.001)
    found = driver.tell(ev.KeyFinished, total.pieces[0], 0.001)
    assert do.Narrow not in kinds(found)
    found = driver.tell(ev.KeyFinished, total.targets[0], 0.001)
    assert do.Close in kinds(found) and not any(book.open for book in driver.machine.books.values())


def test_parity_that_failed_is_not_added_up(driver, groups):
    first, second, total = groups
    driver.tell(ev.KeyErred, second.pieces[4])
    assert total.pieces[1] not in launched(driver.tick(running=late(first, 2, 3)))


def test_groups_that_are_forgotten_leave_nothing(driver, groups):
    decoded(driver, groups)
    for group in groups:
        for key in (*group.targets, *group.pieces):
            driver.tell(ev.KeyForgotten, key)
    assert not driver.machine.books and not driver.machine._books_of


def test_an_unrelated_group_is_not_touched(driver, groups):
    other = make_group(codes.parity(4, 1), name="other")
    add(driver, other, done=range(2))
    decoded(driver, groups)
    assert driver.machine.books["other"].open


def with_total(name, **options):
    """Return a graph whose last task may add up parity instead."""
    tasks = graph(name, r=1, **options)
    key = f"total-{name}"
    of_blocks = next(task.group for task in tasks.values() if isinstance(task, Quorum))
    of_all = total_of(of_blocks, targets=(key,), late=of_blocks.late)
    own, other = of_all.pieces
    parity = of_blocks.pieces[of_blocks.code.parity[0]]
    tasks[own] = tasks[key].substitute({}, key=own)
    tasks[other] = Task(other, total, List(TaskRef(parity)))
    tasks[key] = Quorum.of(of_all, 0)
    return tasks


@pytest.fixture
def nothing_stays_stuck():
    go_on.clear()
    yield
    go_on.set()


@pytest.mark.cluster
@pytest.mark.usefixtures("nothing_stays_stuck")
@pytest.mark.parametrize("stuck, decoded", [((), 0), ((2,), 1), ((0, 2), 1), ((1, 4, 6), 1)])
def test_on_a_scheduler(stuck, decoded):
    @coded_cluster(nthreads=[("127.0.0.1", 1)] * 6)
    async def run(c, s, *workers):
        plugin = await plugin_on(c, s)
        tasks = with_total("sum", k=8, slow=dict.fromkeys(stuck, STUCK))
        found = await asyncio.wait_for(c.get(tasks, "total-sum", sync=False), STUCK / 2)
        assert found == pytest.approx(answer(8), rel=1e-12)
        assert plugin.counters.decoded == decoded
        assert plugin.counters.errors == plugin.counters.recomputed == 0
        go_on.set()
        await nothing_left(s, plugin)

    run()


@pytest.mark.cluster
@pytest.mark.usefixtures("nothing_stays_stuck")
def test_a_decoded_sum_that_is_lost_comes_back():
    @coded_cluster(nthreads=[("127.0.0.1", 1)] * 6)
    async def run(c, s, *workers):
        plugin = await plugin_on(c, s)
        future = c.get(with_total("sum", k=8, slow={0: STUCK, 2: STUCK}), "total-sum", sync=False)
        assert await asyncio.wait_for(future, STUCK / 2) == pytest.approx(answer(8), rel=1e-12)
        assert plugin.counters.decoded == 1
        go_on.set()
        await next(worker for worker in workers if "total-sum" in worker.data).close()
        assert await asyncio.wait_for(c.gather(future), STUCK / 2) == pytest.approx(answer(8), rel=1e-12)
        assert plugin.counters.errors == 0
        del future
        await nothing_left(s, plugin)

    run()
