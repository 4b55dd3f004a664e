"""Arrays that are encoded once: which blocks form groups, and how their parity is made.

Each coded axis has groups of its own: with parity along the rows and along the columns
a block is in one group of either kind.

An `Encoded` value travels in the array's layer, an `EncodedLayer`. The keys of its
parity follow from it alone, so every graph that reads the array names the same ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product as grid
from typing import Any

import numpy as np
from dask._task_spec import Alias
from dask.highlevelgraph import MaterializedLayer

from dask_coded import codes
from dask_coded.codes import Code
from dask_coded.graph.doors import EVERYWHERE, Door
from dask_coded.graph.find import Blocks, Chunks, CodedAxis, Operand
from dask_coded.graph.groups import parity_code
from dask_coded.graph.inputs import Inputs
from dask_coded.graph.names import fingerprint
from dask_coded.graph.settings import Settings
from dask_coded.runtime.encoded_group import EncodedGroup
from dask_coded.runtime.group import Group

__all__ = [
    "ROLE",
    "Encoded",
    "EncodedAxis",
    "EncodedLayer",
    "arrays_in",
    "encoded_arrays",
    "reads_encoded",
]

#: First word of the names of encoded arrays.
ROLE = "encoded"

Place = tuple[int, ...]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class EncodedAxis:
    """An axis of an array along which there is parity.

    Parameters
    ----------
    name : str
        Of the array: its blocks are ``(name, i, j, ...)``.
    chunks : tuple of tuples of int
        The array's.
    dtype : str
        The array's, as NumPy spells it.
    axis : int
        The coded axis.
    parity : int
        Parity blocks of a group.
    cuts : tuple of tuples of int
        Block rows of each group.
    explicit : Code, optional
        The code of all groups; otherwise one is chosen for each.
    scaled : bool
        Parity takes rows of floats scaled to one magnitude.
    """

    name: str
    chunks: Chunks
    dtype: str
    axis: int
    parity: int
    cuts: tuple[Place, ...]
    explicit: Code | None = None
    scaled: bool = True

    @property
    def lengths(self) -> tuple[int, ...]:
        """Chunk sizes along the coded axis."""
        return self.chunks[self.axis]

    @cached_property
    def uniform(self) -> bool:
        """Whether all blocks and all parity have the same length."""
        found = {self.inputs(cut).length for cut in self.cuts} | set(self.lengths)
        return len(found) == 1

    @cached_property
    def models_fit(self) -> bool:
        """Whether the blocks whose lanes parity lanes are copies of have parity's length."""
        return all(max(self.lengths[row] for row in cut) == self.inputs(cut).length for cut in self.cuts)

    @cached_property
    def unscaled(self) -> bool:
        """Whether the sum of a parity block's rows is parity of the sums of the blocks' rows."""
        return all(self.inputs(cut).scales is None and self.code(cut).sub_blocks == 1 for cut in self.cuts)

    def is_alike(self, other: EncodedAxis) -> bool:
        """Tell whether the sum of both arrays' parity is parity of the sum of both arrays."""
        return (
            self.unscaled
            and other.unscaled
            and (self.dtype, self.lengths, self.cuts) == (other.dtype, other.lengths, other.cuts)
            and all(fingerprint(self.code(cut)) == fingerprint(other.code(cut)) for cut in self.cuts)
        )

    @cached_property
    def places(self) -> frozenset[Place]:
        """Coordinates of blocks along the other axes."""
        others = [range(len(n)) for axis, n in enumerate(self.chunks) if axis != self.axis]
        return frozenset(grid(*others))

    def code(self, cut: Place) -> Code:
        """Return the code of a group."""
        if self.explicit is not None:
            return self.explicit
        if not self.scaled:  # sums of rows need a code that does not cut blocks, at best plain sums
            return codes.parity(len(cut), self.parity, 1)
        return parity_code(len(cut), self.parity, max(self.lengths[row] for row in cut))

    def inputs(self, cut: Place) -> Inputs:
        """Return the tasks that make a group's parity, as `Inputs` that nothing has asked yet."""
        blocks = Blocks(self.chunks, np.dtype(self.dtype))
        operand = Operand(self.name, EVERYWHERE, (), blocks)
        door = Door("", operand, CodedAxis(0, self.axis, self.axis, self.lengths, cut))
        scaled = self.scaled and blocks.dtype.kind in "fc"
        return Inputs(door, cut, self.places, self.code(cut), 0, self.dtype, scaled)

    def block(self, row: int, place: Place) -> Key:
        """Return the key of a block."""
        return (self.name, *place[: self.axis], row, *place[self.axis :])

    def groups(self) -> tuple[EncodedGroup, ...]:
        """Return all groups of blocks."""
        return tuple(group for cut in self.cuts for group in self._groups(cut))

    def _groups(self, cut: Place) -> Iterator[EncodedGroup]:
        """Yield the groups of some block rows: one for each place across the coded axis."""
        inputs, code = self.inputs(cut), self.code(cut)
        shared = dict(inputs.tasks)
        for place in sorted(self.places):
            blocks = tuple(self.block(row, place) for row in cut)
            own = dict(zip(code.systematic, blocks, strict=True))
            pieces = tuple(own.get(t) or inputs.substitute(t, blocks[0]) for t in range(code.n))
            parity: dict[Hashable, Any] = {
                pieces[t]: inputs.tasks[pieces[t]] for t in code.parity if pieces[t] in inputs.tasks
            }
            group = self._group(f"{self.axis}-{cut[0]}-{place}", inputs, pieces, blocks)
            yield EncodedGroup(group, {**shared, **parity})

    def _group(self, name: str, inputs: Inputs, pieces: tuple[Key, ...], blocks: tuple[Key, ...]) -> Group:
        dtype = np.dtype(self.dtype)
        return Group(
            name=f"{self.name}-{name}",
            code=inputs.code,
            pieces=pieces,
            targets=blocks,
            lanes=(),
            shapes=tuple(tuple(n[i] for n, i in zip(self.chunks, key[1:], strict=True)) for key in blocks),
            axis=self.axis,
            length=inputs.length,
            dtype=self.dtype,
            tolerance=Settings().tolerance_of(dtype),
            scales=inputs.scales,
            label=self.name,
        )


