"""Programs: layers from an encoded array to a target, whose lanes can be decoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask.utils import key_split

from dask_coded.graph.doors import EVERYWHERE, Door, Key
from dask_coded.graph.encoded import EncodedAxis
from dask_coded.graph.find import Blocks, Chunks, CodedAxis, Operand, blocks_of
from dask_coded.graph.groups import Part
from dask_coded.graph.lanes import Lane
from dask_coded.graph.names import is_block, layer_name
from dask_coded.graph.symbols import Barrier, Symbol
from dask_coded.graph.walk import Seen, Walk

__all__ = ["Program", "program_at"]


@dataclass(frozen=True)
class Program:
    """Layers from an encoded array, or several encoded alike, to a target whose lanes can be decoded.

    Parameters
    ----------
    target : str
        The last layer.
    layers : frozenset of str
        All of them.
    blocks : Blocks
        The target's.
    sources : tuple of EncodedAxis
        The arrays, and along which axis their parity is used.
    axis : CodedAxis
        The coded axis, of the first array and of the target.
    work : str
        The first layer that computes something; pieces are named after it.
    views : frozenset of str
        Those of `layers` that compute nothing; other programs may go through them too.
    beside : dict of str to str
        Layers that read the array, or a view of it, beside what they carry on: it is left as it is.
    entries : dict of str to frozenset of str
        For each array those of `layers` that carry on the array itself.
    affine : bool
        Numbers are added on the way, the same to all rows along the coded axis.
    summed : bool
        Rows along the coded axis are added up on the way: one is left of each block.
    addends : int
        Numbers that sums on the way add up at most.
    """

    target: str
    layers: frozenset[str]
    blocks: Blocks
    sources: tuple[EncodedAxis, ...]
    axis: CodedAxis
    work: str
    views: frozenset[str]
    beside: Mapping[str, str]
    entries: Mapping[str, frozenset[str]]
    affine: bool
    summed: bool
    addends: int

    @property
    def encoded(self) -> EncodedAxis:
        """The first array."""
        return self.sources[0]

    @property
    def own(self) -> frozenset[str]:
        """The layers that no other program may go through."""
        return self.layers - self.views

    @property
    def layer(self) -> str:
        return self.target

    @property
    def operands(self) -> tuple[Operand, ...]:
        return tuple(door.operand for door in self.doors)

    @property
    def doors(self) -> tuple[Door, ...]:
        """What stands in for each array in these layers."""
        return tuple(self._door(array) for array in self.sources)

    def _door(self, array: EncodedAxis) -> Door:
        operand = Operand(array.name, EVERYWHERE, (), Blocks(array.chunks, np.dtype(array.dtype)))
        axis = replace(self.axis, axis=array.axis)
        return Door(layer_name("door", array.name, self.target), operand, axis)

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


def program_at(walk: Walk, target: str, layers: set[str]) -> Program:
    """Return the lanes that end here.

    Raises
    ------
    Barrier
        They cannot be decoded, or that would be of no use.
    """
    blocks, axis = blocks_of(walk.dsk, target), walk.axes[target]
    entries = {array.name: _entries(walk, array.name, layers) for array in walk.sources}
    sources = tuple(array for array in walk.sources if entries[array.name])
    encoded = sources[0]
    if isinstance(blocks, str):
        raise Barrier(blocks)
    keys = [key for key in walk.culled.layers[target].get_output_keys() if is_block(key, target)]
    found = [(key, walk.seen[key]) for key in keys]
    summed = axis is not None and any(seen.value.summed for _, seen in found)
    if axis is not None:
        blocks = Blocks(_chunks(blocks.chunks, axis, found), blocks.dtype)
    lengths = (1,) * len(encoded.lengths) if summed else encoded.lengths
    if axis is None or blocks.chunks[axis] != lengths:
        raise Barrier("its blocks along the coded axis are not those of the array")
    _check_lanes(found, axis)
    _check_precision(blocks.dtype, np.dtype(encoded.dtype), [seen.value for _, seen in found])
    rows = tuple(sorted({seen.row for _, seen in found}))
    coded = CodedAxis(0, encoded.axis, axis, encoded.lengths, rows)
    return Program(
        target,
        frozenset(layers),
        blocks,
        sources,
        coded,
        walk.work[target],
        frozenset(layers - walk.work.keys()),
        {name: plain for name, plain in walk.beside.items() if name in layers},
        {array.name: entries[array.name] for array in sources},
        any(seen.value.affine for _, seen in found),
        summed,
        max(seen.value.addends for _, seen in found) * (max(encoded.lengths) if summed else 1),
    )


def _check_lanes(found: Sequence[tuple[Key, Seen]], axis: int) -> None:
    """Raise Barrier unless blocks of all rows come about alike, by work that a decode would spare."""
    forms = {(*key[1 : 1 + axis], *key[2 + axis :]): seen.form for key, seen in found}
    if any(key[1 + axis] != seen.row for key, seen in found):
        raise Barrier("its blocks along the coded axis are in another order")
    if any(forms[(*key[1 : 1 + axis], *key[2 + axis :])] != seen.form for key, seen in found):
        raise Barrier("it does not do the same to all blocks along the coded axis")
    if any(seen.value.constant for _, seen in found):
        raise Barrier("some of its blocks are made of constants alone")
    if not all(seen.value.work for _, seen in found):
        raise Barrier("nothing is computed on the way that would be worth decoding")


def _entries(walk: Walk, array: str, layers: Iterable[str]) -> frozenset[str]:
    """Return the layers that carry on an array itself."""
    return frozenset(
        name for name in layers if array in walk.culled.dependencies[name] and walk.beside.get(name) != array
    )


def _chunks(noted: Chunks, axis: int, found: Iterable[tuple[Key, Seen]]) -> Chunks:
    """Return the chunks of a target: Dask notes with the first step of a reduction those before it."""
    chunks = [list(lengths) for lengths in noted]
    for key, seen in found:
        for d, length in enumerate(seen.value.shape):
            if length >= 0 and (d != axis or seen.value.summed):
                chunks[d][key[1 + d]] = length
    return tuple(map(tuple, chunks))


def _check_precision(result: np.dtype[Any], source: np.dtype[Any], values: Iterable[Symbol]) -> None:
    if source.kind in "iu":
        if result != source:
            raise Barrier(f"integers of {source} become {result}")
        return
    unit = float(np.finfo(result).eps)
    if any(value.unit > unit for value in values):
        raise Barrier(f"{result} is more precise than what it is made of: encode the array in that dtype")
