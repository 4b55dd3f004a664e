"""Go on with blocks of the iteration before where new ones do not come in time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as grid
from math import isnan
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from dask_coded.codes import replication
from dask_coded.graph.cost import LARGEST_GROUP
from dask_coded.graph.groups import balanced
from dask_coded.install import current_client, install
from dask_coded.runtime.group import Group
from dask_coded.runtime.quorum import Quorum
from dask_coded.runtime.tasks import prior_block

__all__ = ["substitute"]


def substitute(y: da.Array, prior: Any, patience: float = 1.0) -> da.Array:
    """Return `y`, some blocks of it those of `prior` where its own do not come in time.

    Iterations that bear some noise (power iteration, PageRank, gradient descent) need not
    wait for the last blocks of an iterate: those of the iterate before nearly do. Used
    only where you ask for it: **the result depends on what was late**. `report` counts the
    blocks (``substituted``), and tells how much of a result was not new at most
    (``max_residual``: the square root of the share of blocks, in each group of up to 16).

    Parameters
    ----------
    y : dask.array.Array
        The new iterate, coded or not.
    prior : array-like
        Of the shape of `y`: the last iterate, a guess, or zeros to leave out what is late.
    patience : float
        Seconds that are granted to the other blocks once more than half of those of a
        group are there. Late blocks that parity can decode come before that.

    Returns
    -------
    dask.array.Array
        With the chunks and the dtype of `y`. Without a distributed client it is `y`.

    Raises
    ------
    TypeError
        `y` is no Dask array, or the dtype of `prior` cannot be that of `y`.
    ValueError
        The shapes differ, chunks are unknown, or `patience` is not a positive number.

    References
    ----------
    Yang, Chaudhari, Grover, Kar (2018), arXiv:1805.06046: substitute decoding.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> x, v = da.ones((40, 40), chunks=(10, -1)), np.ones(40)
    >>> for _ in range(3):
    ...     v = substitute(x @ v, prior=v).compute()
    >>> float(v[0])
    64000.0
    """
    prior = _checked(y, prior, patience)
    client = current_client()
    if client is None:
        return y
    if not client.asynchronous:
        install(client)
    name = f"substitute-{tokenize(y.name, prior.name, patience)}"
    tasks = dict(_tasks(y, prior, name, float(patience)))
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[y, prior])
    return da.Array(graph, name, y.chunks, meta=y._meta)


def _checked(y: Any, prior: Any, patience: Any) -> da.Array:
    """Return the prior in the chunks of `y`, if all arguments are in range."""
    if not isinstance(y, da.Array):
        raise TypeError(f"y={y!r} is not a dask.array.Array")
    if isinstance(patience, bool) or not isinstance(patience, int | float) or not 0 < patience < float("inf"):
        raise ValueError(f"patience={patience!r} is not valid; give a positive number of seconds")
    if any(isnan(length) for lengths in y.chunks for length in lengths):
        raise ValueError("y has unknown chunk sizes; call y.compute_chunk_sizes() first")
    prior = da.asanyarray(prior)
    if prior.shape != y.shape:
        raise ValueError(f"prior has shape {prior.shape}, y has {y.shape}; they must be equal")
    if not np.can_cast(prior.dtype, y.dtype, "same_kind"):
        raise TypeError(f"prior has dtype {prior.dtype}, which y={y!r} cannot hold; convert it")
    return prior.astype(y.dtype).rechunk(y.chunks)


def _tasks(y: da.Array, prior: da.Array, name: str, patience: float) -> Iterator[tuple[Any, Any]]:
    """Yield the tasks of the new layer: targets, and blocks of the prior for them."""
    priors = name.replace("substitute", "prior", 1)
    places = list(grid(*map(range, y.numblocks)))
    count = len(balanced(range(len(places)), LARGEST_GROUP))
    for first in range(count):
        chosen = places[first::count]  # neighbours tend to be late together
        copies = [(priors, *place) for place in chosen]
        group = Group(
            name=f"{name}-{first}",
            code=replication(len(chosen), 2),
            pieces=(*((y.name, *place) for place in chosen), *copies),
            targets=tuple((name, *place) for place in chosen),
            lanes=(*(((y.name, *place),) for place in chosen), *((key,) for key in copies)),
            shapes=tuple(tuple(n[i] for n, i in zip(y.chunks, place, strict=True)) for place in chosen),
            axis=0,
            length=0,
            dtype=y.dtype.str,
            tolerance=1.0,
            launch="eager",
            patience=patience,
            label=f"substitute {y.shape}",
        )
        for place, key in zip(chosen, copies, strict=True):
            yield key, Task(key, prior_block, TaskRef((prior.name, *place)))
        yield from ((key, Quorum.of(group, index)) for index, key in enumerate(group.targets))
