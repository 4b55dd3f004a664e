from __future__ import annotations

import numpy as np
import pytest
from code_cases import code, losing, patterns, slow_decode, vandermonde

from dask_coded.codes import Code, parity


def test_sum_parity_by_hand() -> None:
    decoding = parity(3).plan({0, 2, 3}, 1)
    assert decoding is not None
    assert decoding.used == (0, 2, 3)
    assert decoding.weights.tolist() == [[-1, -1, 1]]
    assert decoding.amplification == pytest.approx(np.sqrt(5))
    assert decoding.residual == 0


def test_finished_sum_is_the_reduction() -> None:
    total = code(np.vstack([np.eye(3), np.ones((1, 3))]), np.ones((1, 3)))
    assert total.systematic == (3,)
    late = total.plan({0, 1, 2}, 0)
    early = total.plan({3}, 0)
    assert late is not None and early is not None
    assert (late.used, late.weights.tolist()) == ((0, 1, 2), [[1, 1, 1]])
    assert early.used == (3,)
    assert total.plan({0, 1}, 0) is None


def test_target_that_no_piece_gives() -> None:
    assert code(np.eye(2)[:1], np.eye(2)).decodable({0}) == (0,)


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_least_growth_without_spare_pieces_or_with_all(losses: int) -> None:
    # Without systematic pieces there is nothing to peel: every decode is the minimum-norm one.
    made = code(vandermonde(8, 5), np.eye(5))
    for have in patterns(made, losses):
        for wanted in range(5):
            decoding, least = made.plan(have, wanted), slow_decode(made, have, wanted)
            assert decoding is not None and least is not None
            assert decoding.amplification == pytest.approx(least, rel=1e-6)


def test_extra_parity_lowers_the_growth() -> None:
    made = parity(8, 3, sub_blocks=1)
    enough = made.plan(losing(made, 0, 1, 8), 0)
    spare = made.plan(losing(made, 0, 1), 0)
    assert enough is not None and spare is not None
    assert spare.amplification < 0.7 * enough.amplification


def test_whole_weights_beat_a_little_less_growth() -> None:
    made = parity(8, 2)
    decoding = made.plan(losing(made, 3), 3)
    assert decoding is not None
    assert set(np.unique(decoding.weights)) == {-1, 0, 1}
    assert decoding.used == (0, 1, 2, 4, 5, 6, 7, 8)


def test_growth_ignores_the_scale_of_parity() -> None:
    made = parity(6, 2, sub_blocks=1)
    scaled = made.generator * np.array([1] * 6 + [1024, 2.0**-10])[:, None]
    other = Code("scaled", (scaled,), scaled, made.target)
    for have in patterns(made, 2):
        for wanted in made.decodable(have):
            one, two = made.plan(have, wanted), other.plan(have, wanted)
            assert one is not None and two is not None
            assert one.amplification == pytest.approx(two.amplification, rel=1e-9)


def test_arguments_are_checked() -> None:
    made = parity(3)
    with pytest.raises(ValueError, match="wanted=3: .* targets 0 to 2"):
        made.plan({0}, 3)
    with pytest.raises(ValueError, match=r"have=\[0, 4\]: .* pieces 0 to 3"):
        made.plan({4, 0}, 0)


def test_remembered_decodings_are_bounded() -> None:
    made = parity(12)
    for pattern in range(2**12):
        made.plan([piece for piece in range(1, 13) if pattern >> (piece - 1) & 1], 0)
    assert len(made._decoder._remembered) <= 256


def test_numpy_integers_serve_as_pieces() -> None:
    made = parity(80)
    decoding = made.plan(set(np.arange(1, 81)), 0)
    assert decoding is not None
    assert decoding.used == tuple(range(1, 81))
