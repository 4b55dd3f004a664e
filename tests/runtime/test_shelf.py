"""Which blocks share parity, and what a lost one is rebuilt from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_coded.runtime.shelf import KeptGroup, Request, Shelf, group_size, next_group

GROUP = KeptGroup("g", ("a", "b", "c"), ("p", "q"), "e", "w0")


def test_group_leaves_workers_for_parity() -> None:
    assert [group_size(workers, 1, None) for workers in (0, 1, 2, 5, 100)] == [0, 0, 1, 4, 8]
    assert group_size(100, 2, 3) == 3
    assert group_size(4, 3, 3) == 1


def test_any_sufficient_pieces_rebuild_a_block() -> None:
    assert GROUP.plan("a", {"b", "c", "p", "q"}) == {1: "b", 2: "c", 3: "p"}
    plan = GROUP.plan("a", {"c", "p", "q"})
    assert plan is not None and set(plan.values()) == {"c", "p", "q"}
    assert GROUP.plan("a", {"a", "c", "p"}) is None, "the lost block itself does not count"
    assert GROUP.plan("a", {"b", "c"}) is None


@given(where=st.lists(st.sampled_from("uvwxyz"), max_size=30), size=st.integers(1, 6), last=st.booleans())
def test_groups_have_a_worker_for_each_block(where: list[str], size: int, last: bool) -> None:
    request = Request("r", 1, None, set(range(len(where))))
    for key, worker in enumerate(where):
        request.arrive(key, worker)
    assert not request.awaited
    while blocks := next_group(request.held, {}, size, last):
        held = len(request.held)
        for key in blocks:
            request.leave(key)
        assert len({where[key] for key in blocks}) == min(held, size), "as many workers as there are"
        assert len(blocks) == size or (last and not request.arrived), "only the last group is smaller"
    assert not (last and request.arrived)
    assert last or len(request.held) < size


def test_groups_span_machines() -> None:
    held = {worker: [worker.upper()] for worker in "abcdef"}
    machines = {"a": "m", "b": "m", "c": "m", "d": "n", "e": "n", "f": "o"}
    assert set(next_group(held, machines, 3, last=False)) == {"A", "D", "F"}
    assert len(set(next_group(held, machines, 6, last=False))) == 6


def test_no_group_without_room() -> None:
    assert not next_group({"u": [1]}, {}, 0, last=True)
    assert not next_group({}, {}, 2, last=True)


def test_shelf_forgets_what_is_taken() -> None:
    shelf = Shelf()
    shelf.put(GROUP)
    assert [list(shelf.groups_of[key]) for key in "aqe"] == [[GROUP]] * 3
    shelf.take(GROUP)
    assert not shelf.groups_of and not shelf.groups


def test_a_piece_of_two_groups_has_the_neighbours_of_both() -> None:
    shelf = Shelf()
    other = KeptGroup("other", ("a", "x"), ("y",), "f", "")
    shelf.put(GROUP)
    shelf.put(other)
    assert list(shelf.groups_of["a"]) == [GROUP, other] and list(shelf.groups_of["y"]) == [other]
    assert list(shelf.neighbours("a")) == [*(piece for piece in GROUP.pieces if piece != "a"), "x", "y"]
    shelf.take(GROUP)
    assert list(shelf.groups_of["a"]) == [other] and list(shelf.neighbours("a")) == ["x", "y"]
