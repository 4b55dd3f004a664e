"""Slices of Dask's that tell each block where it is or how long, written as what they do to any block.

No two tasks of such a layer are equal, though they do the same to blocks of different rows:
those that trim after `dask.array.map_overlap`, and those that split blocks of unequal length.
"""

from __future__ import annotations

import operator
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from dask._task_spec import GraphNode, Task, TaskRef
from dask.array import chunk, overlap

__all__ = ["as_slice", "over_all_rows"]

#: A private name of Dask's; where it is gone, lanes end at trimming.
TRIM = getattr(overlap, "_trim", None)
GETITEMS = (operator.getitem, chunk.getitem)


@dataclass(frozen=True)
class _Asked:
    """Stands for a block, and answers with what it is asked for."""

    ndim: int

    def __getitem__(self, index: Any) -> Any:
        return index


def as_slice(task: GraphNode, functions: Container[Any], ndim: int) -> GraphNode:
    """Return a task that does the same to its block of `ndim` axes, as a slice if `task` trims."""
    if len(task.dependencies) != 1 or TRIM not in functions:
        return task
    (block,) = task.dependencies
    return Task(task.key, operator.getitem, TaskRef(block), task({block: _Asked(ndim)}))


def over_all_rows(task: GraphNode, ndim: int, axis: int, length: int) -> GraphNode:
    """Return a task that takes ``:`` along `axis` if `task` takes ``0:length`` there.

    Parameters
    ----------
    task : GraphNode
        Any task.
    ndim, axis, length : int
        Of the block that it reads.
    """
    if not isinstance(task, Task) or task.func not in GETITEMS or len(task.args) != 2:
        return task
    block, index = task.args
    if (
        not isinstance(index, tuple)
        or len(index) != ndim
        or not all(isinstance(i, slice | int) for i in index)
    ):
        return task
    if not isinstance(index[axis], slice) or index[axis].indices(length) != (0, length, 1):
        return task
    return Task(task.key, task.func, block, (*index[:axis], slice(None), *index[axis + 1 :]))
