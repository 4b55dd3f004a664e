"""Run rewritten graphs without a cluster, and decode by hand what a scheduler would decode."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np

from dask_coded.graph.optimizer import CodedOptimizer
from dask_coded.graph.settings import Settings
from dask_coded.runtime.group import Group
from dask_coded.runtime.quorum import Quorum
from dask_coded.runtime.tasks import decode_task


def rewritten(x: da.Array, **settings: Any) -> Any:
    """Return the graph of `x` after the coded optimizer; economics do not count unless asked for."""
    optimizer = CodedOptimizer(Settings(**{"force": True, **settings}))
    return optimizer(x.__dask_graph__(), x.__dask_keys__())


def groups(graph: Any) -> list[Group]:
    found = {task.group.name: task.group for task in graph.values() if isinstance(task, Quorum)}
    return list(found.values())


def as_lists(found: Any) -> Any:
    return [as_lists(each) for each in found] if isinstance(found, list | tuple) else found


def value(x: da.Array, graph: Any) -> np.ndarray:
    """Return the array that the graph yields for `x`."""
    found = np.asarray(da.core.concatenate3(as_lists(dask.get(graph, x.__dask_keys__()))))
    return found if x.ndim else found.reshape(())


def pieces(graph: Any, group: Group) -> dict[Any, Any]:
    """Compute everything that a decode of `group` may read."""
    keys = [*group.pieces, *([group.scales] if group.scales is not None else [])]
    return dict(zip(keys, dask.get(graph, keys), strict=True))


def decoded(group: Group, values: dict[Any, Any], index: int, lost: set[int]) -> np.ndarray:
    """Decode target `index` as the scheduler would, without the pieces `lost`."""
    decoding = group.code.plan(set(range(group.code.n)) - lost, index)
    assert decoding is not None
    task = decode_task(group, index, decoding, tuple(group.pieces[t] for t in decoding.used))
    return np.asarray(task({key: values[key] for key in task.dependencies}))


def error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if not expected.size:
        return 0.0
    wide = np.result_type(expected.dtype, "f8")
    scale = np.abs(expected.astype(wide)).max() or 1.0
    return float(np.abs(found.astype(wide) - expected.astype(wide)).max() / scale)
