from __future__ import annotations

import numpy as np
import pytest
from code_cases import patterns, rows, worst_growth

from dask_coded.codes import parity


@pytest.mark.parametrize("k", [4, 8, 16, 32, 64])
def test_single_parity_meets_the_lower_bound(k: int) -> None:
    assert worst_growth(parity(k), 1) == pytest.approx(np.sqrt(2 * k - 1))


@pytest.mark.parametrize(("k", "sub_blocks"), [(2, 1), (4, 2), (8, 4), (16, 8)])
def test_double_parity_of_units_meets_the_bound_of_single_parity(k: int, sub_blocks: int) -> None:
    code = parity(k, 2)
    assert code.sub_blocks == sub_blocks
    assert worst_growth(code, 2) == pytest.approx(np.sqrt(2 * k - 1))
    assert np.isin(code.generator, (-1, 0, 1)).all()


def test_double_parity_of_pairs() -> None:
    code = parity(20, 2)
    assert worst_growth(code, 2) <= np.sqrt(4 * 20 - 1) + 1e-9
    assert np.isin(code.generator, (-1, 0, 1)).all()


@pytest.mark.parametrize(("k", "growth"), [(4, 3.9), (8, 9.1), (16, 23.0), (32, 61.3), (64, 168.1)])
def test_double_parity_in_closed_form(k: int, growth: float) -> None:
    assert worst_growth(parity(k, 2, sub_blocks=1), 2) == pytest.approx(growth, abs=0.06)


@pytest.mark.parametrize(
    ("k", "r", "sub_blocks", "growth"),
    [
        (4, 3, None, 2.65),
        (8, 3, None, 4.55),
        (16, 3, None, 8.7),
        (4, 4, None, 2.65),
        (8, 4, None, 5.2),
        (4, 3, 1, 7.5),
        (8, 3, 1, 29.1),
        (4, 4, 1, 9.7),
        (8, 4, 1, 54.8),
    ],
)
def test_more_parity(k: int, r: int, sub_blocks: int | None, growth: float) -> None:
    assert worst_growth(parity(k, r, sub_blocks), r) <= growth


@pytest.mark.parametrize(
    ("k", "r"),
    [(1, 1), (1, 4), (2, 3), (3, 2), (5, 2), (9, 2), (3, 3), (5, 3), (7, 4), (6, 6), (4, 5), (3, 8)],
)
@pytest.mark.parametrize("scalar", [False, True])
def test_any_r_losses_are_repaired_and_no_more(k: int, r: int, scalar: bool) -> None:
    code = parity(k, r, sub_blocks=1 if scalar else None)
    for have in patterns(code, r):
        assert code.decodable(have) == tuple(range(k))
    for have in patterns(code, r + 1):
        assert code.decodable(have) == tuple(w for w in range(k) if w in have)


@pytest.mark.parametrize(("k", "r"), [(33, 3), (40, 4), (20, 5), (113, 2), (24, 8)])
def test_large_codes_repair_the_first_losses(k: int, r: int) -> None:
    code = parity(k, r)
    assert code.sub_blocks == 1
    decoding = code.plan(range(r, k + r), 0)
    assert decoding is not None
    assert decoding.residual < 1e-9


@pytest.mark.parametrize(
    ("k", "r"), [(5, 1), (2, 2), (3, 2), (8, 2), (16, 2), (100, 2), (4, 3), (16, 3), (4, 4), (16, 4), (1, 5)]
)
def test_first_parity_is_the_plain_sum(k: int, r: int) -> None:
    code = parity(k, r)
    assert np.array_equal(code.coefficients(k), np.tile(np.eye(code.sub_blocks), k))


@pytest.mark.parametrize(("k", "r"), [(2, 1), (5, 1), (2, 2), (4, 2), (8, 2), (16, 2), (8, 3), (8, 4)])
def test_alternating_signs(k: int, r: int) -> None:
    code, plain = parity(k, r, alternating=True), parity(k, r)
    signs = np.repeat([(-1) ** block for block in range(k)], code.sub_blocks)
    for piece in code.parity:
        assert np.array_equal(code.coefficients(piece), plain.coefficients(piece) * signs)
    assert worst_growth(code, r) == pytest.approx(worst_growth(plain, r), rel=1e-6)
    decoding = code.plan(set(range(1, k + 1)), 0)
    assert decoding is not None and set(np.unique(decoding.weights)) <= {-1, 0, 1}


def test_tables_are_shortened() -> None:
    short, full = parity(6, 3), parity(8, 3)
    kept = rows(short, range(6))
    for parity_piece in range(3):
        shorter = full.coefficients(8 + parity_piece)[:, kept]
        assert np.array_equal(short.coefficients(6 + parity_piece), shorter)
    assert worst_growth(short, 3) <= worst_growth(full, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k=0: give 1 or more"),
        ({"k": 3, "r": 0}, "r=0: give 1 or more"),
        ({"k": 3, "r": 2, "sub_blocks": 0}, "sub_blocks=0: give 1 or more"),
        ({"k": 9, "r": 2, "sub_blocks": 4}, r"sub_blocks=4: .* k=9, r=2; .* \[1, 8\]"),
        ({"k": 9, "r": 3, "sub_blocks": 8}, r"possible here are \[1, 4\]"),
        ({"k": 9, "r": 6, "sub_blocks": 4}, r"possible here are \[1\]"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parity(**arguments)


def test_fractions_are_refused() -> None:
    with pytest.raises(TypeError, match=r"k=2\.5: give a whole number"):
        parity(2.5)  # type: ignore[arg-type]
