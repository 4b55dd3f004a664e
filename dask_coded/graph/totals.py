"""Sums over the coded axis as one target: parity of plain sums yields them, however many lanes are late.

Dask adds up the sums of blocks in a tree. Where the parity of each group is the plain sum
of its blocks, the same tree over parity, with zeros for the rest, has the same result::

    s0 ─╮                        p ─╮
    s1 ─┼─ sum-partial ─ sum     0 ─┼─ sum-partial' ─ parity ──► quorum task under the
    s2 ─╯                        0 ─╯                            sum's old key
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from dask import _task_spec
from dask._task_spec import Alias, Task, TaskRef, convert_legacy_graph
from dask.array import chunk
from dask.array.core import _concatenate2
from dask.array.reductions import mean_agg, mean_combine
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from dask_coded import codes
from dask_coded.graph.doors import Flat
from dask_coded.graph.find import consumers
from dask_coded.graph.means import counted
from dask_coded.graph.names import is_block, renamed
from dask_coded.runtime.group import Group

__all__ = ["totals", "tree_layers"]

#: What trees of sums and means are made of; private names of Dask's may be gone one day.
ADDING = frozenset(
    {np.sum, chunk.sum, mean_combine, mean_agg, counted, _concatenate2}
    | {getattr(_task_spec, name, None) for name in ("_identity_cast", "_execute_subgraph")}
)
#: Options that change nothing about that.
OPTIONS = frozenset({"axis", "axes", "keepdims", "dtype", "typ"})


def tree_layers(dsk: HighLevelGraph, target: str) -> set[str]:
    """Return the layers that add up the blocks of a layer, which Dask must not fuse with others."""
    readers = consumers(dsk)
    found: set[str] = set()
    work = list(readers[target])
    while work:
        name = work.pop()
        keys = {key for one in (name, *dsk.dependencies[name]) for key in dsk.layers[one].get_output_keys()}
        if name not in found and all(map(_adds, convert_legacy_graph(dict(dsk.layers[name]), keys).values())):
            found.add(name)
            work += readers[name]
    return found


def totals(
    flat: Flat, target: str, groups: Sequence[Group], requested: Collection[Any]
) -> Iterator[tuple[Group, Flat]]:
    """Yield a group for each sum of all targets of some groups, and its pieces' tasks.

    Parameters
    ----------
    flat : dict
        The graph before anything was coded.
    target : str
        The layer whose blocks are the targets of `groups`: sums over the coded axis.
    groups : sequence of Group
        What was made of it.
    requested : collection of keys
        What is to be computed.
    """
    sums = {group.name: plain_sum(group) for group in groups}
    if None in sums.values():
        return
    below = _trees(flat, {key for key in flat if is_block(key, target)}, requested)
    group_of = {key: group for group in groups for key in group.targets}
    for root, tasks in below.items():
        read = _read(flat, tasks)
        mine = {group_of[key].name: group_of[key] for key in read if key in group_of}
        if mine and all(read.issuperset(group.targets) for group in mine.values()):
            yield _total(flat, root, tasks, list(mine.values()), sums)


def plain_sum(group: Group) -> Any:
    """Return the parity piece that is the sum of all targets, or None."""
    code = group.code
    found = (t for t in code.parity if code.sub_blocks == 1 and (code.generator[t] == 1).all())
    return next((group.pieces[t] for t in found), None)


def _trees(flat: Flat, targets: set[Any], requested: Collection[Any]) -> dict[Any, set[Any]]:
    """Return for each sum of targets the tasks that add them up; nothing if anything else reads some."""
    readers: dict[Any, list[Any]] = defaultdict(list)
    for key, task in flat.items():
        for dependency in task.dependencies:
            readers[dependency].append(key)
    below: dict[Any, set[Any]] = {}
    work = [reader for key in targets for reader in readers[key]]
    while work:
        key = work.pop()
        read = flat[key].dependencies
        if key not in below and read <= targets | below.keys() and _adds(flat[key]):
            below[key] = {key}.union(*(below[task] for task in read if task in below))
            work += readers[key]
    inner = {key for key in below if readers[key] and below.keys() >= set(readers[key])}
    roots = below.keys() - inner
    outside = any(reader not in below for key in targets for reader in readers[key])
    served = Counter(key for root in roots for key in _read(flat, below[root]))
    if outside or any(count > 1 for count in served.values()) or not (targets | inner).isdisjoint(requested):
        return {}
    return {root: below[root] for root in roots}


def _read(flat: Flat, tasks: set[Any]) -> set[Any]:
    """Return what these tasks read that none of them makes."""
    return {key for task in tasks for key in flat[task].dependencies} - tasks


def _adds(value: Any) -> bool:
    """Tell whether a task, or an argument of one, does nothing but add up what it reads."""
    if isinstance(value, Alias):
        return True
    if isinstance(value, Task):
        return value.kwargs.keys() <= OPTIONS and all(map(_adds, (value.func, *value.args)))
    if isinstance(value, partial):
        return value.keywords.keys() <= OPTIONS and all(map(_adds, (value.func, *value.args)))
    if hasattr(value, "first") and hasattr(value, "funcs"):  # toolz.compose
        return all(map(_adds, (value.first, *value.funcs)))
    if isinstance(value, Mapping):
        return all(map(_adds, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_adds, value))
    return not callable(value) or isinstance(value, type | TaskRef) or value in ADDING


def _total(
    flat: Flat, root: Any, tasks: set[Any], groups: list[Group], sums: Mapping[str, Any]
) -> tuple[Group, Flat]:
    salt = tokenize(root, [group.name for group in groups])
    own = renamed("piece", root, salt)
    made: Flat = {own: flat[root].substitute({}, key=own)}
    replaced: dict[Any, Any] = {key: renamed("parity", key, salt, 0) for key in tasks}
    for group in groups:
        parity = sums[group.name]
        zeros = renamed("parity", parity, salt, title="zeros")
        made[zeros] = Task(zeros, np.zeros_like, TaskRef(parity))
        replaced |= {key: parity if key == group.targets[0] else zeros for key in group.targets}
    made |= {replaced[key]: flat[key].substitute(replaced, key=replaced[key]) for key in tasks}
    lanes = [key for group in groups for t in group.code.systematic for key in group.lanes[t]]
    return Group(
        name=salt,
        code=codes.replication(1, 2),
        pieces=(own, replaced[root]),
        targets=(root,),
        lanes=(tuple(dict.fromkeys([*lanes, own])), tuple(key for key in made if key != own)),
        shapes=((),),
        axis=0,
        length=1,
        dtype=groups[0].dtype,
        tolerance=groups[0].tolerance,
        late=groups[0].late,
        label=groups[0].label,
        parts=tuple(group.name for group in groups),
    ), made
