"""Doors: where lanes begin.

A product may read one array twice (``a @ a.T``), and the other operand may be
computed from the coded one. Which block row a target reads *through the coded
operand* would be lost among those. So the product gets *doors*: aliases of the
operand's blocks that only this operand of this product reads. A lane is all that
lies between a target and the doors. The doors vanish again in the end.

::

    a ─── door ── matmul ── sum ── target        lane of target (i, j): everything
    └──── transpose ──┘                          above the doors (i, *)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product as grid
from typing import Any

from dask._task_spec import Alias, GraphNode, convert_legacy_graph
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from dask_coded.graph.find import CodedAxis, Operand, Product
from dask_coded.graph.names import layer_name

__all__ = ["EVERYWHERE", "Door", "Flat", "Key", "add_doors", "remove_doors"]

Key = tuple[Any, ...]
Flat = dict[Any, GraphNode]

EVERYWHERE = -1  # position of an operand: a layer reads it through the door wherever it reads it


@dataclass(frozen=True)
class Door:
    """Stands in for one coded operand of a product, or for an encoded array in a program."""

    name: str
    operand: Operand
    axis: CodedAxis

    @classmethod
    def of(cls, product: Product, axis: CodedAxis) -> Door:
        operand = product.operands[axis.operand]
        return cls(layer_name("door", operand.name, product.layer, operand.position), operand, axis)

    def inside(self, key: Key) -> Key:
        """Return the operand's own key of a door."""
        return (self.operand.name, *key[1:])


def add_doors(dsk: HighLevelGraph, entries: Mapping[str, Iterable[Door]]) -> HighLevelGraph:
    """Return the graph in which these layers read their coded operands through doors."""
    layers = dict(dsk.layers)
    dependencies = {name: set(sources) for name, sources in dsk.dependencies.items()}
    for entry, doors in entries.items():
        for door in doors:
            name = door.operand.name
            counts = tuple(map(len, door.operand.blocks.chunks))
            layers[door.name] = _door_layer(door.name, name, counts)
            dependencies[door.name] = {name}
            dependencies[entry].add(door.name)
            layer = layers[entry]
            if isinstance(layer, Blockwise):
                layers[entry] = _blockwise_through(layer, door)
                still_read = name in layers[entry].numblocks
            else:
                keys = {key for one in dsk.dependencies[entry] for key in layers[one].get_output_keys()}
                layers[entry] = _tasks_through(layer, door, keys)
                still_read = False
            if not still_read:
                dependencies[entry].discard(name)
    return HighLevelGraph(layers, dependencies)


def _blockwise_through(layer: Blockwise, door: Door) -> Blockwise:
    name, position = door.operand.name, door.operand.position
    indices = list(layer.indices)
    for at, (source, symbols) in enumerate(indices):
        if symbols is not None and source == name and position in (EVERYWHERE, at):
            indices[at] = (door.name, symbols)
    numblocks = {**layer.numblocks, door.name: tuple(map(len, door.operand.blocks.chunks))}
    read = {source for source, symbols in indices if symbols is not None}
    return Blockwise(
        layer.output,
        layer.output_indices,
        layer.task,
        indices,
        {source: count for source, count in numblocks.items() if source in read},
        concatenate=layer.concatenate,
        new_axes=layer.new_axes,
        output_blocks=layer.output_blocks,
        annotations=layer.annotations,
        io_deps=layer.io_deps,
    )


def _tasks_through(layer: Any, door: Door, keys: set[Any]) -> MaterializedLayer:
    tasks = convert_legacy_graph(dict(layer), all_keys=keys | set(layer))
    through = {}
    for key, task in tasks.items():
        mine = [dep for dep in task.dependencies if isinstance(dep, tuple) and dep[0] == door.operand.name]
        found: dict[Any, Any] = {dep: (door.name, *dep[1:]) for dep in mine}
        through[key] = task.substitute(found, key=key) if found else task
    return MaterializedLayer(through, annotations=layer.annotations)


def _door_layer(door: str, name: str, counts: tuple[int, ...]) -> MaterializedLayer:
    return MaterializedLayer(
        {(door, *place): Alias((door, *place), (name, *place)) for place in grid(*map(range, counts))}
    )


def remove_doors(flat: Flat, doors: Iterable[Door]) -> Flat:
    """Return the graph in which tasks read the operands themselves again."""
    names = {door.name: door for door in doors}

    def inside(key: Any) -> Key | None:
        door = names.get(key[0]) if isinstance(key, tuple) and key else None
        return None if door is None else door.inside(key)

    cleaned: Flat = {}
    for key, task in flat.items():
        if inside(key) is not None:
            continue
        found: dict[Any, Any] = {door: real for door in task.dependencies if (real := inside(door))}
        cleaned[key] = task.substitute(found, key=key) if found else task
    return cleaned
