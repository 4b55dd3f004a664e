from __future__ import annotations

import numpy as np
import pytest
from code_cases import code, losing

from dask_coded.codes import block_diag, local, parity, product


def test_repairs_read_their_own_group() -> None:
    made = local(9, 3)
    decoding = made.plan(losing(made, 4), 4)
    assert decoding is not None
    assert decoding.used == (3, 5, 10)
    assert made.decodable(losing(made, 0, 3, 6)) == tuple(range(9))
    assert set(made.decodable(losing(made, 0, 1))) == set(range(2, 9))


@pytest.mark.parametrize(
    ("k", "group", "sizes"), [(7, 3, [2, 2, 3]), (8, 4, [4, 4]), (3, 8, [3]), (5, 1, [1] * 5)]
)
def test_groups_are_even(k: int, group: int, sizes: list[int]) -> None:
    made = local(k, group)
    assert [int(row.sum()) for row in made.generator[k:]] == sizes
    assert made.name == f"local(k={k}, group={group}, r=1)"


def test_groups_on_both_sides_of_an_edge_share_sub_blocks() -> None:
    made = local(9, 5, r=2)  # groups of 4 and 5 blocks
    assert made.sub_blocks == 4
    assert made.decodable(losing(made, 0, 1, 7, 8)) == tuple(range(9))
    assert local(3, 2, r=2).decodable(range(1, 7)) == (0, 1, 2)


def test_block_diag_keeps_targets_first() -> None:
    made = block_diag(parity(2), parity(3, 2, sub_blocks=1))
    assert made.systematic == (0, 1, 2, 3, 4)
    assert made.parity == (5, 6, 7)
    assert made.coefficients(5).tolist() == [[1, 1, 0, 0, 0]]


def test_block_diag_of_products() -> None:
    made = block_diag(product(2, 2), product(2, 2))
    assert made.n == 18
    assert made.decodable(losing(made, 0, 1, 2, 4, 5, 6)) == tuple(range(8))
    decoding = made.plan(losing(made, 0), 0)
    assert decoding is not None
    assert len(decoding.used) == 2


def test_block_diag_of_sums() -> None:
    total = code(np.vstack([np.eye(2), np.ones((1, 2))]), np.ones((1, 2)))
    made = block_diag(total, parity(2))
    assert made.systematic == (0, 1, 2)
    assert made.decodable({0, 5}) == (0,)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sub_blocks \[1, 4\]"):
        block_diag(parity(8, 2), parity(2))
    with pytest.raises(ValueError, match=r"operands \[1, 2\]"):
        block_diag(product(2, 2), parity(2))
    with pytest.raises(ValueError, match="no codes"):
        block_diag()
    with pytest.raises(ValueError, match="group=0: give 1"):
        local(3, 0)
