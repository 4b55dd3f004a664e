"""The machine alone: events in, instructions out, invariants after each step."""

from __future__ import annotations

import dataclasses
import pickle
import random
import subprocess
import sys

import pytest

from dask_coded import codes
from dask_coded.runtime import events as ev
from dask_coded.runtime import instructions as do
from dask_coded.runtime.group import Group, Lateness
from dask_coded.runtime.machine import Machine

WORKERS = {f"w{i}": 1 for i in range(8)}


def make_group(code, *, launch="late", name="g", spare=1, lane=1) -> Group:
    def lane_of(t):
        return tuple((f"task{t}", step) for step in range(lane - 1)) + ((f"piece-{name}", t),)

    lanes = tuple(lane_of(t) for t in range(code.n))
    return Group(
        name=name,
        code=code,
        pieces=tuple((f"piece-{name}", t) for t in range(code.n)),
        targets=tuple((f"target-{name}", w) for w in range(code.q)),
        lanes=lanes,
        shapes=((2, 2),) * code.q,
        axis=0,
        length=2,
        dtype="float64",
        tolerance=1e-10,
        cohorts={key: f"cohort{i}" for lane in lanes for i, key in enumerate(lane)},
        launch=launch,
        late=Lateness(spare=spare, min_task_runtime=0.0),
    )


