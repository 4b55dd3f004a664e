"""The functions that coded graphs run on workers besides the user's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from dask._task_spec import Alias, List, Task, TaskRef
from distributed.worker import get_worker

from dask_coded.codes.code import Decoding
from dask_coded.kernels import decode_block, levels_of_results
from dask_coded.runtime.group import Group

__all__ = ["DECODES", "TOPIC", "decode", "decode_task", "own_task", "prior_block", "same_sum", "substitute"]

#: Event topic under which workers tell the bound of each decode.
TOPIC = "dask-coded"
#: Rows of fewer elements have no norm to speak of: a single element can cancel to
#: nothing in plain Dask too. With scaled rows the block is judged as a whole instead.
ROWS_ARE_JUDGED = 4


def decode(weights: np.ndarray, pieces: list[Any], scales: Any, **spec: Any) -> Any:
    """Return a block from pieces of its group, or raise DecodeRefused.

    Parameters
    ----------
    weights : array of shape (m, m * len(pieces))
        One row for each of the m sub-blocks.
    pieces : list of arrays
        Systematic pieces and parity pieces.
    scales : list of arrays or None
        Row levels of each systematic piece.
    **spec
        See `dask_coded.kernels.decode_block`.
    """
    label = spec.pop("label")
    own: tuple[int, ...] = spec.pop("own")
    if spec.pop("affine") and scales is not None:
        scales = levels_of_results(scales)
    block, bound = decode_block(weights, pieces, own, scales, with_bound=True, **spec)
    try:
        worker = get_worker()
    except ValueError:
        return block
    worker.log_event(TOPIC, {"action": "decoded", "block": label, "bound": float(bound)})
    return block


def own_task(group: Group, index: int) -> Alias:
    """Return the task under which a target waits for its own piece."""
    return Alias(group.targets[index], group.pieces[group.code.systematic[index]])


def prior_block(block: Any) -> Any:
    """Return a block that may stand in for a late one."""
    return block


def substitute(prior: Any) -> Any:
    """Return a block of the prior in the place of a late one."""
    return prior


def same_sum(total: Any) -> Any:
    """Return a sum that was added up in another order."""
    return total


#: What the task of a target runs when it does not wait for its own piece.
DECODES = (decode, substitute, same_sum)


def decode_task(group: Group, index: int, decoding: Decoding, sources: tuple[Any, ...]) -> Task:
    """Return the task that yields target `index` from `sources`."""
    if group.substitutes:
        return Task(group.targets[index], substitute, TaskRef(sources[0]))
    if group.parts:
        return Task(group.targets[index], same_sum, TaskRef(sources[0]))
    shape = group.shapes[index]
    across = math.prod(n for axis, n in enumerate(shape) if axis != group.axis)
    row_of = {piece: row for row, piece in enumerate(group.code.systematic)}
    return Task(
        group.targets[index],
        decode,
        decoding.weights,
        List(*(TaskRef(key) for key in sources)),
        TaskRef(group.scales) if group.scales is not None else None,
        own=tuple(row_of.get(piece, -1) for piece in decoding.used),
        target=index if group.scales is not None else -1,
        axis=group.axis,
        length=group.length,
        shape=shape,
        dtype=group.dtype,
        tolerance=group.tolerance,
        by_row=group.scales is None or across >= ROWS_ARE_JUDGED,
        label=str(group.targets[index]),
        affine=group.affine,
        addends=group.addends,
    )
