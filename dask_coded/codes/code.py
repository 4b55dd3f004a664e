"""The value that describes a code, and the value that describes a decode.

A code is data. Piece ``t`` of a coded computation is a known combination of
hidden blocks, and so is every target that the user wants::

    piece[t]  = sum_r generator[t, r] * hidden[r]
    target[w] = sum_r target[w, r]    * hidden[r]

A set of finished pieces yields a target exactly when the target's row lies in
the row space of the pieces' generator rows. That is the only rule: every family
in this package is a choice of matrices, its recovery threshold follows from
their rank, and one decoder (`dask_coded.codes.decoder`) serves them all.

With ``sub_blocks`` = m > 1 each block is cut in m groups of rows and every
coefficient is an m x m matrix, so all matrices have m rows for each piece and m
columns for each block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from dask_coded.codes.decoder import Decoder, Decoding
from dask_coded.codes.relations import Matrix, expand, own_pieces

__all__ = ["Code", "Decoding", "Matrix"]

Packed: TypeAlias = tuple[tuple[int, ...], Matrix, Matrix]


@dataclass(frozen=True, eq=False, repr=False)
class Code:
    """Coefficients of coded computation: what each piece is made of and what is wanted.

    Instances are immutable, cheap to pickle and compare by identity.

    Parameters
    ----------
    name : str
        Family and parameters, for people.
    encodings : tuple of arrays of shape (n * m, blocks * m)
        For each coded operand: how the input of each piece is made of the
        operand's blocks.
    generator : array of shape (n * m, R * m)
        What each piece is, in terms of the hidden blocks.
    target : array of shape (q * m, R * m)
        What is wanted, in the same terms.
    sub_blocks : int
        Groups of rows that a block is cut into (m).
    checks : array of shape (c * m, n * m), optional
        Relations between pieces, ``checks @ generator == 0``, that span all such
        relations. Only worth giving where sparser ones exist than those that tie
        each parity piece to its blocks: decodes then read fewer pieces.
    """

    name: str
    encodings: tuple[Matrix, ...]
    generator: Matrix
    target: Matrix
    sub_blocks: int = 1
    checks: Matrix | None = field(default=None)

    def __post_init__(self) -> None:
        # One copy of each array: the generator of a row code is its encoding.
        copies: dict[int, Matrix] = {}

        def frozen(matrix: Matrix) -> Matrix:
            return copies.setdefault(id(matrix), _frozen(matrix))

        object.__setattr__(self, "encodings", tuple(frozen(encoding) for encoding in self.encodings))
        object.__setattr__(self, "generator", frozen(self.generator))
        object.__setattr__(self, "target", frozen(self.target))
        if self.checks is not None:
            object.__setattr__(self, "checks", frozen(self.checks))
        _validate(self)

    @property
    def n(self) -> int:
        """Number of pieces."""
        return int(self.generator.shape[0]) // self.sub_blocks

    @property
    def q(self) -> int:
        """Number of targets."""
        return int(self.target.shape[0]) // self.sub_blocks

    @property
    def k(self) -> int:
        """Number of hidden blocks."""
        return int(self.generator.shape[1]) // self.sub_blocks

    @cached_property
    def systematic(self) -> tuple[int, ...]:
        """For each target the piece that equals it unchanged, or -1 where there is none."""
        return own_pieces(self.generator, self.target, self.sub_blocks)

    @cached_property
    def parity(self) -> tuple[int, ...]:
        """Pieces that are no target's own: the redundancy."""
        own = set(self.systematic)
        return tuple(piece for piece in range(self.n) if piece not in own)

    def coefficients(self, piece: int, operand: int = 0) -> Matrix:
        """Return how the input of `piece` is made of the blocks of coded operand `operand`.

        Returns
        -------
        array of shape (m, blocks * m)
        """
        if not 0 <= piece < self.n:
            raise ValueError(f"piece={piece}: {self.name} has pieces 0 to {self.n - 1}")
        if not 0 <= operand < len(self.encodings):
            raise ValueError(f"operand={operand}: {self.name} encodes {len(self.encodings)} operand(s)")
        m = self.sub_blocks
        return self.encodings[operand][piece * m : (piece + 1) * m]

    def plan(self, have: Collection[int], wanted: int) -> Decoding | None:
        """Return how to compute target `wanted` from the finished pieces `have`.

        Parameters
        ----------
        have : collection of int
            Finished pieces, in any order.
        wanted : int
            Index of a target.

        Returns
        -------
        Decoding or None
            None where `have` does not determine the target. The target's own
            piece, if finished, is taken as it is.
        """
        return self._decoder.plan(have, wanted)

    def ready(self, have: Collection[int], wanted: int, *, eps: float, tolerance: float) -> bool:
        """Return whether `have` yields target `wanted` with an error within `tolerance`.

        Parameters
        ----------
        have : collection of int
            Finished pieces.
        wanted : int
            Index of a target.
        eps : float
            Rounding unit of the arithmetic that made the pieces.
        tolerance : float
            Largest acceptable relative error. A target's own piece needs no
            arithmetic and is ready whatever the tolerance.
        """
        decoding = self.plan(have, wanted)
        if decoding is None:
            return False
        return decoding.used == (self.systematic[wanted],) or decoding.amplification * eps <= tolerance

    def decodable(self, have: Collection[int]) -> tuple[int, ...]:
        """Return the targets that the finished pieces `have` determine, ascending."""
        return tuple(wanted for wanted in range(self.q) if self.plan(have, wanted) is not None)

    def helpful(self, missing: Collection[int], among: Collection[int]) -> tuple[int, ...]:
        """Return which pieces can stand in for missing ones, in the order in which they are worth having.

        Parameters
        ----------
        missing : collection of int
            Systematic pieces that are not to be had.
        among : collection of int
            Other pieces, in order of preference.

        Returns
        -------
        tuple of int
            First those that tell something new about the missing pieces, one
            after the other; then those that would be spare; not those that tell
            nothing (the copy of another block).
        """
        m = self.sub_blocks
        hidden = np.flatnonzero(self.generator[expand(missing, m)].any(axis=0))
        known = np.empty((0, len(hidden)))
        rank = 0
        needed: list[int] = []
        spare: list[int] = []
        for piece in among:
            rows = self.generator[piece * m : (piece + 1) * m, hidden]
            if not rows.any():
                continue
            more = np.concatenate([known, rows])
            grown = rank if rank == len(hidden) else int(np.linalg.matrix_rank(more))
            (needed if grown > rank else spare).append(piece)
            known, rank = more, grown
        return (*needed, *spare)

    @cached_property
    def _decoder(self) -> Decoder:
        # Built on first use: clients make codes, only the scheduler decodes.
        return Decoder(self.generator, self.target, self.sub_blocks, self.checks)

    def __repr__(self) -> str:
        cut = f", sub_blocks={self.sub_blocks}" if self.sub_blocks > 1 else ""
        return f"<Code {self.name}: {self.n} pieces, {self.q} targets{cut}>"

    def __reduce__(self) -> tuple[Callable[..., Code], tuple[Any, ...]]:
        # Leaves caches behind.
        return _unpickle, self._packed()

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return "dask_coded.codes.Code", *self._packed()

    def _packed(self) -> tuple[str, tuple[Packed, ...], int, Packed | None]:
        """Return all there is, small: of 112 blocks and 2 octonion parities 60 kB instead of 13 MB."""
        matrices = (*self.encodings, self.generator, self.target)
        packed = {id(matrix): _pack(matrix) for matrix in matrices}
        checks = None if self.checks is None else _pack(self.checks)
        return self.name, tuple(packed[id(matrix)] for matrix in matrices), self.sub_blocks, checks


