"""Lanes: the tasks between the blocks of a coded operand and one target.

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

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product as grid
from typing import Any

from dask._task_spec import Alias, GraphNode
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from dask_coded.graph.find import CodedAxis, Operand, Product
from dask_coded.graph.names import layer_name

__all__ = ["Door", "Lane", "NotSeparable", "add_doors", "remove_doors", "trace"]

Key = tuple[Any, ...]
Flat = dict[Any, GraphNode]


class NotSeparable(Exception):
    """The tasks of a product do not fall apart into lanes; it is left alone."""


@dataclass(frozen=True)
class Door:
    """Stands in for one coded operand of one product."""

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


@dataclass(frozen=True)
class Lane:
    """The tasks of one target, inputs first, and the doors that they read.

    Parameters
    ----------
    target : key
        The target; last of `tasks`.
    tasks : tuple of keys
        Tasks that serve this target alone.
    doors : tuple of frozensets of keys
        For each door of the product: the blocks that are read.
    rows : tuple of int
        For each door: the one block row that is read.
    """

    target: Key
    tasks: tuple[Key, ...]
    doors: tuple[frozenset[Key], ...]
    rows: tuple[int, ...]


def add_doors(dsk: HighLevelGraph, products: Mapping[str, Iterable[Door]]) -> HighLevelGraph:
    """Return the graph in which product layers read their coded operands through doors."""
    layers = dict(dsk.layers)
    dependencies = {name: set(sources) for name, sources in dsk.dependencies.items()}
    for product, doors in products.items():
        layer = layers[product]
        assert isinstance(layer, Blockwise)
        indices = list(layer.indices)
        numblocks = dict(layer.numblocks)
        for door in doors:
            name = door.operand.name
            counts = tuple(map(len, door.operand.blocks.chunks))
            indices[door.operand.position] = (door.name, door.operand.symbols)
            numblocks[door.name] = counts
            layers[door.name] = _door_layer(door.name, name, counts)
            dependencies[door.name] = {name}
            dependencies[product].add(door.name)
        read = {name for name, symbols in indices if symbols is not None}
        gone = {door.operand.name for door in doors} - read
        dependencies[product] -= gone
        layers[product] = Blockwise(
            layer.output,
            layer.output_indices,
            layer.task,
            indices,
            {name: count for name, count in numblocks.items() if name not in gone},
            concatenate=layer.concatenate,
            new_axes=layer.new_axes,
            output_blocks=layer.output_blocks,
            annotations=layer.annotations,
            io_deps=layer.io_deps,
        )
    return HighLevelGraph(layers, dependencies)


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


def trace(flat: Flat, doors: tuple[Door, ...], targets: Collection[Key]) -> dict[Key, Lane]:
    """Return the lane of each target.

    Raises
    ------
    NotSeparable
        A task serves several targets, or a target reads several rows.
    """
    between = _above_doors(flat, {door.name for door in doors}, set(targets))
    owner: dict[Any, Key] = {}
    lanes = {}
    for target in sorted(targets):
        tasks = tuple(_below(flat, target, between))
        for task in tasks:
            if owner.setdefault(task, target) != target:
                raise NotSeparable(f"task {task} serves {owner[task]} and {target}")
        read = {key for task in tasks for key in flat[task].dependencies}
        lanes[target] = _lane(target, tasks, read, doors)
    if stray := between - owner.keys():
        raise NotSeparable(f"task {next(iter(stray))} reads the product outside its contraction")
    return lanes


def _lane(target: Key, tasks: tuple[Key, ...], read: set[Any], doors: tuple[Door, ...]) -> Lane:
    passed, rows = [], []
    for door in doors:
        mine = frozenset(key for key in read if isinstance(key, tuple) and key and key[0] == door.name)
        found = {key[1 + door.axis.axis] for key in mine}
        if found != {target[1 + door.axis.target_axis]}:
            raise NotSeparable(f"block {target} reads block rows {sorted(found)} of {door.operand.name}")
        passed.append(mine)
        rows.append(found.pop())
    return Lane(target, tasks, tuple(passed), tuple(rows))


def _above_doors(flat: Flat, doors: set[str], targets: set[Key]) -> set[Any]:
    """Return the tasks between the doors and the targets, targets included."""
    readers: dict[Any, list[Any]] = defaultdict(list)
    for key, task in flat.items():
        for dependency in task.dependencies:
            readers[dependency].append(key)
    work = [key for key in flat if isinstance(key, tuple) and key and key[0] in doors]
    between: set[Any] = set()
    while work:
        for reader in readers[work.pop()]:
            if reader not in between:
                between.add(reader)
                if reader not in targets:
                    work.append(reader)
    return between


def _below(flat: Flat, target: Key, between: set[Any]) -> Iterator[Key]:
    """Yield the tasks of `between` that `target` needs, inputs first."""
    seen: set[Any] = set()
    work: list[tuple[Any, bool]] = [(target, False)]
    while work:
        key, ready = work.pop()
        if ready:
            yield key
        elif key not in seen:
            seen.add(key)
            work.append((key, True))
            needed = flat[key].dependencies & between
            work.extend((dependency, False) for dependency in sorted(needed, key=str))
