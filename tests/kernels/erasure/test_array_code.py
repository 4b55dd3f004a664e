"""Which pieces are read for which, and how pieces are cut."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.errors import NotDecodable
from dask_coded.kernels.erasure import sources
from dask_coded.kernels.erasure.array_code import ArrayCode

CODES = st.builds(ArrayCode, st.integers(1, 20), st.integers(1, 6))


@given(CODES, st.integers(0, 3_000_000))
def test_stripes_cover_every_byte_once(code: ArrayCode, nbytes: int) -> None:
    end = 0
    for start, count, unit in code.runs(nbytes):
        assert start == end and count > 0 and 0 < unit * code.rows <= code.stripe
        end = start + count * unit * code.rows
    assert end == code.size(nbytes)
    assert nbytes <= code.size(nbytes) < nbytes + max(1, code.rows)


@given(CODES)
def test_tiles_are_whole_stripes(code: ArrayCode) -> None:
    assert code.tile % code.stripe == 0 < code.tile
    assert code.stripe % code.rows == 0


@given(CODES)
def test_the_prime_has_a_place_for_every_column(code: ArrayCode) -> None:
    assert all(code.prime % d for d in range(2, code.prime))
    assert code.r == 1 or code.prime >= code.columns
    assert code.rows < 2 * code.n


@given(CODES, st.data())
def test_a_repair_reads_enough_of_what_is_there(code: ArrayCode, data: st.DataObject) -> None:
    lost = data.draw(st.sets(st.integers(0, code.n - 1), max_size=code.r))
    wanted = data.draw(st.sets(st.sampled_from(sorted(lost)))) if lost else set()
    repair = code.repair(set(range(code.n)) - lost, wanted)
    assert code.k <= len(repair.sources) and not lost & set(repair.sources)
    assert wanted <= set(repair.outputs)
    assert len(repair.checks) == len(repair.erased) == len(set(repair.points))


@pytest.mark.parametrize("r", [1, 2, 3])
def test_one_lost_block_needs_only_the_others_and_their_xor(r: int) -> None:
    for lost in range(5):
        have = [piece for piece in range(5 + r) if piece != lost]
        assert sources(5, r, have, [lost]) == tuple(have[:5])


@pytest.mark.parametrize("code", [ArrayCode(3, 1), ArrayCode(4, 3), ArrayCode(2, 5)])
def test_too_few_pieces_raise_with_their_numbers(code: ArrayCode) -> None:
    for have in combinations(range(code.n), code.k - 1):
        with pytest.raises(NotDecodable, match=rf"{code.k - 1} of {code.n} pieces are left and {code.k} are"):
            code.repair(have, [])


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no pieces \[4\] in a group of 3 blocks and 1 parities"):
        sources(3, 1, [0, 1, 4], [2])
    for k, r in [(0, 1), (1, 0), (-1, 2)]:
        with pytest.raises(ValueError, match="give 1 or more blocks"):
            ArrayCode(k, r)
