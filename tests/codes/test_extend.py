from __future__ import annotations

import numpy as np
import pytest
from code_cases import losing, patterns

from dask_coded.codes import Code, extend, parity, product


def test_pieces_keep_their_numbers() -> None:
    old, new = parity(4, 2), extend(parity(4, 2), 3)
    assert new.n == old.n + 3
    assert new.systematic == old.systematic
    for piece in range(old.n):
        assert np.array_equal(old.coefficients(piece), new.coefficients(piece))


def test_extending_twice_is_extending_once() -> None:
    assert np.array_equal(extend(extend(parity(5), 1), 2).generator, extend(parity(5), 3).generator)
    assert not np.array_equal(extend(parity(5), 1, seed=1).generator, extend(parity(5), 1).generator)


def test_nothing_more_is_the_same_code() -> None:
    made = parity(3)
    assert extend(made, 0) is made


@pytest.mark.parametrize("made", [parity(4), parity(4, 2), parity(3, 3)], ids=lambda made: made.name)
def test_every_new_piece_repairs_one_more_loss(made: Code) -> None:
    longer = extend(made, 2)
    for have in patterns(longer, longer.n - longer.k):
        assert longer.decodable(have) == tuple(range(longer.q))


def test_product_gains_from_late_parity() -> None:
    longer = extend(product(2, 2), 1)
    assert longer.decodable(losing(longer, 0, 1, 2, 3)) == (0, 1, 2, 3)
    one = longer.plan(losing(longer, 0), 0)
    assert one is not None
    assert len(one.used) == 2


def test_codes_that_are_not_products_are_refused() -> None:
    with pytest.raises(ValueError, match="extra=-1: give 0"):
        extend(parity(2), -1)
    mixed = Code("sums", (np.eye(2),), np.ones((2, 1)), np.ones((1, 1)))
    with pytest.raises(ValueError, match="cannot tell what more pieces of sums"):
        extend(mixed, 1)