@dataclass(frozen=True)
class Encoded:
    """An array with parity along one axis or several, along each by itself.

    Parameters
    ----------
    axes : tuple of EncodedAxis
        Of one array; at least one.
    """

    axes: tuple[EncodedAxis, ...]

    @property
    def name(self) -> str:
        """Of the array."""
        return self.axes[0].name

    @property
    def chunks(self) -> Chunks:
        """The array's."""
        return self.axes[0].chunks

    def along_all_axes(self) -> Encoded:
        """Return the array as if there were parity along every axis that has several blocks."""
        coded = {axis.axis: axis for axis in self.axes}
        for number, lengths in enumerate(self.chunks):
            rows = tuple(row for row, length in enumerate(lengths) if length)
            if len(rows) > 1 and number not in coded:
                coded[number] = replace(self.axes[0], axis=number, cuts=(rows,), explicit=None)
        return Encoded(tuple(coded[number] for number in sorted(coded)))

    def groups(self) -> tuple[EncodedGroup, ...]:
        """Return all groups of blocks, one axis after the other."""
        return tuple(group for axis in self.axes for group in axis.groups())


class EncodedLayer(MaterializedLayer):  # type: ignore[misc]
    """The blocks of an array under new names, and what their parity is."""

    def __init__(self, mapping: Mapping[Any, Any], encoded: Encoded, annotations: Any = None) -> None:
        super().__init__(mapping, annotations=annotations)
        self.encoded = encoded

    @classmethod
    def of(cls, encoded: Encoded, source: str) -> EncodedLayer:
        """Return the layer that gives the blocks of array `source` to the encoded array."""
        places = grid(*(range(len(n)) for n in encoded.chunks))
        return cls({k: Alias(k, (source, *k[1:])) for k in ((encoded.name, *p) for p in places)}, encoded)


def encoded_arrays(dsk: Any) -> Iterator[Encoded]:
    """Yield the arrays that a graph encodes."""
    for layer in getattr(dsk, "layers", {}).values():
        if isinstance(layer, EncodedLayer):
            yield layer.encoded


def arrays_in(dsk: Any, known: Mapping[str, Encoded]) -> dict[str, Encoded]:
    """Return the encoded arrays in a graph, by name: those of `known`, and those that it encodes itself."""
    found = {encoded.name: encoded for encoded in encoded_arrays(dsk)} | dict(known)
    return {name: encoded for name, encoded in found.items() if name in dsk.layers}


def reads_encoded(dsk: Any) -> bool:
    """Tell whether an encoded array is in a graph, lazy or persisted."""
    return any(str(name).startswith(f"{ROLE}-") for name in getattr(dsk, "layers", ()))
