"""Lanes: the tasks between the blocks of a coded operand and one target: see `doors`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dask_coded.graph.doors import EVERYWHERE, Door, Flat, Key

__all__ = ["Lane", "NotSeparable", "trace"]


class NotSeparable(Exception):
    """The tasks of a product do not fall apart into lanes; it is left alone."""


@dataclass(frozen=True)
class Lane:
    """The tasks of one target, inputs first, and the doors that they read.

    Parameters
    ----------
    target : key
        The target; last of `tasks`.
    tasks : tuple of keys
        Tasks that serve this target and no other block row.
    doors : tuple of frozensets of keys
        For each door of the product: the blocks that are read.
    rows : tuple of int
        For each door: the one block row that is read.
    shared : frozenset of keys
        Those of `tasks` that serve other targets of this row too.
    """

    target: Key
    tasks: tuple[Key, ...]
    doors: tuple[frozenset[Key], ...]
    rows: tuple[int, ...]
    shared: frozenset[Key] = frozenset()


def trace(flat: Flat, doors: tuple[Door, ...], targets: Collection[Key]) -> dict[Key, Lane]:
    """Return the lane of each target.

    Raises
    ------
    NotSeparable
        A task serves targets of several rows, or a target reads several rows.
    """
    between = _above_doors(flat, {door.name for door in doors}, set(targets))
    serves: dict[Any, list[Key]] = defaultdict(list)
    lanes = {}
    for target in sorted(targets):
        tasks = tuple(_below(flat, target, between))
        for task in tasks:
            serves[task].append(target)
        read = {key for task in tasks for key in flat[task].dependencies}
        lanes[target] = _lane(target, tasks, read, doors)
    for task, served in serves.items():
        if len({lanes[target].rows for target in served}) > 1:
            raise NotSeparable(f"task {task} serves {served[0]} and {served[-1]}")
    if stray := between - serves.keys():
        raise NotSeparable(f"task {next(iter(stray))} reads the product outside its contraction")
    common = {task for task, served in serves.items() if len(served) > 1}
    return {
        target: replace(lane, shared=frozenset(common.intersection(lane.tasks)))
        for target, lane in lanes.items()
    }


def _lane(target: Key, tasks: tuple[Key, ...], read: set[Any], doors: tuple[Door, ...]) -> Lane:
    passed, rows = [], []
    own = {key[0] for key in read if isinstance(key, tuple) and key}
    for door in doors:
        mine = frozenset(key for key in read if isinstance(key, tuple) and key and key[0] == door.name)
        found = {key[1 + door.axis.axis] for key in mine}
        if door.operand.position == EVERYWHERE and any(other.name in own for other in doors):
            # Of several encoded arrays a target may read some only.
            found.add(target[1 + door.axis.target_axis])
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
