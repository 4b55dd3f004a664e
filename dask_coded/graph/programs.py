"""Follow the lanes of encoded arrays through a graph, up to where they end.

::

    encoded ── transpose ── matmul ── sum ── target ── exp      the target's blocks can be
                    ╰────── program ───────────╯                decoded; exp reads plain blocks

Tasks are run on symbolic blocks (see `symbols`). Besides, the lanes of all block rows
must do the very same to their blocks: a parity lane is a copy of one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.utils import key_split

from dask_coded.graph.doors import EVERYWHERE, Door, Key
from dask_coded.graph.encoded import Encoded, EncodedAxis, encoded_arrays
from dask_coded.graph.find import Blocks, CodedAxis, Operand, Refusal, blocks_of, consumers
from dask_coded.graph.groups import Part
from dask_coded.graph.lanes import Lane
from dask_coded.graph.names import is_block, layer_name, name_part
from dask_coded.graph.symbols import Barrier, Symbol
from dask_coded.graph.walk import Walk

__all__ = ["Program", "find_programs"]


@dataclass(frozen=True)
class Program:
    """Layers from an encoded array to a target, whose lanes can be decoded.

    Parameters
    ----------
    target : str
        The last layer.
    layers : frozenset of str
        All of them.
    blocks : Blocks
        The target's.
    encoded : EncodedAxis
        The array, and along which axis its parity is used.
    axis : CodedAxis
        The coded axis, of the array and of the target.
    work : str
        The first layer that computes something; pieces are named after it.
    views : frozenset of str
        Those of `layers` that compute nothing; other programs may go through them too.
    beside : dict of str to str
        Layers that read the array, or a view of it, beside what they carry on: it is left as it is.
    entries : frozenset of str
        Those of `layers` that carry on the array itself.
    affine : bool
        Numbers are added on the way, the same to all rows along the coded axis.
    """

    target: str
    layers: frozenset[str]
    blocks: Blocks
    encoded: EncodedAxis
    axis: CodedAxis
    work: str
    views: frozenset[str]
    beside: Mapping[str, str]
    entries: frozenset[str]
    affine: bool

    @property
    def own(self) -> frozenset[str]:
        """The layers that no other program may go through."""
        return self.layers - self.views

    @property
    def layer(self) -> str:
        return self.target

    @property
    def operands(self) -> tuple[Operand, ...]:
        return (self.door.operand,)

    @property
    def door(self) -> Door:
        """Stands in for the array in these layers."""
        blocks = Blocks(self.encoded.chunks, np.dtype(self.encoded.dtype))
        name = layer_name("door", self.encoded.name, self.target)
        return Door(name, Operand(self.encoded.name, EVERYWHERE, (), blocks), self.axis)

    @property
    def label(self) -> str:
        """What a user would call it."""
        shape = tuple(map(sum, self.encoded.chunks))
        return f"{key_split(self.work)} {self.blocks.shape} of encoded {shape}"

    def parts(self, lanes: Mapping[Key, Lane]) -> Iterator[Part]:
        """Yield the groups: lanes of the array's own groups, where all of them are there."""
        at = 1 + self.axis.target_axis
        columns: dict[Key, dict[int, Lane]] = defaultdict(dict)
        for target, lane in lanes.items():
            columns[(*target[:at], *target[at + 1 :])][lane.rows[0]] = lane
        for column in columns.values():
            for cut in self.encoded.cuts:
                if all(row in column for row in cut):
                    yield Part(self.encoded.code(cut), (0,), (cut,), tuple(column[row] for row in cut))


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
    sources = {encoded.name: encoded for encoded in encoded_arrays(dsk)} | dict(known)
    sources = {name: encoded for name, encoded in sources.items() if name in dsk.layers}
    if not sources:
        return [], []
    keys = list(keys)
    culled = _culled(dsk, keys)
    readers = consumers(culled)
    requested = frozenset(map(name_part, keys))
    programs: list[Program] = []
    refusals: list[Refusal] = []
    for encoded in sources.values():
        if encoded.name in culled.layers:
            taken = {name for program in programs for name in program.own}
            trails = [_Trail(Walk(dsk, culled, axis), readers, requested, taken) for axis in encoded.axes]
            for trail in trails:
                trail.follow()
            programs += _apart([program for trail in trails for program in trail.programs])
            refusals += (refusal for trail in trails for refusal in trail.refusals)
    inside = {name for program in programs for name in program.layers}
    return programs, [refusal for refusal in dict.fromkeys(refusals) if refusal.layer not in inside]


