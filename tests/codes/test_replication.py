from __future__ import annotations

import pytest

from dask_coded.codes import replication


def test_any_copy_serves_unchanged() -> None:
    made = replication(3, copies=3)
    decoding = made.plan({5, 8}, 2)
    assert decoding is not None
    assert decoding.used in ((5,), (8,))
    assert decoding.weights.tolist() == [[1]]
    assert decoding.amplification == 1
    assert made.plan({0, 1, 3, 4}, 2) is None


def test_only_copies_of_missing_blocks_help() -> None:
    made = replication(3, copies=3)
    assert made.helpful({2}, made.parity) == (5, 8)
    assert made.helpful({0, 2}, made.parity) == (3, 5, 6, 8), "one copy of each before second ones"


def test_a_single_copy_is_no_redundancy() -> None:
    assert replication(3, copies=1).parity == ()


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="copies=0: give 1 or more"):
        replication(3, copies=0)
