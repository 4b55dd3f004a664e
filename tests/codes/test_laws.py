"""What holds for every code, over the matrix of all families."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from code_cases import CODES, apply, exact, patterns, rows, slow_decode, wanted_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.codes import FAMILIES, Code, local, parity, product, replication

ROUNDING = 2.0**-24  # of float32, the precision of the pieces in these tests

every_code = pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
few = settings(max_examples=15, deadline=None)


def subsets(code: Code) -> st.SearchStrategy[set[int]]:
    """Return sets of finished pieces, most of them with few losses: there the decisions are close."""
    lost = st.sets(st.integers(0, code.n - 1), max_size=code.n)
    few_lost = st.sets(st.integers(0, code.n - 1), max_size=code.n - code.k + 1)
    return (lost | few_lost).map(lambda gone: set(range(code.n)) - gone)


@every_code
@given(data=st.data())
@few
def test_decodable_is_the_row_space(code: Code, data: st.DataObject) -> None:
    have = data.draw(subsets(code))
    asked = sorted(data.draw(st.sets(st.sampled_from(range(code.q)), min_size=1, max_size=4)))
    expected = [w for w in asked if slow_decode(code, have, w) is not None]
    assert [w for w in asked if w in code.decodable(have)] == expected


@every_code
@given(data=st.data())
@few
def test_decodable_grows_with_what_is_finished(code: Code, data: st.DataObject) -> None:
    have = data.draw(subsets(code))
    more = have | data.draw(subsets(code))
    assert set(code.decodable(have)) <= set(code.decodable(more))


@every_code
@given(data=st.data())
@few
def test_pieces_that_are_not_helpful_add_nothing(code: Code, data: st.DataObject) -> None:
    own = set(code.systematic) - {-1}
    if len(own) < code.k:
        return  # `helpful` is asked of codes whose blocks are all pieces
    missing = data.draw(st.sets(st.sampled_from(sorted(own)), min_size=1))
    helpful = code.helpful(missing, code.parity)
    assert len(set(helpful)) == len(helpful) and set(helpful) <= set(code.parity)
    left = own - missing
    assert code.decodable(left | set(helpful)) == code.decodable(left | set(code.parity))


@every_code
def test_fewer_pieces_than_blocks_never_give_all(code: Code) -> None:
    needed = np.linalg.matrix_rank(code.target) // code.sub_blocks
    for first in range(code.n):
        have = [(first + step) % code.n for step in range(needed - 1)]
        assert len(code.decodable(have)) < code.q
    assert code.decodable(range(code.n)) == tuple(range(code.q))


@every_code
@given(data=st.data())
@few
def test_decoding_is_well_formed(code: Code, data: st.DataObject) -> None:
    have = data.draw(subsets(code))
    for wanted in range(code.q):
        decoding = code.plan(have, wanted)
        if decoding is None:
            continue
        m = code.sub_blocks
        assert set(decoding.used) <= have
        assert list(decoding.used) == sorted(set(decoding.used))
        assert decoding.weights.shape == (m, len(decoding.used) * m)
        assert not decoding.weights.flags.writeable
        left = decoding.weights @ code.generator[rows(code, decoding.used)] - wanted_rows(code, wanted)
        size = np.linalg.norm(wanted_rows(code, wanted))
        np.testing.assert_allclose(np.linalg.norm(left) / size, decoding.residual, rtol=1e-3, atol=1e-13)
        assert decoding.residual < 1e-9


@every_code
@given(data=st.data())
@few
def test_amplification_is_never_below_the_least(code: Code, data: st.DataObject) -> None:
    have = data.draw(subsets(code))
    for wanted in range(code.q):
        decoding, least = code.plan(have, wanted), slow_decode(code, have, wanted)
        if decoding is not None and least is not None and code.systematic[wanted] not in have:
            assert decoding.amplification >= least * (1 - 1e-6)


@every_code
@given(data=st.data())
@few
def test_any_order_gives_the_same(code: Code, data: st.DataObject) -> None:
    have = sorted(data.draw(subsets(code)))
    shuffled = data.draw(st.permutations(have))
    fresh = pickle.loads(pickle.dumps(code))
    for wanted in range(code.q):
        one, other = code.plan(have, wanted), fresh.plan(shuffled, wanted)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.used == other.used
            assert np.array_equal(one.weights, other.weights)


@every_code
@given(data=st.data())
@few
def test_finished_targets_pass_through(code: Code, data: st.DataObject) -> None:
    have = data.draw(subsets(code))
    for wanted, own in enumerate(code.systematic):
        if own in have:
            decoding = code.plan(have, wanted)
            assert decoding is not None
            assert decoding.used == (own,)
            assert np.array_equal(decoding.weights, np.eye(code.sub_blocks))
            assert decoding.amplification == 1
            assert code.ready(have, wanted, eps=1.0, tolerance=0.0)


@every_code
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@few
def test_decoded_blocks_are_right_within_the_amplification(
    code: Code, data: st.DataObject, seed: int
) -> None:
    have = data.draw(subsets(code))
    hidden = np.random.default_rng(seed).standard_normal((code.k * code.sub_blocks, 200))
    pieces = code.generator @ hidden
    rounded = pieces.astype(np.complex64 if np.iscomplexobj(pieces) else np.float32).astype(pieces.dtype)
    rounded.flags.writeable = False
    for wanted in code.decodable(have):
        decoding = code.plan(have, wanted)
        assert decoding is not None
        target = wanted_rows(code, wanted)
        error = apply(code, decoding, rounded) - target @ hidden
        size = np.linalg.norm(target, axis=1).max()
        typical = np.sqrt(np.mean(np.abs(error) ** 2, axis=1)).max()
        assert typical <= ROUNDING * decoding.amplification * size


@pytest.mark.parametrize("code", [c for c in CODES if exact(c)], ids=lambda code: code.name)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@few
def test_sums_decode_integers_exactly(code: Code, data: st.DataObject, seed: int) -> None:
    have = data.draw(subsets(code))
    hidden = np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, (code.k * code.sub_blocks, 3))
    pieces = code.generator.astype(np.int64) @ hidden
    for wanted in code.decodable(have):
        decoding = code.plan(have, wanted)
        assert decoding is not None
        # Double parity repairs some losses by halves of sums: those need other arithmetic.
        if np.array_equal(decoding.weights, np.rint(decoding.weights)):
            expected = wanted_rows(code, wanted).astype(np.int64) @ hidden
            assert np.array_equal(apply(code, decoding, pieces), expected)


@pytest.mark.parametrize(
    ("code", "losses"),
    [(parity(5), 1), (parity(4, 2), 1), (parity(12, 2), 1), (local(7, 3), 2), (replication(3, 3), 2)]
    + [(product(2, 2), 3), (product(2, 3), 3)],
    ids=lambda case: getattr(case, "name", None),
)
def test_sums_decode_by_whole_weights(code: Code, losses: int) -> None:
    for have in patterns(code, losses):
        for wanted in code.decodable(have):
            decoding = code.plan(have, wanted)
            assert decoding is not None
            assert np.array_equal(decoding.weights, np.rint(decoding.weights))
            assert decoding.residual == 0


@every_code
def test_pickling_keeps_everything_but_caches(code: Code) -> None:
    code.plan(range(1, code.n), 0)
    again = pickle.loads(pickle.dumps(code))
    assert repr(again) == repr(code)
    assert len(again.encodings) == len(code.encodings)
    pairs = [*zip(again.encodings, code.encodings, strict=True)]
    pairs += [(again.generator, code.generator), (again.target, code.target)]
    for one, other in pairs:
        assert np.array_equal(one, other)
        assert one.dtype == other.dtype
        assert not one.flags.writeable
    assert (again.checks is None) == (code.checks is None)
    assert pickle.dumps(again) == pickle.dumps(code)


@every_code
def test_pieces_are_products_of_encoded_operands(code: Code) -> None:
    for piece in range(code.n):
        row = code.coefficients(piece)
        for operand in range(1, len(code.encodings)):
            row = np.kron(row, code.coefficients(piece, operand))
        assert np.array_equal(row, code.generator[rows(code, [piece])])


@every_code
def test_given_checks_span_all_relations(code: Code) -> None:
    if code.checks is not None:
        np.testing.assert_allclose(code.checks @ code.generator, 0, atol=1e-12)
        relations = code.generator.shape[0] - np.linalg.matrix_rank(code.generator)
        assert np.linalg.matrix_rank(code.checks) == relations


def test_every_family_is_in_the_matrix() -> None:
    names = {code.name.split("(")[0] for code in CODES}
    assert set(FAMILIES) | {"kron", "block_diag", "extend"} <= names


@pytest.mark.parametrize("code", [c for c in CODES if c.name.split("(")[0] in FAMILIES], ids=lambda c: c.name)
def test_targets_are_the_first_pieces(code: Code) -> None:
    assert code.systematic == tuple(range(code.q))
    assert code.parity == tuple(range(code.q, code.n))
