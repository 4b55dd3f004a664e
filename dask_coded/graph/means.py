"""Means over the coded axis, as sums that can be decoded and a count that is known.

Dask's mean of a block is a dict of both, which has no parity::

    lane ── mean_chunk ──                lane ── sum ── mean_chunk' ──
                                                    ╰ target    ╰ adds the count
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import product as grid
from typing import Any

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.array import chunk
from dask.array.reductions import mean_chunk
from dask.base import tokenize
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from dask_coded.graph.encoded import Encoded, arrays_in
from dask_coded.graph.find import Blocks, blocks_of
from dask_coded.graph.programs import find_programs
from dask_coded.graph.symbols import Barrier, Symbol

__all__ = ["with_totals"]


def with_totals(dsk: HighLevelGraph, keys: Iterable[Any], known: Mapping[str, Encoded]) -> HighLevelGraph:
    """Return the graph in which means at which lanes could end read sums of their own.

    Parameters
    ----------
    dsk, keys, known
        As for `find_programs`.
    """
    keys, arrays = list(keys), arrays_in(dsk, known).values()
    means = {name for name in dsk.layers if _is_mean(dsk, name)}
    if not means or not any(axis.unscaled for encoded in arrays for axis in encoded.axes):
        return dsk
    _, stops = find_programs(dsk, keys, known)
    ends = means.intersection(stop.layer for stop in stops)
    programs, _ = find_programs(_apart(dsk, ends), keys, known)
    targets = {program.target for program in programs}
    return _apart(dsk, {name for name in ends if _total(name) in targets})


def counted(total: Any, shape: tuple[int, ...], **kwargs: Any) -> Any:
    """Return what `mean_chunk` makes of a block of this shape, whose sum is known."""
    if isinstance(total, Symbol):
        raise Barrier("it takes means of sums over the coded axis, which are decoded")
    anything = np.broadcast_to(np.zeros_like(total, shape=()), shape)
    return mean_chunk(anything, sum=lambda block, **options: total, **kwargs)


def _is_mean(dsk: HighLevelGraph, name: str) -> bool:
    """Tell whether a layer takes means of blocks of one array, in Dask's usual way."""
    layer = dsk.layers[name]
    if not isinstance(layer, Blockwise) or len(layer.indices) != 1 or layer.io_deps or layer.new_axes:
        return False
    func, ((source, symbols),) = layer.task.func, layer.indices
    return (
        isinstance(func, partial)
        and func.func is mean_chunk
        and not func.args
        and func.keywords.keys() <= {"dtype"}
        and layer.task.kwargs.keys() <= {"axis", "keepdims"}
        and symbols == layer.output_indices
        and isinstance(blocks_of(dsk, source), Blocks)
    )


def _total(name: str) -> str:
    return f"sum-{tokenize(name)}"


def _apart(dsk: HighLevelGraph, means: Iterable[str]) -> HighLevelGraph:
    """Return the graph in which these layers read the sums of blocks."""
    layers, dependencies = dict(dsk.layers), dict(dsk.dependencies)
    for name in means:
        layer: Any = dsk.layers[name]
        ((source, _),) = layer.indices
        blocks, total = blocks_of(dsk, source), _total(name)
        assert isinstance(blocks, Blocks)
        dtype, options = layer.task.func.keywords, layer.task.kwargs
        layers[total] = Blockwise(
            total,
            layer.output_indices,
            Task(total, partial(chunk.sum, **dtype), *layer.task.args, **options),
            layer.indices,
            layer.numblocks,
            annotations=layer.annotations,
        )
        layers[total].collection_annotations = layer.collection_annotations
        tasks = {}
        for place in grid(*(range(len(lengths)) for lengths in blocks.chunks)):
            shape = tuple(lengths[i] for lengths, i in zip(blocks.chunks, place, strict=True))
            key = (name, *place)
            tasks[key] = Task(key, counted, TaskRef((total, *place)), shape, **dtype, **options)
        layers[name] = MaterializedLayer(tasks, annotations=layer.annotations)
        layers[name].collection_annotations = layer.collection_annotations
        dependencies |= {total: {source}, name: {total}}
    return HighLevelGraph(layers, dependencies)
