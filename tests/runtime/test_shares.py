"""Which worker computes what: shares follow measured speed, and every group stays decodable."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded import codes
from dask_coded.codes import Code
from dask_coded.runtime.book import Book
from dask_coded.runtime.events import GroupsPlaced, Running
from dask_coded.runtime.shares import ENOUGH, SEEN, SLOWEST, Shares, Sharing

from .test_machine import make_group


def measured(**slowness: float) -> Shares:
    shares = Shares()
    for worker, factor in slowness.items():
        for _ in range(SEEN):
            shares.finished(worker, 0.1 * factor, 0.1)
    return shares


def rotating(count: int, workers: list[str], code: Code) -> tuple[dict[str, Book], GroupsPlaced]:
    """Return groups whose pieces lie on the workers in turn."""
    books, homes = {}, {}
    for number in range(count):
        name = f"g{number}"
        books[name] = Book(make_group(code, name=name), 0.0)
        homes[name] = {t: (workers[(number + t) % len(workers)],) for t in range(code.n)}
    return books, GroupsPlaced(0.0, homes, dict.fromkeys(homes, 1.0), dict.fromkeys(workers, 1))


def loads(sharing: Sharing) -> Counter[str]:
    return Counter(worker for homes in sharing.homes.values() for worker in homes.values())


def test_a_worker_at_half_speed_computes_half() -> None:
    workers = ["a", "b", "c", "d", "e"]
    sharing = measured(a=2.0, b=1.0).share_out(*reversed(rotating(20, workers, codes.parity(4, 1))))
    assert sharing is not None
    # 80 pieces at a speed of 4.5: 9 of them in the time of 18.
    assert loads(sharing)["a"] in (8, 9) and max(loads(sharing).values()) <= 18
    assert len(sharing.moves) == 7 + (loads(sharing)["a"] == 8)


def test_two_slow_workers_share_what_parity_covers() -> None:
    workers = ["a", "b", "c", "d", "e"]
    for parity in (1, 2):
        sharing = measured(a=2.0, b=2.0).share_out(
            *reversed(rotating(20, workers, codes.parity(5 - parity, parity)))
        )
        assert sharing is not None
        found = loads(sharing)
        assert max(2 * found["a"], 2 * found["b"], found["c"], found["d"], found["e"]) <= 21


@given(
    slowness=st.lists(st.floats(1.0, 4.0), min_size=5, max_size=8),
    count=st.integers(1, 24),
    parity=st.integers(1, 2),
)
@settings(max_examples=60, deadline=None)
def test_every_group_decodes_and_nobody_ends_later(slowness: list[float], count: int, parity: int) -> None:
    workers = [f"w{number}" for number in range(len(slowness))]
    slow = dict(zip(workers, slowness, strict=True))
    code = codes.parity(len(workers) - parity, parity)
    books, placed = rotating(count, workers, code)
    sharing = measured(**slow).share_out(placed, books)
    if sharing is None:
        assert max(slowness) < 1.3
        return
    usual = Counter(
        holders[0] for homes in placed.homes.values() for t, (*holders,) in homes.items() if t < code.q
    )
    ends = max(slow[worker] * count for worker, count in loads(sharing).items())
    assert ends <= max(slow[worker] * count for worker, count in usual.items()) + 1e-9
    for homes in sharing.homes.values():
        assert len(homes) == code.q
        assert all(code.plan(frozenset(homes), index) is not None for index in range(code.q))
    assert len(sharing.moves) == sum(t >= code.q for homes in sharing.homes.values() for t in homes)


def test_even_workers_are_left_to_the_scheduler() -> None:
    books, placed = rotating(4, ["a", "b", "c"], codes.parity(2, 1))
    assert Shares().share_out(placed, books) is None
    assert measured(a=1.1, b=1.0, c=0.9).share_out(placed, books) is None


def test_a_piece_on_several_workers_goes_to_the_one_that_ends_first() -> None:
    books, placed = rotating(1, ["a", "b", "c"], codes.parity(2, 1))
    homes = {"g0": {0: ("a", "c"), 1: ("b",)}}
    placed = GroupsPlaced(0.0, homes, placed.seconds, placed.threads)
    sharing = measured(a=3.0).share_out(placed, books)
    assert sharing is not None and not sharing.moves
    assert sharing.homes == {"g0": {0: "c", 1: "b"}}
    assert sharing.key_homes() == {("piece-g0", 0): "c", ("piece-g0", 1): "b"}


def test_dead_parity_takes_nobodys_place() -> None:
    books, placed = rotating(1, ["a", "b", "c"], codes.parity(2, 1))
    shares = measured(a=3.0)
    assert len(shares.share_out(placed, books).moves) == 1
    books["g0"].dead.add(2)
    assert shares.share_out(placed, books).moves == []


def test_few_or_short_tasks_and_one_hiccup_tell_nothing() -> None:
    shares = Shares()
    for _ in range(ENOUGH - 1):
        shares.finished("a", 3.0, 1.0)
    for _ in range(SEEN):
        shares.finished("b", 3e-3, 1e-3)
        shares.finished("c", 1.0, 1.0)
    assert shares.slowness("a") == shares.slowness("b") == 1.0
    shares.finished("c", 100.0, 1.0)
    assert shares.slowness("c") == 1.0
    shares.finished("c", 100.0, 1.0)
    assert 1.0 < shares.slowness("c") <= 1.0 + (SLOWEST - 1.0) / (SEEN - 1)


def test_a_worker_without_work_is_believed_in_again() -> None:
    books, placed = rotating(1, ["a", "b", "c"], codes.parity(2, 1))
    shares = measured(a=4.0, b=1.0, c=1.0)
    for _ in range(SEEN):
        assert shares.slowness("a") > 1.2
        for worker in "bc":
            shares.finished(worker, 0.1, 0.1)
        shares.share_out(placed, books)
    for worker in "bc":
        shares.finished(worker, 0.1, 0.1)
    shares.share_out(placed, books)
    assert shares.slowness("a") == 1.0
    shares = measured(a=4.0)
    shares.left("a")
    assert shares.slowness("a") == 1.0


def test_looks_are_measured_by_the_speed_of_the_worker() -> None:
    looks = {"x": Running("a", 4.0, "c"), "y": Running("b", 4.0, "c")}
    assert Shares().usual(looks) is looks
    usual = measured(a=2.0).usual(looks)
    assert usual["x"].seconds == pytest.approx(2.0) and usual["y"].seconds == 4.0