class Driver:
    """A machine that is validated after every event, with a clock of its own."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.now = 0.0

    def tell(self, kind, *args, **kwargs):
        found = self.machine.handle(kind(self.now, *args, **kwargs))
        self.machine.validate()
        return found

    def tick(self, seconds=0.1, running=(), silent=(), recovered=()):
        self.now += seconds
        looks = {
            key: ev.Running(worker, elapsed, self.machine.cohort(key) or "plain")
            for key, worker, elapsed in running
        }
        return self.tell(ev.Ticked, looks, WORKERS, tuple(silent), tuple(recovered))


@pytest.fixture
def driver():
    return Driver()


def add(driver, group, done=(), seconds=1.0):
    found = driver.tell(ev.GroupAdded, group)
    driver.now += seconds
    for t in done:
        driver.tell(ev.KeyFinished, group.pieces[t], seconds)
        driver.tell(ev.KeyFinished, group.targets[t], 0.001)
    return found


def kinds(steps):
    return [type(step) for step in steps]


def test_without_stragglers_nothing_is_launched(driver):
    group = make_group(codes.parity(4, 2))
    assert add(driver, group) == [do.Hold((*group.targets, *group.pieces[4:]))]
    for t in range(3):
        assert driver.tell(ev.KeyFinished, group.pieces[t], 1.0) == []
        assert driver.tell(ev.KeyFinished, group.targets[t], 0.0) == []
    assert driver.tell(ev.KeyFinished, group.pieces[3], 1.0) == []
    assert driver.tell(ev.KeyFinished, group.targets[3], 0.0) == [do.Close(group)]
    assert not driver.machine.busy
    assert driver.machine.counters.parity_tasks == 0


def test_late_piece_is_answered_by_parity_and_decoded(driver):
    group = make_group(codes.parity(4, 2))
    add(driver, group, done=(0, 1, 2))
    late = group.pieces[3]
    assert driver.tick(running=[(late, "w3", 1.01)]) == []
    assert driver.tick(running=[(late, "w3", 1.3)]) == [do.Launch(group, group.pieces[4:6], 2.0)]
    assert driver.tick(running=[(late, "w3", 1.4)]) == [], "one launch is enough"
    hold, narrow = driver.tell(ev.KeyFinished, group.pieces[4], 1.0)
    assert hold == do.HoldWorker("w3", False, "every thread runs an overtaken task")
    assert isinstance(narrow, do.Narrow)
    assert narrow.index == 3
    assert narrow.sources == (*group.targets[:3], group.pieces[4])
    assert driver.tell(ev.KeyFinished, group.targets[3], 0.0, 0, True) == [do.Close(group)]
    assert driver.machine.counters.decoded == 1
    assert driver.machine.counters.late == 1
    assert [what for _, what, _ in driver.machine.story("g")][-3:] == ["decode", "decoded", "closed"]


def test_piece_that_its_worker_does_not_begin_with_is_late_too(driver):
    group = make_group(codes.parity(4, 2))
    add(driver, group)

    def arriving(seconds, *numbers):
        looks = {group.pieces[t]: ev.Running(f"w{t}", seconds, "cohort0", confirmed=False) for t in numbers}
        return driver.tell(ev.Ticked, {}, WORKERS, arriving=looks)

    assert arriving(9.0, 0, 1, 2, 3) == []
    driver.tell(ev.KeyFinished, group.pieces[0], 1.0, turnaround=2.0)
    assert arriving(9.0, 1, 2, 3) == [], "most are on their way"
    for t in (1, 2):
        driver.tell(ev.KeyFinished, group.pieces[t], 1.0, turnaround=2.0)
    assert arriving(2.0, 3) == [], "the others had to fetch what they read too"
    assert arriving(2.5, 3) == [do.Launch(group, group.pieces[4:6], 2.0)]
    hold, narrow = driver.tell(ev.KeyFinished, group.pieces[4], 1.0)
    assert hold == do.HoldWorker("w3", False, "every thread runs an overtaken task")
    assert isinstance(narrow, do.Narrow)


def test_parity_that_came_second_holds_no_worker_back(driver):
    """It soon ends by itself; the piece that it was to stand in for may not."""
    group = make_group(codes.parity(4, 2))
    add(driver, group, done=(0, 1, 2))
    driver.tick(running=[(group.pieces[3], "w3", 1.3)])
    driver.tell(ev.KeyFinished, group.pieces[4], 1.0)
    driver.tell(ev.KeyFinished, group.targets[3], 0.0, 0, True)

    def overtaken(key, worker, seconds):
        looks = {key: ev.Running(worker, seconds, "cohort0", overtaken=True)}
        return driver.tell(ev.Ticked, looks, WORKERS)

    assert overtaken(group.pieces[5], "w5", 1.2) == []
    held = do.HoldWorker("w5", False, "every thread runs a late task")
    assert overtaken(group.pieces[5], "w5", 2.2) == [held], "unless it is late too"
    driver.machine.held.left("w3")
    assert overtaken(group.pieces[3], "w3", 0.9) == [], "run anew elsewhere"
    held = do.HoldWorker("w3", False, "every thread runs a late task")
    assert overtaken(group.pieces[3], "w3", 1.4) == [held]


def test_late_block_is_answered_by_its_own_copy(driver):
    group = make_group(codes.replication(4, 2))
    add(driver, group, done=(0, 1, 3))
    assert driver.tick(running=[(group.pieces[2], "w2", 1.3)]) == [do.Launch(group, group.pieces[6:7], 2.0)]


def test_own_piece_wins_when_it_comes_before_parity(driver):
    group = make_group(codes.parity(4, 2))
    add(driver, group, done=(0, 1, 2))
    driver.tick(running=[(group.pieces[3], "w3", 1.5)])
    assert driver.tell(ev.KeyFinished, group.pieces[3], 1.6) == []
    assert driver.tell(ev.KeyFinished, group.targets[3], 0.0) == [do.Close(group)]
    assert driver.machine.counters.decoded == 0


def test_more_late_pieces_than_parity_run_again_elsewhere(driver):
    group = make_group(codes.parity(4, 1))
    add(driver, group, done=(0, 1))
    steps = driver.tick(running=[(group.pieces[2], "w2", 5.0), (group.pieces[3], "w3", 5.0)])
    assert do.Rerun(group.pieces[2], "w2") in steps
    assert do.Rerun(group.pieces[3], "w3") in steps
    assert do.Launch not in kinds(steps)


def test_late_task_runs_again_where_the_inputs_of_parity_are_gone(driver):
    group = make_group(codes.parity(4, 2))
    add(driver, group, done=(0, 1, 2))
    late = group.pieces[3]
    (launch,) = driver.tick(running=[(late, "w3", 1.3)])
    assert launch == do.Launch(group, group.pieces[4:6], 2.0), "as long as a lane and a second run cost"
    assert driver.tell(ev.LaunchRefused, group, launch.keys) == []
    assert driver.tick(running=[(late, "w3", 1.4)]) == [], "not asked for again"
    assert do.Rerun(late, "w3") in driver.tick(running=[(late, "w3", 2.1)])
    assert driver.tick(running=[(late, "w4", 1.3)]) == [], "it has just begun"
    assert do.Launch(group, group.pieces[4:6]) in driver.tick(running=[(late, "w4", 2.1)]), "or else"


def test_worker_that_is_late_time_after_time_is_held_back(driver):
    """Each of its tasks comes too soon to be worth an answer."""
    add(driver, make_group(codes.parity(4, 1), name="next iterations"))
    driver.tick()
    for number in range(3):
        group = make_group(codes.parity(4, 1), name=f"g{number}")
        add(driver, group, done=(0, 1, 2))
        driver.now += 1.1
        assert not driver.machine.held
        steps = driver.tell(ev.KeyFinished, group.pieces[3], 2.1, worker="w3")
    assert do.HoldWorker("w3", False, "late with one task after the other") in steps
    assert driver.tick(recovered=["w3"]) == [], "not at once"
    assert driver.tick(10.0, recovered=["w3"]) == [do.FreeWorker("w3")]


def test_task_is_run_again_once_only(driver):
    group = make_group(codes.parity(4, 1))
    add(driver, group, done=(0, 1))
    running = [(group.pieces[2], "w2", 5.0), (group.pieces[3], "w3", 5.0)]
    assert kinds(driver.tick(running=running)).count(do.Rerun) == 2
    assert do.Rerun not in kinds(driver.tick(running=running))


def test_eager_launches_at_once_and_decodes_only_what_is_late(driver):
    group = make_group(codes.parity(4, 2), launch="eager")
    steps = add(driver, group)
    assert steps == [do.Hold((*group.targets, *group.pieces[4:])), do.Launch(group, group.pieces[4:6])]
    for t in (0, 1, 2, 4):
        assert driver.tell(ev.KeyFinished, group.pieces[t], 1.0) == [], "not late: wait for the own piece"
    steps = driver.tick(running=[(group.pieces[3], "w3", 1.5)])
    assert do.Narrow in kinds(steps)


def test_patience_ends_even_without_a_late_task(driver):
    group = make_group(codes.parity(4, 1), launch="eager")
    add(driver, group)
    for t in (0, 1, 2, 4):
        driver.tell(ev.KeyFinished, group.pieces[t], 0.1)
    assert driver.tick(0.5) == []
    assert kinds(driver.tick(1.0)) == [do.Narrow]


def test_source_lost_while_decoding_widens_again(driver):
    group = make_group(codes.parity(4, 2))
    add(driver, group, done=(0, 1, 2))
    driver.tick(running=[(group.pieces[3], "w3", 1.5)])
    driver.tell(ev.KeyFinished, group.pieces[4], 1.0)
    steps = driver.tell(ev.KeyReleased, group.targets[0])
    assert steps[0] == do.Widen(group, 3)
    assert do.Widen(group, 0) in steps
    steps = driver.tell(ev.KeyFinished, group.pieces[5], 1.0)
    assert {step.index for step in steps if isinstance(step, do.Narrow)} == {0, 3}


def test_lost_target_is_decoded_when_parity_is_in(driver):
    group = make_group(codes.parity(4, 1), launch="eager")
    add(driver, group, done=(0, 1, 2))
    driver.tell(ev.KeyFinished, group.pieces[4], 1.0)
    driver.tell(ev.KeyFinished, group.pieces[3], 1.0)
    steps = driver.tell(ev.KeyReleased, group.targets[0])
    assert kinds(steps) == [do.Widen, do.Narrow]


def test_refused_decode_waits_for_another_set(driver):
    group = make_group(codes.parity(4, 2))
    add(driver, group, done=(0, 1, 2))
    driver.tick(running=[(group.pieces[3], "w3", 1.5)])
    driver.tell(ev.KeyFinished, group.pieces[4], 1.0)
    assert driver.tell(ev.DecodeFailed, group.targets[3], "not finite") == [do.Widen(group, 3)]
    assert driver.tick(3.0) == []
    (narrow,) = driver.tell(ev.KeyFinished, group.pieces[5], 1.0)
    assert narrow.sources != (*group.targets[:3], group.pieces[4])


def test_failing_parity_never_matters(driver):
    group = make_group(codes.parity(4, 1))
    add(driver, group, done=(0, 1, 2))
    driver.tick(running=[(group.pieces[3], "w3", 1.5)])
    assert driver.tell(ev.KeyErred, group.pieces[4]) == [do.Drop((group.pieces[4],))]
    driver.tell(ev.KeyFinished, group.pieces[3], 9.0)
    assert driver.tell(ev.KeyFinished, group.targets[3], 0.0) == [do.Close(group)]


def test_forgotten_targets_close_and_leave_nothing(driver):
    group = make_group(codes.parity(4, 2))
    add(driver, group, done=(0, 1))
    for key in group.targets:
        steps = driver.tell(ev.KeyForgotten, key)
    assert steps == [do.Close(group)]
    assert not driver.machine.books
    assert not driver.machine.knows(group.pieces[0])


def test_group_comes_again_after_part_of_it_was_forgotten(driver):
    group = make_group(codes.parity(4, 1))
    add(driver, group, done=(0, 1, 2, 3))
    driver.tell(ev.KeyForgotten, group.targets[2])
    assert driver.tell(ev.GroupAdded, group, (2,)) == [do.Hold((*group.targets, group.pieces[4]))]
    driver.tell(ev.KeyFinished, group.pieces[2], 1.0)
    assert driver.tell(ev.KeyFinished, group.targets[2], 0.0) == [do.Close(group)]


def test_worker_is_held_back_once_its_task_is_hopeless(driver):
    group = make_group(codes.parity(4, 2))
    add(driver, group, done=(0, 1, 2))
    driver.tick(running=[(group.pieces[3], "w3", 1.5)])
    steps = driver.tick(running=[(group.pieces[3], "w3", 2.1)])
    assert steps == [do.HoldWorker("w3", False, "every thread runs a late task")]


def test_siblings_that_differ_wildly_make_late_later(driver):
    group = make_group(codes.parity(8, 1))
    driver.tell(ev.GroupAdded, group)
    for t, seconds in enumerate([0.3, 1.0, 1.9, 0.5, 1.6]):
        driver.tell(ev.KeyFinished, group.pieces[t], seconds)
    assert driver.tick(running=[(group.pieces[6], "w6", 2.0)]) == []
    assert driver.tick(running=[(group.pieces[6], "w6", 5.0)]) != []


def test_worker_whose_threads_run_dropped_tasks_is_held(driver):
    add(driver, make_group(codes.parity(4, 1)))
    reason = "every thread runs a task that was dropped"
    occupied = ev.Ticked(driver.now, {}, WORKERS, occupied=("w2",))
    assert driver.machine.handle(occupied) == [do.HoldWorker("w2", False, reason)]
    assert driver.machine.handle(occupied) == [do.HoldWorker("w2", False, reason)], "more was queued there"
    assert driver.machine.counters.workers_held == 1
    assert driver.tick(recovered=["w2"]) == [do.FreeWorker("w2")]


def test_silent_worker_is_held_and_freed(driver):
    group = make_group(codes.parity(4, 1))
    add(driver, group)
    assert driver.tick(silent=["w1"]) == [do.HoldWorker("w1", True, "no sign of life")]
    assert driver.tick(silent=["w1"]) == []
    assert driver.tick(recovered=["w1"]) == [do.FreeWorker("w1")]


def late_once(driver, number, worker="w3"):
    """One iteration in which a worker is late and held until it has delivered."""
    group = make_group(codes.parity(4, 2), name=f"g{number}")
    add(driver, group, done=(0, 1, 2))
    held = driver.tick(running=[(group.pieces[3], worker, 2.1)])
    assert held[0] == do.HoldWorker(worker, False, "every thread runs a late task")
    driver.tick(10.0, running=[(group.pieces[3], worker, 12.1)])
    driver.tell(ev.KeyFinished, group.pieces[3], 12.1, worker=worker)
    driver.tell(ev.KeyFinished, group.targets[3], 0.0, worker=worker)


def test_worker_that_is_late_twice_in_a_row_is_held_for_longer(driver):
    add(driver, make_group(codes.parity(4, 2), name="next iterations"))
    late_once(driver, 0)
    assert driver.tick(recovered=["w3"]) == [do.FreeWorker("w3")]
    late_once(driver, 1)
    assert driver.tick(recovered=["w3"]) == []
    assert driver.tick(19.0, recovered=["w3"]) == []
    assert driver.tick(9.0, recovered=["w3"]) == [do.FreeWorker("w3")]


def test_worker_that_was_on_time_between_is_not(driver):
    add(driver, make_group(codes.parity(4, 2), name="next iterations"))
    late_once(driver, 0)
    driver.tick(recovered=["w3"])
    group = make_group(codes.parity(4, 2), name="on time")
    add(driver, group)
    driver.tell(ev.KeyFinished, group.pieces[0], 1.0, worker="w3")
    late_once(driver, 1)
    assert driver.tick(recovered=["w3"]) == [do.FreeWorker("w3")]


@pytest.mark.parametrize("silent", [["w0", "w1", "w2"], []])
def test_slow_worker_is_freed_when_others_are_missing_or_nothing_is_coded(driver, silent):
    if silent:
        add(driver, make_group(codes.parity(4, 2), name="next iterations"))
    late_once(driver, 0)
    driver.tick(recovered=["w3"])
    late_once(driver, 1)
    assert driver.tick(0.5, recovered=["w3"]) == []
    driver.tick(0.1, silent=silent)
    assert driver.tick(0.6, recovered=["w3"]) == [do.FreeWorker("w3")]


def test_never_more_than_half_of_the_workers_are_held(driver):
    add(driver, make_group(codes.parity(4, 1)))
    steps = driver.tick(silent=list(WORKERS))
    assert len(steps) == 4


def test_prior_stands_in_for_late_blocks_once_most_are_done(driver):
    code = codes.replication(4, 2)
    group = dataclasses.replace(make_group(code, launch="eager"), patience=1.0, cohorts={}, tolerance=1.0)
    assert driver.tell(ev.GroupAdded, group)[1:] == [do.Launch(group, group.pieces[4:])]
    for t in (4, 5, 6, 7, 0, 1):
        driver.tell(ev.KeyFinished, group.pieces[t], 0.1)
    for w in (0, 1):
        driver.tell(ev.KeyFinished, group.targets[w], 0.0)
    assert driver.tick(100.0, running=[(group.pieces[3], "w3", 100.0)]) == [], "half of them is not most"
    driver.tell(ev.KeyFinished, group.pieces[2], 0.1)
    assert driver.tell(ev.KeyFinished, group.targets[2], 0.0) == []
    assert driver.tick(0.9) == []
    (narrow,) = driver.tick(0.2)
    assert (narrow.index, narrow.sources) == (3, (group.pieces[7],))
    assert driver.tell(ev.KeyFinished, group.targets[3], 0.0, decoded=True) == [do.Close(group)]
    counters = driver.machine.counters
    assert (counters.substituted, counters.max_residual) == (1, 0.5)
    assert counters.late == counters.decoded == counters.rerun == 0


def test_fixed_target_waits_for_its_own_piece(driver):
    group = make_group(codes.parity(4, 2))
    driver.tell(ev.GroupAdded, group)
    for t in (0, 1, 2, 4):
        driver.tell(ev.KeyFinished, group.pieces[t], 1.0)
    (narrow,) = [step for step in driver.tick(10.0) + driver.tick(10.0) if isinstance(step, do.Narrow)]
    assert driver.tell(ev.KeyFixed, group.targets[3]) == [do.Widen(group, 3)]
    assert driver.tell(ev.KeyFixed, group.targets[3]) == driver.tell(ev.KeyFixed, "stranger") == []
    late = [(group.pieces[3], "w3", 100.0)]
    assert not {do.Narrow, do.Launch} & set(kinds(driver.tick(100.0, running=late)))
    for t in (0, 1, 2, 3):
        driver.tell(ev.KeyFinished, group.targets[t])
    assert not driver.machine.books["g"].open and not driver.machine.books["g"].fixed


def test_long_lane_is_run_again_rather_than_recoded(driver):
    group = make_group(codes.parity(4, 2), lane=9)
    driver.tell(ev.GroupAdded, group)
    for lane in group.lanes[:3]:
        for key in lane:
            driver.tell(ev.KeyFinished, key, 1.0)
    late = group.lanes[3][0]
    steps = driver.tick(running=[(late, "w3", 2.1)])
    assert do.Rerun(late, "w3") in steps
    assert do.Launch not in kinds(steps)


def do_something(driver, groups, keys, rng):
    key, group = rng.choice(keys), rng.choice(groups)
    match rng.randrange(11):
        case 0 | 1 | 2:
            driver.tell(
                ev.KeyFinished, key, rng.random(), 8, rng.random() < 0.3, worker=f"w{rng.randrange(8)}"
            )
        case 3:
            driver.tell(ev.KeyReleased, key)
        case 4:
            driver.tell(ev.DecodeFailed, key, "test")
            driver.tell(ev.SourcesGone, rng.choice(keys), tuple(rng.sample(keys, 2)))
        case 5:
            driver.tell(rng.choice([ev.KeyErred, ev.KeyForgotten, ev.KeyFixed]), key)
        case 6:
            driver.tell(ev.GroupAdded, group)
        case 7:
            driver.tell(ev.LaunchRefused, group, group.pieces[-1:])
        case 8:
            homes = {t: tuple(rng.sample(list(WORKERS), 2)) for t in range(group.code.n)}
            driver.tell(ev.GroupsPlaced, {group.name: homes}, {group.name: 1.0}, WORKERS)
        case _:
            running = [(k, f"w{rng.randrange(8)}", rng.random() * 9) for k in rng.sample(keys, 4)]
            silent = rng.sample(list(WORKERS), rng.randrange(3))
            driver.tick(running=running, silent=silent, recovered=rng.sample(list(WORKERS), 2))


@pytest.mark.parametrize("seed", range(150))
def test_any_order_and_repetition_of_events_is_safe(seed):
    rng = random.Random(seed)
    code = rng.choice([codes.parity(4, 2), codes.product(2, 3), codes.replication(3), codes.parity(5, 1)])
    driver = Driver()
    groups = [
        make_group(code, launch=rng.choice(["late", "eager", "adaptive"]), name=f"g{i}") for i in range(2)
    ]
    keys = [key for group in groups for key in (*group.pieces, *group.targets)] + ["stranger"]
    for group in groups:
        driver.tell(ev.GroupAdded, group)
    for _ in range(150):
        driver.now += rng.random()
        do_something(driver, groups, keys, rng)
    for group in groups:
        for key in group.targets:
            driver.tell(ev.KeyForgotten, key)
    assert not driver.machine.books
    assert not driver.machine._books_of


def test_group_survives_pickling():
    group = make_group(codes.parity(4, 2))
    assert pickle.loads(pickle.dumps(group)).targets == group.targets


def test_machine_needs_no_dask():
    script = """
