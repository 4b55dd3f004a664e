from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from code_cases import code, losing, patterns, worst_growth

from dask_coded.codes import kron, local, parity, product


@pytest.mark.parametrize(("p", "q"), [(2, 2), (2, 3), (4, 3)])
def test_any_three_losses_decode(p: int, q: int) -> None:
    made = product(p, q)
    for have in patterns(made, 3):
        assert made.decodable(have) == tuple(range(p * q))


@pytest.mark.parametrize(("p", "growth"), [(2, 2.8), (3, 4.3), (4, 6.4)])
def test_growth_of_three_losses(p: int, growth: float) -> None:
    assert worst_growth(product(p, p), 3) <= growth


def test_corners_of_a_rectangle_do_not_decode() -> None:
    made = product(3, 3)
    for (i, k), (j, m) in [((0, 1), (0, 1)), ((0, 2), (1, 2))]:
        corners = {3 * i + j, 3 * i + m, 3 * k + j, 3 * k + m}
        assert set(made.decodable(losing(made, *corners))) == set(range(9)) - corners


def test_only_rectangles_defeat_four_losses() -> None:
    made = product(3, 3)
    rectangles = sum(len(made.decodable(have)) < 9 for have in patterns(made, 4))
    in_grid = len(list(combinations(range(4), 2))) ** 2
    # One parity row and one parity column: every rectangle has a block among its corners.
    assert rectangles == in_grid


def test_repairs_read_a_row_or_a_column() -> None:
    made = product(4, 6)
    one = made.plan(losing(made, 0), 0)
    row_broken = made.plan(losing(made, 0, 1), 0)
    column_broken = made.plan(losing(made, 0, 6), 0)
    assert one is not None and row_broken is not None and column_broken is not None
    assert len(one.used) == len(row_broken.used) == 4
    assert len(column_broken.used) == 6


def test_lost_parity_is_rebuilt_from_parity() -> None:
    made = product(4, 4)
    rows = {made.systematic[0], *(t for t in made.parity if np.count_nonzero(made.generator[t]) == 4)}
    first = {t for t in rows if made.generator[t, 0]}
    decoding = made.plan(losing(made, *first), 0)
    assert len(first) == 3
    assert decoding is not None
    assert len(decoding.used) == 7  # not 15


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_weights_are_signs(losses: int) -> None:
    made = product(3, 3)
    for have in patterns(made, losses):
        for wanted in range(9):
            decoding = made.plan(have, wanted)
            assert decoding is not None
            assert decoding.residual == 0
            assert set(np.unique(decoding.weights)) <= {-2, -1, 1, 2}


def test_piece_order_and_encodings() -> None:
    made = product(2, 3, rows=1, columns=2)
    assert made.n == 3 * 5
    assert made.systematic == tuple(range(6))
    for i in range(2):
        for j in range(3):
            assert made.coefficients(i * 3 + j, 0).tolist() == [np.eye(2)[i].tolist()]
            assert made.coefficients(i * 3 + j, 1).tolist() == [np.eye(3)[j].tolist()]


def test_no_parity_on_one_side() -> None:
    made = product(3, 2, rows=1, columns=0)
    assert made.n == 8
    assert made.decodable(losing(made, 0, 1)) == tuple(range(6))
    assert product(2, 2, rows=0, columns=0).parity == ()


def test_kron_refuses_what_it_cannot_multiply() -> None:
    with pytest.raises(ValueError, match=r"kron needs .* sub_blocks=4: give .* sub_blocks=1"):
        kron(parity(6, 2), parity(2))
    with pytest.raises(ValueError, match="kron needs .* 2 operand"):
        kron(product(2, 2), parity(2))
    with pytest.raises(ValueError, match="kron needs a code whose targets are pieces"):
        kron(code(np.eye(2), np.ones((1, 2))), parity(2))


def test_kron_of_local_codes() -> None:
    made = kron(local(4, 2), parity(2))
    assert made.decodable(losing(made, 0, 1, 6)) == tuple(range(8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"p": 0, "q": 1}, "p=0: give 1"), ({"p": 1, "q": 1, "rows": -1}, "rows=-1: give 0")],
)
def test_arguments_are_checked(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        product(**arguments)


def test_only_the_row_and_the_column_of_a_missing_block_help() -> None:
    made = product(3, 3)
    labels = {
        piece: tuple(map(tuple, np.argwhere(made.generator[piece].reshape(3, 3)))) for piece in made.parity
    }
    found = made.helpful({4}, made.parity)
    assert all((1, 1) in labels[piece] for piece in found)
    assert len(found) == 3, "its row's, its column's, and that of all"