def _apart(programs: list[Program]) -> list[Program]:
    """Return programs that do not compete for a layer; the longest win."""
    chosen: list[Program] = []
    for program in sorted(programs, key=lambda program: -len(program.layers)):
        if all(program.own.isdisjoint(other.own) for other in chosen):
            chosen.append(program)
    return [program for program in programs if program in chosen]


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
    programs: list[Program] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    #: For each layer at which lanes are open: all layers that they have come through.
    open: dict[str, set[str]] = field(default_factory=dict)
    #: The same for all layers that lanes have come through.
    reached: dict[str, set[str]] = field(default_factory=dict)

    def follow(self) -> None:
        """Go through the graph."""
        culled, source = self.walk.culled, self.walk.encoded.name
        self.open[source] = set()
        for name in culled._toposort_layers():
            before = culled.dependencies[name] & self.open.keys()
            if name == source or not before:
                continue
            ends = [one for one in before if one != source]
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
                self.programs.append(_program(self.walk, target, self.reached[target]))
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


def _program(walk: Walk, target: str, layers: set[str]) -> Program:
    """Return the lanes that end here.

    Raises
    ------
    Barrier
        They cannot be decoded, or that would be of no use.
    """
    blocks, axis, encoded = blocks_of(walk.dsk, target), walk.axes[target], walk.encoded
    if isinstance(blocks, str):
        raise Barrier(blocks)
    if axis is None or blocks.chunks[axis] != encoded.lengths:
        raise Barrier("its blocks along the coded axis are not those of the array")
    keys = [key for key in walk.culled.layers[target].get_output_keys() if is_block(key, target)]
    found = [(key, walk.seen[key]) for key in keys]
    forms = {(*key[1 : 1 + axis], *key[2 + axis :]): seen.form for key, seen in found}
    if any(key[1 + axis] != seen.row for key, seen in found):
        raise Barrier("its blocks along the coded axis are in another order")
    if any(forms[(*key[1 : 1 + axis], *key[2 + axis :])] != seen.form for key, seen in found):
        raise Barrier("it does not do the same to all blocks along the coded axis")
    if any(seen.value.constant for _, seen in found):
        raise Barrier("some of its blocks are made of constants alone")
    if not all(seen.value.work for _, seen in found):
        raise Barrier("nothing is computed on the way that would be worth decoding")
    _check_precision(blocks.dtype, np.dtype(encoded.dtype), [seen.value for _, seen in found])
    rows = tuple(sorted({seen.row for _, seen in found}))
    coded = CodedAxis(0, encoded.axis, axis, encoded.lengths, rows)
    return Program(
        target,
        frozenset(layers),
        blocks,
        encoded,
        coded,
        walk.work[target],
        frozenset(layers - walk.work.keys()),
        {name: plain for name, plain in walk.beside.items() if name in layers},
        frozenset(
            name
            for name in layers
            if encoded.name in walk.culled.dependencies[name] and walk.beside.get(name) != encoded.name
        ),
        any(seen.value.affine for _, seen in found),
    )


def _check_precision(result: np.dtype[Any], source: np.dtype[Any], values: Iterable[Symbol]) -> None:
    if source.kind in "iu":
        if result != source:
            raise Barrier(f"integers of {source} become {result}")
        return
    unit = float(np.finfo(result).eps)
    if any(value.unit > unit for value in values):
        raise Barrier(f"{result} is more precise than what it is made of: encode the array in that dtype")
