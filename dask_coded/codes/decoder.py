"""The one decoder: from finished pieces to weights, for every family of codes.

Pieces obey relations, ``checks @ pieces == 0`` (a parity piece minus its blocks,
a row of a product grid minus its parity). A target starts out as its `origin`, a
combination of pieces some of which are missing; adding multiples ``y`` of the
checks rewrites it until the missing pieces cancel::

    weights = origin - y @ checks        with  y @ checks[:, missing] == origin[missing]

Work therefore grows with what is missing, not with what is there:

1. the target's own piece is finished: take it;
2. peel: a check with one missing piece gives that piece; follow such steps from
   the target backwards, and solve only for the checks in that chain, which reads
   few pieces (a row or a column of a product grid);
3. otherwise solve for all checks that touch the target's missing pieces. If
   there are more of them than missing pieces, the freedom left is spent on the
   least growth of rounding errors (minimum norm).

Step 3 also competes with step 2 where step 2 has coefficients other than whole
numbers: extra parity is read if growth falls by more than reads rise.

Sets of pieces are bit masks here: the search for single missing pieces runs in
the scheduler's event loop.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from dask_coded.codes.relations import (
    RANK_TOLERANCE,
    Matrix,
    expand,
    own_pieces,
    parity_checks,
    row_norms,
    touched,
)

__all__ = ["Decoder", "Decoding"]

#: Relative residual above which a target counts as not determined.
UNDETERMINED = 1e-6
#: Weights this small beside the largest are rounding noise of the solve.
NEGLIGIBLE = 1e-13
#: Weights this close to whole numbers are tried as whole numbers.
WHOLE = 1e-12
#: Coefficients this small beside the largest of their check are not divided by while peeling.
PIVOT = 1e-9
#: Decodings remembered for each code; `ready` and `plan` ask for the same one in turn.
REMEMBERED = 256


@dataclass(frozen=True, eq=False)
class Decoding:
    """How one target is computed from finished pieces.

    Parameters
    ----------
    used : tuple of int
        Pieces to read, ascending.
    weights : array of shape (m, len(used) * m)
        Column ``u * m + s`` weighs sub-block ``s`` of piece ``used[u]``, where m
        is the code's `sub_blocks`. Read-only.
    amplification : float
        Factor by which decoding multiplies rounding errors, against computing the
        block directly: the largest over the m rows of
        ``sqrt(sum_j weights_j**2 * |g_j|**2) / |w|``, with ``g_j`` the generator
        row of column j and ``w`` the target's row. Unchanged when parity pieces
        are rescaled.
    residual : float
        ``|w - weights @ generator[used]| / |w|``; about 0 for an exact decode.
    """

    used: tuple[int, ...]
    weights: Matrix
    amplification: float
    residual: float


def _members(mask: int) -> list[int]:
    """Return the pieces in a bit mask, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


