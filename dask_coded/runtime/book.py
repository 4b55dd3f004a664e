"""What is known about one group: which pieces are in, late or dead, what is decoding."""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import cached_property

import numpy as np

from dask_coded.codes.code import Decoding
from dask_coded.runtime.group import Group

__all__ = ["Book"]

#: Decodes of one target that may be refused before its own piece is waited for.
REFUSALS = 3


class Book:
    """Progress of one group.

    A piece is *in* when its value is in memory, under its own key or, for a
    systematic piece, as a target that did not need decoding. Decoded targets
    are never sources: their rounding error would compound.
    """

    def __init__(self, group: Group, now: float) -> None:
        self.group = group
        self.since = now
        self.open = True
        self.sources: dict[int, Hashable] = {}
        self.late: dict[int, float] = {}
        self.dead: set[int] = set()
        self.launched: set[int] = set()
        #: Own pieces that are not computed, since their workers are slow; parity is, in their place.
        self.omitted: set[int] = set()
        #: When nothing else was awaited any more.
        self.alone_since = math.inf
        #: What parity is made of was released, and is dear to compute again.
        self.inputs_gone = False
        self.done: dict[int, bool] = {}
        self.gone: set[int] = set()
        #: Targets that may not be decoded.
        self.fixed: set[int] = set()
        self.decoding: dict[int, tuple[Decoding, tuple[Hashable, ...]]] = {}
        self.decodable_since: dict[int, float] = {}
        self.refused: dict[int, set[tuple[int, ...]]] = {}

    @cached_property
    def eps(self) -> float:
        dtype = np.dtype(self.group.dtype)
        return float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0.0

    @cached_property
    def piece_of(self) -> dict[Hashable, int]:
        return {key: t for t, key in enumerate(self.group.pieces)}

    @cached_property
    def target_of(self) -> dict[Hashable, int]:
        return {key: w for w, key in enumerate(self.group.targets)}

    @cached_property
    def own(self) -> tuple[int, ...]:
        return self.group.code.systematic

    @cached_property
    def parity(self) -> tuple[int, ...]:
        return self.group.code.parity

    @cached_property
    def kept(self) -> tuple[Hashable, ...]:
        """Keys that are held while the group is open: targets, and parity whose edges are lent."""
        return (*self.group.targets, *(self.group.pieces[t] for t in self.parity))

    @property
    def pending(self) -> list[int]:
        """Targets that somebody still waits for."""
        return [w for w in range(len(self.group.targets)) if w not in self.done and w not in self.gone]

    @property
    def have(self) -> frozenset[int]:
        return frozenset(self.sources)

    @property
    def usable_parity(self) -> list[int]:
        """Parity pieces that are in or may still come in time."""
        return [t for t in self.parity if t not in self.dead and (t not in self.late or t in self.sources)]

    def names(self, piece: int) -> tuple[Hashable, ...]:
        """Return the keys under which the value of a piece can be in memory."""
        targets = (self.group.targets[w] for w, own in enumerate(self.own) if own == piece)
        return (self.group.pieces[piece], *targets)

    def missing(self) -> list[int]:
        """Own pieces of pending targets that are late and not in."""
        late = {self.own[w] for w in self.pending if self.own[w] in self.late and w not in self.fixed}
        return sorted(late - self.sources.keys())

    def waiting(self) -> list[int]:
        """Pending targets whose own piece is not in, and that may be decoded, but are not yet."""
        settled = self.decoding.keys() | self.fixed
        return [w for w in self.pending if self.own[w] not in self.sources and w not in settled]

    def plan(self, index: int) -> Decoding | None:
        """Return how to decode target `index` from what is in, if that is accurate enough."""
        refused = self.refused.get(index, set())
        if len(refused) >= REFUSALS:
            return None
        found = self.plan_from(index, self.have)
        if found is None or found.used not in refused:
            return found
        for piece in found.used:
            if piece in self.parity:
                other = self.plan_from(index, self.have - {piece})
                if other is not None and other.used not in refused:
                    return other
        return None

    def plan_from(self, index: int, have: frozenset[int]) -> Decoding | None:
        """Return how to decode target `index` from the pieces `have`, if that is accurate enough."""
        code = self.group.code
        if self.eps and not code.ready(have, index, eps=self.eps, tolerance=self.group.tolerance):
            return None
        return code.plan(have, index)

    def arrived(self, piece: int, key: Hashable) -> None:
        """A piece's value is in memory under `key`."""
        if piece not in self.sources or key in self.target_of:
            self.sources[piece] = key
        self.late.pop(piece, None)
        self.omitted.discard(piece)

    def give_up(self, index: int) -> None:
        """Nobody waits for this target any more."""
        self.gone.add(index)
        self.done.pop(index, None)
        self.decoding.pop(index, None)
        self.decodable_since.pop(index, None)

    def lost(self, key: Hashable) -> list[int]:
        """`key` is no longer in memory; return the targets whose decode read it."""
        for piece, source in list(self.sources.items()):
            if source == key:
                del self.sources[piece]
        broken = [w for w, (_, sources) in self.decoding.items() if key in sources]
        for w in broken:
            del self.decoding[w]
        for w in list(self.decodable_since):
            if self.plan(w) is None:
                del self.decodable_since[w]
        return broken

    def is_overdue(self, now: float, patience: float) -> bool:
        """Tell whether nothing but what takes the place of omitted pieces is awaited, and for too long."""
        if not self.omitted.issuperset(self.own[index] for index in self.waiting()):
            self.alone_since = math.inf
            return False
        self.alone_since = min(self.alone_since, now)
        return now - self.alone_since > patience

    def close(self) -> None:
        """All targets are done: forget how they came about."""
        self.open = self.inputs_gone = False
        self.alone_since = math.inf
        for kept in (self.decoding, self.decodable_since, self.sources, self.late):
            kept.clear()
        for numbers in (self.launched, self.omitted, self.fixed):
            numbers.clear()

    def validate(self) -> None:
        """Check what must hold after every event; raise AssertionError if it does not."""
        assert not self.done.keys() & self.gone, "a target is both done and gone"
        assert not self.decoding.keys() & (self.done.keys() | self.gone), "decoding a settled target"
        assert not self.decoding.keys() & self.fixed, "decoding what must be its own piece"
        assert self.open or not self.pending, "closed with a target pending"
        assert not (self.open and not self.pending), "open with nothing pending"
        assert not self.dead & set(self.own), "an own piece is marked dead"
        for decoding, sources in self.decoding.values():
            assert len(decoding.used) == len(sources)
            assert all(key in self.names(t) for t, key in zip(decoding.used, sources, strict=True))
        assert not self.late.keys() & self.sources.keys(), "a piece is both late and in"
        assert self.omitted <= self.late.keys() & set(self.own), "omitted, but nothing takes its place"