import sys, types, pathlib
root = pathlib.Path(sys.argv[1])
for name in ("dask", "distributed", "tornado"):
    sys.modules[name] = None
for name in ("dask_coded", "dask_coded.runtime"):
    package = types.ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")))]
    sys.modules[name] = package
from dask_coded.runtime.machine import Machine
assert not Machine().busy
"""
    import dask_coded

    root = str(__import__("pathlib").Path(dask_coded.__file__).parent.parent)
    subprocess.run([sys.executable, "-c", script, root], check=True)


# --------------------------------------------------- shares that follow speed


def share_out(driver, group, slow="w0", factor=2.0):
    """Add a group whose pieces lie on the workers in turn, one of which is known to be slow."""
    for _ in range(10):
        driver.machine.shares.finished(slow, factor, 1.0)
    driver.tell(ev.GroupAdded, group)
    homes = {t: (f"w{t}",) for t in range(group.code.n)}
    return driver.tell(ev.GroupsPlaced, {group.name: homes}, {group.name: 1.0}, WORKERS)


def test_a_piece_on_a_slow_worker_is_left_out_and_decoded(driver):
    group = make_group(codes.parity(4, 1), launch="adaptive")
    stay, omit, launch = share_out(driver, group)
    assert stay.homes == {key: f"w{t}" for t, key in enumerate(group.pieces) if t}
    assert omit == do.Omit(group.lanes[0])
    assert launch == do.Launch(group, (group.pieces[4],), at_home=True)
    found = [step for t in (4, 1, 2, 3) for step in driver.tell(ev.KeyFinished, group.pieces[t], 1.0)]
    assert [(type(step), step.index) for step in found] == [(do.Narrow, 0)]
    for t in (1, 2, 3):
        driver.tell(ev.KeyFinished, group.targets[t], 0.0)
    assert driver.tell(ev.KeyFinished, group.targets[0], 0.0, decoded=True) == [do.Close(group)]
    counters = driver.machine.counters
    assert (counters.omitted, counters.decoded, counters.late) == (1, 1, 0)
    assert not driver.machine.overtaken


def test_a_task_that_another_group_waits_for_is_not_left_out(driver):
    groups = [make_group(codes.parity(4, 1), launch="adaptive", name=name, lane=2) for name in "ab"]
    for _ in range(10):
        driver.machine.shares.finished("w0", 2.0, 1.0)
    for group in groups:
        driver.tell(ev.GroupAdded, group)
    homes = {"a": {t: (f"w{t}",) for t in range(5)}, "b": {t: ("w0" if t == 0 else "w7",) for t in range(4)}}
    _, omit, *_ = driver.tell(ev.GroupsPlaced, homes, dict.fromkeys("ab", 1.0), WORKERS)
    assert omit == do.Omit((("piece-a", 0),))
    driver = Driver()
    for _ in range(10):
        driver.machine.shares.finished("w0", 4.0, 1.0)
    for group in groups:
        driver.tell(ev.GroupAdded, group)
    homes = {name: {t: (f"w{t}",) for t in range(5)} for name in "ab"}
    _, omit, *_ = driver.tell(ev.GroupsPlaced, homes, dict.fromkeys("ab", 1.0), WORKERS)
    assert set(omit.keys) == {("task0", 0), ("piece-a", 0), ("piece-b", 0)}


def test_a_piece_that_was_freed_is_read_as_its_target(driver):
    group = make_group(codes.parity(3, 1))
    add(driver, group, done=(0, 1))
    driver.tick(2.0, running=[(group.pieces[2], "w2", 3.0)])
    (narrow,) = [s for s in driver.tell(ev.KeyFinished, group.pieces[3]) if isinstance(s, do.Narrow)]
    assert set(narrow.sources) == {*group.targets[:2], group.pieces[3]}
    driver = Driver()
    add(driver, group, done=(0,))
    driver.tell(ev.KeyFinished, group.pieces[1], 1.0)
    driver.tick(2.0, running=[(group.pieces[2], "w2", 3.0)])
    (narrow,) = [s for s in driver.tell(ev.KeyFinished, group.pieces[3]) if isinstance(s, do.Narrow)]
    assert group.pieces[1] in narrow.sources
    driver.tell(ev.KeyFinished, group.targets[1], 0.0)
    widen, again = driver.tell(ev.SourcesGone, group.targets[2], (group.pieces[1],))
    assert widen == do.Widen(group, 2)
    assert set(again.sources) == {*group.targets[:2], group.pieces[3]}
    lost = driver.tell(ev.SourcesGone, group.targets[2], (group.targets[0],))
    assert lost == [do.Widen(group, 2)]
    assert driver.machine.counters.refused == 0


def test_only_adaptive_groups_measure_workers(driver):
    group = make_group(codes.parity(4, 1))
    for t in range(4):
        driver.tell(ev.GroupAdded, group)
        driver.tell(ev.KeyFinished, group.pieces[t], 1.0 + t, worker="w0")
    assert driver.machine.shares.usual({}) == {} and not driver.machine.shares._ratios


@pytest.mark.parametrize("what", ["late", "lost", "parity lost", "parity failed", "refused", "overdue"])
def test_an_omitted_piece_is_computed_when_its_replacement_may_not_come(driver, what):
    group = make_group(codes.parity(4, 1), launch="adaptive")
    share_out(driver, group)
    admit = do.Admit(group.lanes[0])
    in_time = [1, 2, 3] if what == "overdue" else [1, 2]
    for t in in_time:
        driver.tell(ev.KeyFinished, group.pieces[t], 1.0)
        driver.tell(ev.KeyFinished, group.targets[t], 0.0)
    match what:
        case "late":
            found = driver.tick(2.0, running=[(group.pieces[3], "w3", 3.0)])
        case "lost":
            found = driver.tell(ev.KeyReleased, group.pieces[3])
        case "parity lost":
            driver.tell(ev.KeyFinished, group.pieces[4], 1.0)
            found = driver.tell(ev.KeyReleased, group.pieces[4])
        case "parity failed":
            found = driver.tell(ev.KeyErred, group.pieces[4])
        case "refused":
            driver.tell(ev.KeyFinished, group.pieces[4], 1.0)
            driver.tell(ev.KeyFinished, group.pieces[3], 1.0)
            found = driver.tell(ev.DecodeFailed, group.targets[0], "NaN")
        case "overdue":
            assert admit not in driver.tick(0.1)
            assert admit not in driver.tick(0.5)
            found = driver.tick(2.0)
    assert admit in found
    assert admit not in driver.tick(0.1)


@pytest.mark.parametrize("event", [ev.KeyReleased, ev.SourcesGone])
def test_an_omitted_piece_stays_out_while_its_target_can_be_decoded(driver, event):
    group = make_group(codes.parity(4, 1), launch="adaptive")
    share_out(driver, group)
    for t in (1, 2, 3, 4):
        found = driver.tell(ev.KeyFinished, group.pieces[t], 1.0)
    assert do.Narrow in kinds(found)
    driver.tell(ev.KeyFinished, group.targets[3], 0.0)  # so its piece is freed
    if event is ev.KeyReleased:
        widen, narrow = driver.tell(event, group.pieces[3])
    else:
        widen, narrow = driver.tell(event, group.targets[0], (group.pieces[3],))
    assert widen == do.Widen(group, 0)
    assert set(narrow.sources) == {*group.pieces[1:3], group.targets[3], group.pieces[4]}


def test_a_known_slow_worker_is_late_by_its_own_measure(driver):
    group = make_group(codes.parity(6, 1), launch="adaptive")
    share_out(driver, make_group(codes.parity(4, 1), launch="adaptive", name="other"), factor=3.0)
    add(driver, group, done=range(5))
    assert driver.tick(running=[(group.pieces[5], "w0", 2.9)]) == []
    assert kinds(driver.tick(running=[(group.pieces[5], "w0", 5.0)])) != []


def test_steadily_slow_workers_are_not_held_back_where_shares_follow_speed(driver):
    for number in range(6):
        group = make_group(codes.parity(4, 1), launch="adaptive", name=f"g{number}")
        driver.tell(ev.GroupAdded, group)
        for t in range(4):
            seconds = 3.0 if t == 3 else 1.0
            found = driver.tell(ev.KeyFinished, group.pieces[t], seconds, worker=f"w{t}")
            assert do.HoldWorker not in kinds(found)
            driver.tell(ev.KeyFinished, group.targets[t], 0.0)
    assert driver.machine.shares.slowness("w3") == pytest.approx(3.0)