class Decoder:
    """What planning a decode needs and that depends on the code alone, computed once.

    Parameters
    ----------
    generator, target, m, checks
        As in `dask_coded.codes.Code`; m is its `sub_blocks`.
    """

    def __init__(self, generator: Matrix, target: Matrix, m: int, checks: Matrix | None) -> None:
        self.generator, self.target, self.m = generator, target, m
        self.pieces = len(generator) // m
        own_checks, blocks = parity_checks(generator, m)
        self.checks: Matrix = own_checks if checks is None else checks
        self.norms = row_norms(generator)
        self.target_norms = row_norms(target)
        self.own = own_pieces(generator, target, m)
        self.origin = target @ blocks
        self.origin[np.abs(self.origin) < NEGLIGIBLE] = 0
        for w, piece in enumerate(self.own):
            if piece >= 0:
                self.origin[w * m : (w + 1) * m] = 0
                self.origin[w * m : (w + 1) * m, piece * m : (piece + 1) * m] = np.eye(m)
        self.goals = touched(self.origin, m)
        self.supports = touched(self.checks, m)
        self.pivots = self._pivots()
        self.costs = self._repair_costs()
        self._remembered: dict[tuple[int, int], Decoding | None] = {}

    def _pivots(self) -> list[int]:
        """Return for each check the bit mask of the pieces that it determines, all others given."""
        m = self.m
        blocks = self.checks.reshape(-1, m, self.pieces, m).swapaxes(1, 2)
        least = np.abs(blocks[..., 0, 0]) if m == 1 else np.linalg.svd(blocks, compute_uv=False)[..., -1]
        enough = least > PIVOT * np.abs(blocks).max(axis=(1, 2, 3), initial=0)[:, None]
        return [sum(1 << int(piece) for piece in np.flatnonzero(row)) for row in enough]

    def _repair_costs(self) -> list[list[float]]:
        """Return the squared growth of repairing each piece through each check.

        Exact where coefficients are numbers or units of a division algebra.
        """
        m = self.m
        squares = np.abs(self.checks * self.norms) ** 2
        share = squares.reshape(-1, m, self.pieces, m).sum(axis=(1, 3))
        with np.errstate(divide="ignore", invalid="ignore"):
            costs: list[list[float]] = (share.sum(axis=1, keepdims=True) / share).tolist()
        return costs

    def plan(self, have: Collection[int], wanted: int) -> Decoding | None:
        """Return the decoding of target `wanted` from pieces `have`, or None."""
        if not 0 <= wanted < len(self.own):
            raise ValueError(f"wanted={wanted}: the code has targets 0 to {len(self.own) - 1}")
        there = 0
        for piece in have:
            there |= 1 << int(piece)  # NumPy's integers would overflow
        if there >> self.pieces:
            raise ValueError(f"have={sorted(have)}: the code has pieces 0 to {self.pieces - 1}")
        own = self.own[wanted]
        if own >= 0 and there >> own & 1:
            there = 1 << own
        key = (there, wanted)
        if key not in self._remembered:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = self._recover(there, wanted)
        return self._remembered[key]

    def _recover(self, there: int, wanted: int) -> Decoding | None:
        goal = self.goals[wanted] & ~there
        if not goal:
            return self._decoding(self.origin[wanted * self.m : (wanted + 1) * self.m].copy(), wanted)
        chain = self._peel(there, goal)
        few = self._solve(chain, there, wanted) if chain else None
        if few is not None and np.array_equal(few.weights, np.rint(few.weights)):
            return few
        useful = self._useful(there, goal)
        if few is not None and len(useful) <= len(chain):
            return few
        many = self._solve(useful, there, wanted)
        if few is None or many is None:
            return few or many
        # Extra parity has to earn its reads.
        pays = many.amplification * len(many.used) < few.amplification * len(few.used)
        return many if pays else few

    def _peel(self, there: int, goal: int) -> list[int]:
        """Return a chain of checks that repair `goal` one missing piece at a time ([]: there is none)."""
        known, cause = there, dict[int, int]()
        while goal & ~known:
            found: dict[int, int] = {}
            for check, support in enumerate(self.supports):
                missing = support & ~known
                if missing & self.pivots[check] and not missing & (missing - 1):
                    piece = missing.bit_length() - 1
                    best = found.setdefault(piece, check)
                    if self.costs[check][piece] < self.costs[best][piece]:
                        found[piece] = check
            if not found:
                return []
            cause |= found
            for piece in found:
                known |= 1 << piece
        chain: set[int] = set()
        needed = _members(goal)
        while needed:
            check = cause[needed.pop()]
            if check not in chain:
                chain.add(check)
                needed += _members(self.supports[check] & ~there)
        return sorted(chain)

    def _useful(self, there: int, goal: int) -> list[int]:
        """Return the checks that can help to cancel the missing pieces in `goal`."""
        missing = {check: support & ~there for check, support in enumerate(self.supports)}
        missing = {check: gone for check, gone in missing.items() if gone}
        while True:
            # A missing piece that occurs in one check only, and is not wanted, makes this check useless.
            once = twice = 0
            for gone in missing.values():
                twice |= once & gone
                once |= gone
            alone = once & ~twice & ~goal
            kept = {check: gone for check, gone in missing.items() if not gone & alone & self.pivots[check]}
            if len(kept) == len(missing):
                break
            missing = kept
        reached, found = goal, set[int]()
        while more := [check for check, gone in missing.items() if check not in found and gone & reached]:
            found.update(more)
            for check in more:
                reached |= missing[check]
        return sorted(found)

    def _solve(self, chosen: list[int], there: int, wanted: int) -> Decoding | None:
        """Return the decoding that uses the checks `chosen`, of least growth if they leave a choice."""
        if not chosen:
            return None
        m, gone = self.m, self.goals[wanted] & ~there
        for check in chosen:
            gone |= self.supports[check] & ~there
        checks = self.checks[expand(chosen, m)]
        origin = self.origin[wanted * m : (wanted + 1) * m]
        lost = expand(_members(gone), m)
        if len(checks) == len(lost):
            try:
                factors = np.linalg.solve(checks[:, lost].T, origin[:, lost].T).T
            except np.linalg.LinAlgError:
                pass
            else:
                weights = origin - factors @ checks
                weights[:, lost] = 0
                decoding = self._decoding(weights, wanted)
                if decoding is not None:
                    return decoding
        weights = self._least_growth(checks, origin, lost)
        weights[:, lost] = 0
        return self._decoding(weights, wanted)

    def _least_growth(self, checks: Matrix, origin: Matrix, lost: Matrix) -> Matrix:
        left, values, right = np.linalg.svd(checks[:, lost])
        rank = int((values > RANK_TOLERANCE * values[0]).sum())
        to_factors = (right[:rank].conj().T / values[:rank]) @ left[:, :rank].conj().T
        weights: Matrix = origin - origin[:, lost] @ to_factors @ checks
        if rank < len(checks):
            # Combinations of checks in which nothing is missing are free to add: project them out.
            free = left[:, rank:].conj().T @ checks * self.norms
            _, sizes, basis = np.linalg.svd(free, full_matrices=False)
            # Checks that follow from one another leave combinations that are all noise.
            basis = basis[sizes > RANK_TOLERANCE * np.linalg.norm(checks * self.norms)]
            scaled = weights * self.norms
            weights = (scaled - scaled @ basis.conj().T @ basis) / self.norms
        return weights

    def _decoding(self, weights: Matrix, wanted: int) -> Decoding | None:
        """Clean `weights` (one column for each row of the generator), check and measure them."""
        m = self.m
        rows = slice(wanted * m, (wanted + 1) * m)
        target, size = self.target[rows], self.target_norms[rows]
        whole = np.rint(weights)
        if np.abs(weights - whole).max() < WHOLE and np.array_equal(whole @ self.generator, target):
            weights, residual = whole + 0.0, 0.0
        else:
            grown = np.abs(weights) * self.norms
            weights[grown < NEGLIGIBLE * grown.max()] = 0
            residual = float(np.linalg.norm(target - weights @ self.generator) / np.linalg.norm(size))
            if not residual < UNDETERMINED:
                return None
        columns = np.flatnonzero(weights.any(axis=0))
        used = tuple(dict.fromkeys((columns // m).tolist()))
        kept = weights[:, columns if m == 1 else expand(used, m)]
        kept.flags.writeable = False
        growth = float((np.linalg.norm(weights * self.norms, axis=1) / size).max())
        return Decoding(used, kept, growth, residual)
