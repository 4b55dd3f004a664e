"""Pieces of a group come apart, also where blocks belong to two groups, and moving comes to an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.runtime.scheduler_plugin.spreading import Spreading
from dask_coded.runtime.shelf import KeptGroup, Shelf


@dataclass(eq=False)
class Worker:
    address: str
    host: str = "h"
    nbytes: int = 0


@dataclass(eq=False)
class Piece:
    key: Hashable
    who_has: set[Worker]
    state: str = "memory"
    waiters: tuple[Any, ...] = ()
    processing_on: Worker | None = None
    worker_restrictions: None = None


class Workers:
    """As much of a scheduler as moving pieces needs; what is asked for is done at once."""

    def __init__(self, number: int, where: Mapping[Hashable, int]) -> None:
        self.workers = {f"w{i}": Worker(f"w{i}") for i in range(number)}
        self.running = set(self.workers.values())
        self.tasks = {key: Piece(key, {self.workers[f"w{i}"]}) for key, i in where.items()}
        self.moved: list[Hashable] = []

    def request_acquire_replicas(self, address: str, keys: list[Hashable], stimulus_id: str) -> None:
        for key in keys:
            self.tasks[key].who_has.add(self.workers[address])
            self.moved.append(key)

    def request_remove_replicas(self, address: str, keys: list[Hashable], stimulus_id: str) -> None:
        for key in keys:
            self.tasks[key].who_has.remove(self.workers[address])

    def together(self, groups: list[KeptGroup]) -> int:
        """Return how many pieces are on a worker that holds another one of their group."""
        total = 0
        for group in groups:
            held = Counter(ws.address for key in group.pieces for ws in self.tasks[key].who_has)
            total += sum(number - 1 for number in held.values())
        return total


def grid(rows: int, columns: int) -> list[KeptGroup]:
    """Return the groups of a grid of blocks: columns of blocks first, then rows."""
    lines = [[(i, j) for i in range(rows)] for j in range(columns)]
    lines += [[(i, j) for j in range(columns)] for i in range(rows)]
    return [KeptGroup(f"g{n}", tuple(line), (f"p{n}",), f"p{n}", "") for n, line in enumerate(lines)]


def spread(workers: Workers, groups: list[KeptGroup], rounds: int) -> int:
    """Let pieces move until none does; return after how many rounds."""
    shelf = Shelf()
    for group in groups:
        shelf.put(group)
    spreading = Spreading(workers, shelf)  # type: ignore[arg-type]
    for number in range(rounds):
        before = len(workers.moved)
        spreading(groups, (), float(number))
        if len(workers.moved) == before and not spreading.moves:
            return number
    return rounds


def test_a_block_goes_where_neither_of_its_groups_is() -> None:
    groups = [KeptGroup("row", ("a", "b"), ("p",), "p", ""), KeptGroup("column", ("a", "c"), ("q",), "q", "")]
    workers = Workers(5, {"a": 0, "b": 0, "p": 1, "c": 2, "q": 3})
    spread(workers, groups, 9)
    assert workers.together(groups) == 0 and len(workers.moved) == 1


def test_of_two_blocks_on_a_worker_one_goes_beside_parity() -> None:
    groups = [KeptGroup("g", ("a", "b", "c"), ("p", "q"), "p", "")]
    workers = Workers(4, {"a": 0, "b": 0, "c": 1, "p": 2, "q": 3})
    spread(workers, groups, 9)
    blocks = Counter(ws.address for key in "abc" for ws in workers.tasks[key].who_has)
    assert set(blocks.values()) == {1} and len(workers.moved) == 1
    assert workers.together(groups) == 1


def test_two_blocks_stay_together_where_parting_them_would_crowd_a_machine() -> None:
    groups = [KeptGroup("g", ("a", "b"), ("p", "q"), "p", "")]
    workers = Workers(3, {"a": 0, "b": 0, "p": 1, "q": 2})
    for address in ("w1", "w2"):
        workers.workers[address].host = "other"
    spread(workers, groups, 9)
    assert workers.moved == []


def test_parity_makes_room_for_a_block_of_two_groups() -> None:
    groups = [KeptGroup("row", ("a", "b", "e"), ("p",), "p", "")]
    groups += [KeptGroup("column", ("a", "c"), ("q",), "q", "")]
    groups += [KeptGroup("other column", ("b", "d"), ("r",), "r", "")]
    workers = Workers(4, {"a": 0, "b": 0, "e": 3, "p": 1, "c": 1, "q": 2, "d": 1, "r": 2})
    spread(workers, groups, 9)
    assert workers.together(groups) == 0
    assert workers.moved == ["q", "a"], "worker 2 alone is free of the row, but holds parity of a column"


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_moving_ends_and_brings_nothing_together(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(2, 4)), data.draw(st.integers(2, 4))
    groups = grid(rows, columns)
    number = data.draw(st.integers(2, 8))
    keys = sorted({key for group in groups for key in group.pieces}, key=str)
    workers = Workers(number, {key: data.draw(st.integers(0, number - 1)) for key in keys})
    before = workers.together(groups)
    assert spread(workers, groups, 200) < 200
    assert workers.together(groups) <= before
    if number > max(rows, columns) + 2:
        assert workers.together(groups) <= 1


def lend(where: dict[Hashable, int], *copies: str) -> tuple[Workers, Spreading]:
    """Hold worker 0 back, which has block "a"; return what others read instead, and who moved it there."""
    group = KeptGroup("g", ("a", "b", "c"), ("p",), "p", "")
    workers = Workers(5, where)
    workers.running.discard(workers.workers["w0"])
    for address in copies:
        workers.tasks["a"].who_has.add(workers.workers[address])
    shelf = Shelf()
    shelf.put(group)
    spreading = Spreading(workers, shelf)  # type: ignore[arg-type]
    for number in range(3):
        spreading([group], ("w0",), float(number))
    return workers, spreading


def test_blocks_of_a_held_worker_are_read_where_least_of_their_group_is() -> None:
    workers, spreading = lend({"a": 0, "b": 1, "c": 2, "p": 3})
    assert workers.moved == ["a"]
    (move,) = spreading.lent.values()
    assert (move.source, move.target) == ("w0", "w3")
    workers.running.add(workers.workers["w0"])
    spreading([], (), 4.0)
    assert not spreading.lent and {ws.address for ws in workers.tasks["a"].who_has} == {"w0"}


def test_a_copy_that_is_there_by_chance_counts_unless_its_worker_is_busy_with_a_block_of_its_own() -> None:
    assert lend({"a": 0, "b": 1, "c": 2, "p": 3}, "w4")[0].moved == []
    assert "a" in lend({"a": 0, "b": 1, "c": 2, "p": 3}, "w1")[0].moved
