"""Workers that are late again and again stay away for longer each time."""

from __future__ import annotations

import pytest

from dask_coded.runtime.probation import LONGEST, Probation


@pytest.fixture
def probation() -> Probation:
    return Probation()


def stays(probation: Probation, since: float, seconds: float = 3.0) -> float:
    """Return for how long a worker that is late at `since` stays away after it has delivered."""
    probation.late("w", 1.0, 0.0, since)
    delivered = since + seconds
    assert probation.is_over("w", delivered) is (probation.records["w"].until == delivered)
    until = probation.records["w"].until
    assert until is not None and probation.is_over("w", until)
    assert until == delivered or not probation.is_over("w", until - 1e-3)
    return until - delivered


def test_bad_luck_costs_nothing(probation):
    assert stays(probation, 0.0) == 0.0


def test_each_time_takes_longer_up_to_a_bound(probation):
    found = [stays(probation, 1000.0 * number) for number in range(10)]
    assert found[:4] == [0.0, 6.0, 12.0, 24.0]
    assert found[-1] == LONGEST


def test_a_task_on_time_wipes_the_slate_clean(probation):
    stays(probation, 0.0)
    probation.finished("w", 1.2, 1.0)
    assert stays(probation, 10.0) == 0.0


@pytest.mark.parametrize(
    ("seconds", "typical", "why"), [(1.6, 1.0, "late once more"), (0.1, 0.1, "too short to tell")]
)
def test_other_tasks_do_not(probation, seconds, typical, why):
    stays(probation, 0.0)
    probation.finished("w", seconds, typical)
    assert stays(probation, 10.0) > 0.0, why


def test_what_is_not_known_is_not_on_probation(probation):
    stays(probation, 0.0)
    assert probation.is_over("v", 0.0)
    probation.left("w")
    assert stays(probation, 10.0) == 0.0


def test_the_time_before_it_was_held_back_counts_too(probation):
    for since in (0.0, 100.0):
        probation.late("w", 1.0, 5.0, since)
        assert not probation.is_over("w", since + 1.0) or since == 0.0
    assert probation.records["w"].until == 101.0 + 2 * (5.0 + 1.0)


def test_several_late_tasks_in_a_row_make_a_slow_worker(probation):
    for _ in range(2):
        probation.finished("w", 3.0, 1.0)
        assert not probation.is_slow("w")
    probation.finished("w", 3.0, 1.0)
    assert probation.is_slow("w")
    probation.late("w", 1.0, 3.0, 0.0)
    assert not probation.is_over("w", 1.0)
    assert probation.records["w"].until == 1.0 + 4 * (3.0 + 1.0)
    probation.finished("w", 1.0, 1.0)
    assert not probation.is_slow("w")


@pytest.mark.parametrize(
    ("seconds", "typical", "why"),
    [(1.0, 1.0, "on time"), (1.8, 1.0, "hardly late"), (0.05, 0.01, "too short to tell")],
)
def test_other_workers_are_not_slow(probation, seconds, typical, why):
    for _ in range(9):
        probation.finished("w", seconds, typical)
    assert not probation.is_slow("w"), why
