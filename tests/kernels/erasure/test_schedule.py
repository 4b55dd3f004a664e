"""Schedules give back columns from the sums of the checks, whatever is in their room."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.kernels.erasure.schedule import schedule


@st.composite
def lost_columns(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
    prime = draw(st.sampled_from([3, 5, 7, 11, 17, 23]))
    points = draw(st.lists(st.integers(0, prime - 1), min_size=1, max_size=min(prime, 6), unique=True))
    return tuple(points), prime


@given(lost_columns())
def test_columns_come_back_from_their_sums(case: tuple[tuple[int, ...], int]) -> None:
    points, prime = case
    rng, lost = np.random.default_rng(len(points)), len(points)
    columns = rng.integers(1 << 62, size=(lost, prime))
    columns[:, -1] = 0
    found = schedule(points, prime)
    rows = rng.integers(1 << 62, size=found.rows)
    for check in range(lost):
        sums = np.zeros(prime, np.int64)
        for point, column in zip(points, columns, strict=True):
            sums ^= np.roll(column, check * point)
        rows[check * prime : (check + 1) * prime - 1] = sums[:-1]
    for target, sources in found.lines:
        rows[target] = np.bitwise_xor.reduce(rows[list(sources)], initial=0)
    np.testing.assert_array_equal(rows[: lost * prime].reshape(lost, prime)[:, :-1], columns[:, :-1])


@given(lost_columns())
def test_a_target_is_read_only_as_the_first_of_its_own_sources(case: tuple[tuple[int, ...], int]) -> None:
    """Executors write to it after they have read eight sources, or two."""
    for target, sources in schedule(*case).lines:
        assert target not in sources[1:]


@pytest.mark.parametrize("prime", [5, 11, 17])
def test_two_columns_take_two_additions_a_row_and_at_most_two_more(prime: int) -> None:
    """One more where a diagonal is followed from its other end, one to put a row in place."""
    for a in range(prime):
        for b in set(range(prime)) - {a}:
            lines = schedule((a, b), prime).lines
            assert sum(max(1, len(sources) - 1) for _, sources in lines) <= 4 * (prime - 1) + 1
