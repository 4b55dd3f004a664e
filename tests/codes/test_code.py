from __future__ import annotations

import numpy as np
import pytest
from code_cases import code, losing

from dask_coded.codes import Code, parity


def test_properties() -> None:
    made = parity(4, 2)
    assert (made.n, made.q, made.k, made.sub_blocks) == (6, 4, 4, 2)
    assert made.systematic == (0, 1, 2, 3)
    assert made.parity == (4, 5)
    assert repr(made) == "<Code parity(k=4, r=2): 6 pieces, 4 targets, sub_blocks=2>"


def test_coefficients() -> None:
    made = parity(3)
    assert made.coefficients(3).tolist() == [[1, 1, 1]]
    assert parity(4, 2).coefficients(5).shape == (2, 8)
    with pytest.raises(ValueError, match="piece=4: .* pieces 0 to 3"):
        made.coefficients(4)
    with pytest.raises(ValueError, match=r"operand=1: .* encodes 1 operand"):
        made.coefficients(0, 1)


def test_arrays_are_copies_and_read_only() -> None:
    rows = np.eye(2)
    made = code(rows, rows)
    rows[0, 0] = 7
    assert made.generator[0, 0] == 1
    assert made.encodings[0] is made.generator
    for array in (made.generator, made.target, made.encodings[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_read_only_inputs() -> None:
    rows = np.vstack([np.eye(2), np.ones((1, 2))])
    rows.flags.writeable = False
    assert code(rows, rows[:2]).decodable({1, 2}) == (0, 1)


def test_codes_compare_and_hash_by_identity() -> None:
    one, other = parity(2), parity(2)
    assert one != other
    assert len({one, other, one}) == 2


def test_token_tells_content() -> None:
    def tokens(made: Code) -> str:
        return repr(made.__dask_tokenize__())

    assert tokens(parity(3)) == tokens(parity(3))
    assert tokens(parity(3)) != tokens(parity(4))
    assert "_decoder" not in tokens(parity(3))


def test_ready_weighs_amplification_against_tolerance() -> None:
    made = parity(8, 2, sub_blocks=1)
    have = losing(made, 0, 1)
    decoding = made.plan(have, 0)
    assert decoding is not None
    growth = decoding.amplification
    assert made.ready(have, 0, eps=1e-6, tolerance=growth * 1.01e-6)
    assert not made.ready(have, 0, eps=1e-6, tolerance=growth * 0.99e-6)
    assert not made.ready(losing(made, 0, 1, 2), 0, eps=1e-16, tolerance=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sub_blocks": 0}, "sub_blocks=0"),
        ({"sub_blocks": 2}, r"generator has shape \(3, 2\)"),
        ({"generator": np.ones(3)}, r"generator has shape \(3,\)"),
        ({"generator": np.full((3, 2), np.nan)}, "generator holds NaN"),
        ({"encodings": (np.ones((2, 2)),)}, r"encodings\[0\] has 2 rows, generator 3"),
        ({"target": np.eye(3)}, "target has 3 columns, generator 2"),
        ({"checks": np.ones((1, 4))}, "checks has 4 columns, generator 3 rows"),
    ],
)
def test_matrices_must_agree(changes: dict[str, object], message: str) -> None:
    rows = np.vstack([np.eye(2), np.ones((1, 2))])
    arguments: dict[str, object] = {
        "name": "wrong",
        "encodings": (rows,),
        "generator": rows,
        "target": np.eye(2),
    }
    with pytest.raises(ValueError, match=message):
        Code(**{**arguments, **changes})  # type: ignore[arg-type]
