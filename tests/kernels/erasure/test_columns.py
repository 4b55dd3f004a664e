"""The pieces satisfy the parity checks of their code as the papers write them, byte for byte."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest

from dask_coded.kernels.erasure.array_code import ArrayCode
from dask_coded.kernels.erasure.checksums import RunningChecksum
from dask_coded.kernels.erasure.columns import collect, syndromes

CODES = [ArrayCode(k, r) for r in (1, 2, 3, 4, 6) for k in (1, 2, 4, 7)]

every_code = pytest.mark.parametrize("code", CODES, ids=lambda code: f"{code.k}+{code.r}")


def pieces_of(code: ArrayCode, nbytes: int) -> list[Any]:
    """Return blocks of random lengths, one of them `nbytes`, and their parity."""
    rng = np.random.default_rng(0)
    sizes = [nbytes, *rng.integers(0, nbytes + 1, code.k - 1)]
    blocks = [np.frombuffer(rng.bytes(int(size)), np.uint8) for size in sizes]
    return blocks + run(code, dict(enumerate(blocks)), range(code.k, code.n), nbytes)


def run(code: ArrayCode, have: dict[int, Any], wanted: Any, nbytes: int) -> list[Any]:
    repair = code.repair(have, wanted)
    sums = syndromes(repair, nbytes)
    for piece in repair.sources:
        first, last = piece == repair.sources[0], piece == repair.sources[-1]
        collect(repair, sums, [(piece, have[piece])], nbytes, [RunningChecksum()], last, first)
    found = dict(zip(repair.outputs, sums, strict=True))
    return [found[piece] for piece in wanted]


@every_code
@pytest.mark.parametrize("nbytes", [1, 53, 3000])
def test_parity_checks_hold(code: ArrayCode, nbytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_coded.kernels.erasure.array_code._LONGEST", 1)
    size, p = code.size(nbytes), code.prime
    pieces = [np.pad(piece, (0, size - piece.size)) for piece in pieces_of(code, nbytes)]
    starts = [
        (at, unit)
        for start, count, unit in code.runs(nbytes)
        for at in range(start, start + count * code.rows * unit, code.rows * unit)
    ]
    for start, unit in starts:
        rows = [piece[start : start + code.rows * unit].reshape(-1, unit) for piece in pieces]
        for check in range(code.r):
            sums = np.zeros((p, unit), np.uint8)
            for column in range(code.columns):
                for row in range(p - 1):
                    sums[(row + check * column) % p] ^= rows[column][row]
            right_side = rows[code.k + check] if code.columns < code.n and check else 0 * rows[0]
            np.testing.assert_array_equal(sums[:-1], right_side)


def test_row_diagonal_parity_of_the_paper() -> None:
    """Figure 1 of Corbett et al.: p = 5, 4 blocks; diagonal 4 is the missing one."""
    code = ArrayCode(4, 2)
    rng = np.random.default_rng(0)
    blocks = [np.frombuffer(rng.bytes(4), np.uint8) for _ in range(4)]
    row, diagonal = run(code, dict(enumerate(blocks)), [4, 5], 4)
    disks = [*blocks, row]
    for i in range(4):
        assert row[i] == blocks[0][i] ^ blocks[1][i] ^ blocks[2][i] ^ blocks[3][i]
        expected = 0
        for disk in range(5):
            if (i - disk) % 5 != 4:
                expected ^= int(disks[disk][(i - disk) % 5])
        assert diagonal[i] == expected


@every_code
def test_any_k_pieces_give_all_others(code: ArrayCode) -> None:
    nbytes = 41
    pieces = pieces_of(code, nbytes)
    sizes = range(1, code.r + 1)
    patterns = list(chain.from_iterable(combinations(range(code.n), size) for size in sizes))
    for lost in patterns[:: 1 + len(patterns) // 300]:
        have = {piece: pieces[piece] for piece in range(code.n) if piece not in lost}
        for piece, found in zip(lost, run(code, have, lost, nbytes), strict=True):
            np.testing.assert_array_equal(found[: pieces[piece].size], pieces[piece])
            assert not found[pieces[piece].size :].any()


@pytest.mark.parametrize("code", [ArrayCode(5, 2), ArrayCode(5, 3), ArrayCode(4, 4)], ids=str)
def test_long_pieces(code: ArrayCode) -> None:
    nbytes = 2 * code.tile + code.stripe + 12_345
    pieces = pieces_of(code, nbytes)
    lost = range(code.r)
    have = {piece: pieces[piece] for piece in range(code.n) if piece not in lost}
    for piece, found in zip(lost, run(code, have, lost, nbytes), strict=True):
        np.testing.assert_array_equal(found[: pieces[piece].size], pieces[piece])
