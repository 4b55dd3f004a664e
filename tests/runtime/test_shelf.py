"""Which blocks share parity, and what a lost one is rebuilt from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_coded.runtime.shelf import KeptGroup, group_size, next_group

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
    arrived = dict(enumerate(where))
    while blocks := next_group(arrived, size, last):
        held = len(set(arrived.values()))
        workers = [arrived.pop(key) for key in blocks]
        assert len(set(workers)) == min(held, size), "as many workers as there are"
        assert len(blocks) == size or (last and not arrived), "only the last group is smaller"
    assert not (last and arrived)
    assert last or len(set(arrived.values())) < size


def test_no_group_without_room() -> None:
    assert not next_group({1: "u"}, 0, last=True)
    assert not next_group({}, 2, last=True)
