"""The trimming after `dask.array.map_overlap`, told as the slice that it is.

Each of its tasks is told where its block is and how many there are. So no two of them are
equal, though they do the same to blocks of different rows.
"""

from __future__ import annotations

import operator
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from dask._task_spec import GraphNode, Task, TaskRef
from dask.array import overlap

__all__ = ["as_slice"]

#: A private name of Dask's; where it is gone, lanes end at trimming.
TRIM = getattr(overlap, "_trim", None)


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
