"""Tasks that make the input of parity lanes: encoded operands and their row scales."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from dask._task_spec import GraphNode, List, Task, TaskRef

from dask_coded.codes import Code
from dask_coded.graph.doors import Door
from dask_coded.graph.names import fingerprint, layer_name
from dask_coded.kernels import RowWeights, encode_block, merge_levels, parity_dtype, row_levels

__all__ = ["Inputs"]

Key = tuple[Any, ...]
Place = tuple[int, ...]


def gather(*levels: Any) -> list[Any]:
    """Return its arguments as a list: the row scales of a group."""
    return list(levels)


class Inputs:
    """Encode and scale tasks of one operand for one membership of block rows.

    All groups whose members are the same block rows share them, whichever block
    column of the other operand they belong to.

    Parameters
    ----------
    door : Door
        The coded operand and its axis.
    rows : tuple of int
        Block rows of the group, in the code's order.
    places : frozenset of tuples of int
        Coordinates of the operand's blocks that a lane reads, without the row.
    code : Code
        Its coefficients for operand `number` are used.
    number : int
        Which of the code's operands this is.
    dtype : dtype-like
        dtype of the targets.
    scaled : bool
        Scale rows to one magnitude.
    """

    def __init__(
        self,
        door: Door,
        rows: Place,
        places: frozenset[Place],
        code: Code,
        number: int,
        dtype: Any,
        scaled: bool,
    ) -> None:
        self.door, self.rows, self.places = door, rows, sorted(places)
        self.code, self.number = code, number
        self.dtype = parity_dtype(door.operand.blocks.dtype, dtype)
        self.tasks: dict[Hashable, GraphNode] = {}
        self._own = tuple(
            _single(code.coefficients(piece, number), code.sub_blocks) for piece in range(code.n)
        )
        # A copy of a block is not scaled, and all parity of a group must be scaled alike.
        sums = all(self.own_row(piece) is None for piece in code.parity)
        self.scales = self._scales() if scaled and sums else None
        self._encoded: dict[bytes, int] = {}
        self._name = layer_name(
            "encode",
            door.operand.name,
            door.axis.axis,
            rows,
            fingerprint(code),
            number,
            self.length,
            self.dtype,
            self.scales,
        )

    @property
    def length(self) -> int:
        """Rows of an encoded block: the longest block's, rounded up to whole sub-blocks."""
        cut = self.code.sub_blocks
        return -(-max(self._lengths) // cut) * cut

    @property
    def _lengths(self) -> tuple[int, ...]:
        """Of the members along the coded axis."""
        return tuple(self.door.axis.lengths[row] for row in self.rows)

    def own_row(self, piece: int) -> int | None:
        """Return which member alone a piece takes its input from, or None if it is a sum."""
        return self._own[piece]

    def model_row(self, piece: int) -> int:
        """Return which member's lane the lane of a parity piece is a copy of: its own, or the longest."""
        own = self.own_row(piece)
        return max(range(len(self.rows)), key=self._lengths.__getitem__) if own is None else own

    def row_weights(self, piece: int) -> RowWeights | None:
        """Return what a parity piece weighs rows with, None where it takes those of one block as they are."""
        if self.own_row(piece) is not None:
            return None
        return RowWeights(self.code.coefficients(piece, self.number), self._lengths, self.length, self.dtype)

    def substitute(self, piece: int, key: Key) -> Key:
        """Return what a parity lane reads instead of door `key` of its model lane."""
        axis = self.door.axis.axis
        place = (*key[1 : 1 + axis], *key[2 + axis :])
        member = self.own_row(piece)
        if member is not None and self.door.axis.lengths[self.rows[member]] == self.length:
            return self._block(self.rows[member], place)
        # A shorter block that stands alone goes through encode_block too, which pads it.
        coefficients = self.code.coefficients(piece, self.number)
        index = self._encoded.setdefault(coefficients.tobytes(), len(self._encoded))
        encoded = (self._name, index, *place)
        if encoded not in self.tasks:
            self.tasks[encoded] = self._encode(encoded, coefficients, place)
        return encoded

    def _block(self, row: int, place: Place) -> Key:
        axis = self.door.axis.axis
        return (self.door.operand.name, *place[:axis], row, *place[axis:])

    def _encode(self, key: Key, coefficients: Any, place: Place) -> Task:
        return Task(
            key,
            encode_block,
            coefficients,
            List(*(TaskRef(self._block(row, place)) for row in self.rows)),
            None if self.scales is None else TaskRef(self.scales),
            axis=self.door.axis.axis,
            length=self.length,
            dtype=self.dtype.str,
        )

    def _scales(self) -> Key:
        """Make the task that yields the row levels of every member, and return its key."""
        axis = self.door.axis.axis
        name = layer_name("scale", self.door.operand.name, axis)
        merged = []
        for row in self.rows:
            parts = []
            for place in self.places:
                block = self._block(row, place)
                parts.append((name, *block[1:]))
                self.tasks[parts[-1]] = Task(parts[-1], row_levels, TaskRef(block), axis)
            if len(parts) > 1:
                whole = (layer_name("scale", self.door.operand.name, axis, "row", self.places), row)
                self.tasks[whole] = Task(whole, merge_levels, List(*map(TaskRef, parts)))
                parts = [whole]
            merged += parts
        key = (layer_name("scale", self.door.operand.name, axis, self.rows, self.places), 0)
        self.tasks[key] = Task(key, gather, *map(TaskRef, merged))
        return key


def _single(coefficients: Any, cut: int) -> int | None:
    """Return the block that these coefficients take unchanged, or None if they do anything else."""
    columns = np.flatnonzero(coefficients.any(axis=0))
    member = int(columns[0]) // cut if len(columns) == cut else 0
    mine = coefficients[:, member * cut : (member + 1) * cut]
    return member if len(columns) == cut and np.array_equal(mine, np.eye(cut)) else None
