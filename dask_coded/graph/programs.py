"""Follow the lanes of encoded arrays through a graph, up to where they end.

::

    encoded ── transpose ── matmul ── sum ── target ── exp      the target's blocks can be
                    ╰────── program ───────────╯                decoded; exp reads plain blocks

Tasks are run on symbolic blocks (see `symbols`). Besides, the lanes of all block rows
must do the very same to their blocks: a parity lane is a copy of one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dask.highlevelgraph import HighLevelGraph

from dask_coded.graph.encoded import Encoded, EncodedAxis, arrays_in
from dask_coded.graph.find import Refusal, consumers
from dask_coded.graph.names import name_part
from dask_coded.graph.program import Program, program_at
from dask_coded.graph.symbols import Barrier
from dask_coded.graph.walk import Walk

__all__ = ["find_programs"]


def find_programs(
    dsk: HighLevelGraph, keys: Iterable[Any], known: Mapping[str, Encoded]
) -> tuple[list[Program], list[Refusal]]:
    """Return the programs of a graph that run on encoded arrays, and what ends them.

    Parameters
    ----------
    dsk : HighLevelGraph
        Not optimized yet.
    keys : iterable of keys
        What is to be computed.
    known : dict
        Encoded arrays that may be in memory, by name; of those that the graph itself encodes,
        what is said here counts.
    """
    sources = arrays_in(dsk, known)
    if not sources:
        return [], []
    keys = list(keys)
    culled = _culled(dsk, keys)
    readers = consumers(culled)
    requested = frozenset(map(name_part, keys))

    every = [axis for encoded in sources.values() if encoded.name in culled.layers for axis in encoded.axes]

    def trail(axis: EncodedAxis, taken: set[str], views: frozenset[str]) -> _Trail:
        alike = tuple(other for other in every if other.name != axis.name and axis.is_alike(other))
        found = _Trail(Walk(dsk, culled, axis, alike), readers, requested, taken, views)
        found.follow()
        return found

    programs: list[Program] = []
    refusals: list[Refusal] = []
    for encoded in sources.values():
        if encoded.name in culled.layers:
            taken = {name for program in programs for name in program.own}
            found, ends = _of_one_array(encoded.axes, taken, trail)
            programs += found
            refusals += ends
    inside = {name for program in programs for name in program.layers}
    return programs, [refusal for refusal in dict.fromkeys(refusals) if refusal.layer not in inside]


def _of_one_array(
    axes: Iterable[EncodedAxis], taken: set[str], trail: Callable[..., _Trail]
) -> tuple[list[Program], list[Refusal]]:
    """Return the programs of an array beside those that have `taken` layers, and what ends them."""
    chosen: list[Program] = []
    refusals: list[Refusal] = []
    left = list(axes)
    while left:
        own = taken.union(*(program.own for program in chosen))
        views = frozenset[str]().union(*(program.views for program in chosen))
        trails = [trail(axis, own, views) for axis in left]
        found = _apart([program for one in trails for program in one.programs], chosen)
        chosen += found
        refusals += (refusal for one in trails for refusal in one.refusals)
        # What was left out for a longer program may do its part up to where they meet.
        lost = [one for one in trails if any(program not in found for program in one.programs)]
        left = [one.walk.encoded for one in lost] if found else []
    return chosen, refusals


def _apart(programs: list[Program], chosen: list[Program]) -> list[Program]:
    """Return programs that do not compete for a layer, nor with those that are chosen; the longest win."""
    apart: list[Program] = []
    for program in sorted(programs, key=lambda program: -len(program.layers)):
        if not any(_compete(program, other) for other in (*chosen, *apart)):
            apart.append(program)
    return [program for program in programs if program in apart]


def _compete(one: Program, other: Program) -> bool:
    return not (one.own.isdisjoint(other.layers) and other.own.isdisjoint(one.layers))


def _culled(dsk: HighLevelGraph, keys: list[Any]) -> HighLevelGraph:
    """Return what `keys` need, under the layers' own names."""
    found = {}
    for name, layer in dsk.cull(keys).layers.items():
        found[name if name in dsk.layers else name.rpartition("-")[0]] = layer
    return HighLevelGraph(found, {name: dsk.dependencies[name] & found.keys() for name in found})


@dataclass
class _Trail:
    """The programs of an array along one coded axis, while they are being found."""

    walk: Walk
    readers: Mapping[str, list[str]]
    requested: frozenset[str]
    #: Layers that other arrays are carried through.
    taken: set[str]
    #: Layers that other programs go through without computing anything.
    views: frozenset[str]
    programs: list[Program] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    #: For each layer at which lanes are open: all layers that they have come through.
    open: dict[str, set[str]] = field(default_factory=dict)
    #: The same for all layers that lanes have come through.
    reached: dict[str, set[str]] = field(default_factory=dict)

    def follow(self) -> None:
        """Go through the graph."""
        culled, sources = self.walk.culled, {array.name for array in self.walk.sources}
        self.open.update((source, set()) for source in sources)
        for name in culled._toposort_layers():
            before = culled.dependencies[name] & self.open.keys()
            if name in sources or not before:
                continue
            ends = [one for one in before if one not in sources]
            try:
                self._enter(name, before)
            except Barrier as barrier:
                self.refusals.append(Refusal(name, str(barrier)))
                self._close(ends)
                continue
            ends = [one for one in ends if one != self.walk.beside.get(name)]
            self.open[name] = self.reached[name] = {name}.union(*(self.open[one] for one in ends))
            for one in ends:
                if one in self.walk.work:
                    del self.open[one]
            if len(self.readers[name]) != 1 or name in self.requested:
                self._close([name])

    def _enter(self, name: str, before: set[str]) -> None:
        if name in self.taken:
            raise Barrier("another encoded array is carried through it")
        if name in self.views and before & self.walk.work.keys():
            raise Barrier("the array itself is carried through it along another axis")
        try:
            self.walk.enter(name)
        except Barrier:
            # As in X.T @ X: linear in either operand, if the other one is left as it is.
            for one in sorted(before - self.walk.work.keys()) if len(before) > 1 else ():
                with suppress(Barrier):
                    return self.walk.enter(name, plain=one)
            raise

    def _close(self, ends: Iterable[str]) -> None:
        """End lanes at these layers; the layers after them read plain blocks.

        A view stays open for whoever else reads it: each program has it to itself.
        """
        for end in ends:
            try:
                target = self._computed(end)
                self.programs.append(program_at(self.walk, target, self.reached[target]))
            except Barrier as barrier:
                self.refusals.append(Refusal(end, str(barrier)))
            if end in self.walk.work:
                del self.open[end]
                for key in self.walk.culled.layers[end].get_output_keys():
                    self.walk.seen.pop(key, None)

    def _computed(self, end: str) -> str:
        """Return the layer that computed something last: what is only added to that is left to plain Dask."""
        while self.walk.is_shifted(end):
            before = self.walk.culled.dependencies[end] & self.reached.keys() & self.walk.work.keys()
            if len(before) != 1:
                break
            (end,) = before
        return end