def _unpickle(name: str, packed: tuple[Packed, ...], sub_blocks: int, checks: Packed | None) -> Code:
    unpacked = {id(p): _unpack(p) for p in packed}
    *encodings, generator, target = (unpacked[id(p)] for p in packed)
    more = None if checks is None else _unpack(checks)
    return Code(name, tuple(encodings), generator, target, sub_blocks, more)


def _pack(matrix: Matrix) -> Packed:
    """Return shape, places and values of the coefficients other than 0."""
    places = np.flatnonzero(matrix)
    return matrix.shape, places.astype(np.uint32), matrix.ravel()[places]


def _unpack(packed: Packed) -> Matrix:
    shape, places, values = packed
    matrix = np.zeros(shape, values.dtype)
    matrix.ravel()[places] = values
    return matrix


def _frozen(matrix: Matrix) -> Matrix:
    """Return a read-only copy in double precision, with no negative zeros."""
    kind = complex if np.iscomplexobj(matrix) else float
    copy: Matrix = np.array(matrix, dtype=kind, order="C") + 0.0
    copy.flags.writeable = False
    return copy


def _validate(code: Code) -> None:
    m = code.sub_blocks
    if m < 1:
        raise ValueError(f"sub_blocks={m}: give 1 for codes with plain numbers as coefficients")
    named = {"generator": code.generator, "target": code.target}
    named |= {f"encodings[{o}]": encoding for o, encoding in enumerate(code.encodings)}
    if code.checks is not None:
        named["checks"] = code.checks
    for name, matrix in named.items():
        if matrix.ndim != 2 or matrix.shape[0] % m or matrix.shape[1] % m:
            raise ValueError(
                f"{name} has shape {matrix.shape}: give a matrix with sub_blocks={m} rows for each piece"
                f" and {m} columns for each block"
            )
        if not np.isfinite(matrix).all():
            raise ValueError(f"{name} holds NaN or infinity: give finite coefficients")
    rows = code.generator.shape[0]
    for o, encoding in enumerate(code.encodings):
        if encoding.shape[0] != rows:
            raise ValueError(
                f"encodings[{o}] has {encoding.shape[0]} rows, generator {rows}: give one for each piece"
            )
    if code.target.shape[1] != code.generator.shape[1]:
        raise ValueError(
            f"target has {code.target.shape[1]} columns, generator {code.generator.shape[1]}:"
            " both must be written in the same hidden blocks"
        )
    if code.checks is not None and code.checks.shape[1] != rows:
        raise ValueError(f"checks has {code.checks.shape[1]} columns, generator {rows} rows: make them agree")
